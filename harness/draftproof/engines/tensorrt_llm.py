"""How TensorRT-LLM's server (``trtllm-serve``) is asked for tokens.

It refuses a request with any field that it does not know, and returns token ids in the place of
text (``detokenize``). Source: NVIDIA/TensorRT-LLM's ``serve/openai_protocol.py`` (``extra=forbid``)
and ``serve/postprocess_handlers.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from draftproof.engines.completions import ask_completion, read_completion
from draftproof.engines.dialect import Answer
from draftproof.engines.protocol import Request


def ask_tensorrt_llm(request: Request, prompt: str, model: str) -> dict[str, Any]:
    """The body of a request, of fields that it knows alone."""
    return {
        **ask_completion(request, model),
        "top_k": request.sampling.top_k,
        # Its own end ends an output too, unless told otherwise; named stop tokens still do then.
        "ignore_eos": True,
        "include_stop_str_in_output": True,
        "add_special_tokens": False,
        "detokenize": False,
    }


def read_tensorrt_llm(values: Mapping[str, Any]) -> Answer:
    """What it said; its text is empty where it returns token ids."""
    return replace(read_completion(values), text=None)
