"""How TensorRT-LLM's server (``trtllm-serve``) is asked for tokens.

It refuses a request with any field that it does not know, and returns token ids in the place of
text (``detokenize``). Source: NVIDIA/TensorRT-LLM's ``serve/openai_protocol.py`` (``extra=forbid``)
and ``serve/postprocess_handlers.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from draftproof.engines.completions import read_completion
from draftproof.engines.dialect import Answer
from draftproof.engines.protocol import Request


def ask_tensorrt_llm(request: Request, prompt: str, model: str) -> dict[str, Any]:
    """The body of a request, of fields that it knows alone."""
    sampling, stopping = request.sampling, request.stopping
    return {
        "model": model,
        "prompt": list(request.prompt_token_ids),
        "max_tokens": stopping.max_new_tokens,
        "min_tokens": sampling.min_new_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": request.folded_seed(),
        "stop_token_ids": sorted(stopping.stop_token_ids),
        # Its own end ends an output too, unless told otherwise; named stop tokens still do then.
        "ignore_eos": True,
        "include_stop_str_in_output": True,
        "add_special_tokens": False,
        "detokenize": False,
        "stream": False,
    }


def read_tensorrt_llm(values: Mapping[str, Any]) -> Answer:
    """What it said; its text is empty where it returns token ids."""
    return replace(read_completion(values), text=None)
