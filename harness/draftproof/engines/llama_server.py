"""How llama.cpp's own server is asked for tokens, and what it answers.

Its own ``/completion`` takes token ids and tells those of the output (``return_tokens``), which its
``/v1/completions`` does not. Source: llama.cpp's ``tools/server/README.md``, and the answers of
build 11549 that tests keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from draftproof.engines.dialect import Answer
from draftproof.engines.protocol import Request
from draftproof.engines.server_clock import answered_seconds
from draftproof.engines.server_counters import answered_counts
from draftproof.errors import EngineError

_ENDS = {"limit": "length", "eos": "stop", "word": "stop"}
"""``stop_type``, in the words of OpenAI's protocol."""


def ask_llama_server(request: Request, prompt: str, model: str) -> dict[str, Any]:
    """The body of a request; samplers in the order of `Sampling`, and none of the server's own."""
    sampling, stopping = request.sampling, request.stopping
    return {
        "prompt": list(request.prompt_token_ids),
        "n_predict": stopping.max_new_tokens,
        "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": len(request.prompt_token_ids) + stopping.max_new_tokens,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": request.folded_seed(),
        "stop": list(stopping.stop_strings),
        "ignore_eos": not stopping.stop_token_ids,
        "return_tokens": True,
        "stream": False,
    }


def read_llama_server(values: Mapping[str, Any]) -> Answer:
    """What it said.

    Raises:
        EngineError: It returned no token ids.
    """
    tokens = values["tokens"]
    if not tokens and values["tokens_predicted"]:
        raise EngineError(
            "the server returned text without token ids: this llama-server does not know "
            "return_tokens; it needs a build of 2025 or later"
        )
    ended = str(values.get("stop_type"))
    is_string = ended == "word"
    # Its text leaves out special tokens, and stop strings: it is no check of the ids.
    return Answer(
        token_ids=tuple(tokens),
        prompt_tokens=values.get("tokens_evaluated"),
        finish=_ENDS.get(ended, ended),
        stopped_by=values.get("stopping_word") if is_string else None,
        counts=answered_counts(values.get("timings")),
        server_seconds=answered_seconds(values.get("timings")),
    )
