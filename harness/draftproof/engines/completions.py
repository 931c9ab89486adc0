"""What completions of OpenAI's protocol say, whichever server they are of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from draftproof.engines.dialect import Answer
from draftproof.engines.protocol import Request
from draftproof.engines.server_clock import answered_seconds
from draftproof.engines.server_counters import answered_counts
from draftproof.errors import EngineError

_TOKEN_ID = "token_id:"


def ask_completion(request: Request, model: str) -> dict[str, Any]:
    """What bodies of requests to vLLM, SGLang and TensorRT-LLM have in common."""
    sampling, stopping = request.sampling, request.stopping
    return {
        "model": model,
        "prompt": list(request.prompt_token_ids),
        "max_tokens": stopping.max_new_tokens,
        "min_tokens": sampling.min_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": request.folded_seed(),
        "stop_token_ids": sorted(stopping.stop_token_ids),
        "stream": False,
    }


def read_completion(values: Mapping[str, Any]) -> Answer:
    """What a completion says.

    Token ids are the choice's own, the names of its tokens where these are ids (vLLM's
    ``return_tokens_as_token_ids``), or those beside its log-probabilities (``logprobs.content``).

    Raises:
        EngineError: It is not of one choice.
    """
    choice = only(values, "choices")
    usage = mapping(values.get("usage"))
    about = mapping(choice.get("logprobs"))
    texts, told = about.get("tokens"), about.get("token_logprobs")
    ids = choice.get("token_ids")
    entries = about.get("content")
    if entries and texts is None:
        texts, told = _of_entries(entries, "token"), _of_entries(entries, "logprob")
        ids = _of_entries(entries, "id") if ids is None else ids
    if ids is None and texts and all(str(text).startswith(_TOKEN_ID) for text in texts):
        ids = [int(str(text).removeprefix(_TOKEN_ID)) for text in texts]
    metrics = mapping(values.get("metrics")).get("speculative_decoding")
    return Answer(
        token_ids=token_ids(ids),
        token_texts=None if texts is None else tuple(map(str, texts)),
        text=choice.get("text"),
        prompt_token_ids=token_ids(choice.get("prompt_token_ids", values.get("prompt_token_ids"))),
        prompt_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        finish=str(choice.get("finish_reason")),
        stopped_by=choice.get("stop_reason", choice.get("matched_stop")),
        counts=answered_counts(
            metrics,
            choice.get("speculative_decoding"),
            choice.get("meta_info"),
            values.get("timings"),
            values.get("stats"),
        ),
        log_probabilities=_numbers(told),
        server_seconds=answered_seconds(
            values.get("metrics"),
            choice.get("meta_info"),
            values.get("timings"),
            values.get("stats"),
        ),
    )


def only(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The one object of a list.

    Raises:
        EngineError: There is no such list, or it has none or several.
    """
    found = values.get(key)
    if not isinstance(found, Sequence) or len(found) != 1 or not isinstance(found[0], Mapping):
        raise EngineError(f"the server's answer does not hold one of '{key}': {sorted(values)}")
    return found[0]


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def token_ids(value: Any) -> tuple[int, ...] | None:
    """Ids as they are stored; None where there are none."""
    return None if value is None else tuple(value)


def _of_entries(entries: Sequence[Mapping[str, Any]], key: str) -> list[Any] | None:
    """A value a token; None where no token has it."""
    found = [entry.get(key) for entry in entries]
    return None if all(value is None for value in found) else found


def _numbers(values: Any) -> tuple[float, ...] | None:
    """As floats; what is not told of a token is NaN."""
    if values is None:
        return None
    return tuple(math.nan if value is None else float(value) for value in values)
