"""How different servers are asked for tokens, and where in their answers the token ids are.

Sources: vLLM's ``CompletionRequest`` (``return_token_ids``, ``return_tokens_as_token_ids``, and the
extra sampling parameters); SGLang's ``/generate`` (``input_ids``, ``output_ids``, ``meta_info``);
llama-cpp-python's ``CreateCompletionRequest`` (text prompts, ``logprobs.tokens``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from draftproof.engines.dialect import Answer, Dialect
from draftproof.engines.llama_server import ask_llama_server, read_llama_server
from draftproof.engines.pieces import llama_server_joined, llama_server_tokens, vllm_joined
from draftproof.engines.protocol import Capability, Request
from draftproof.engines.server_counters import answered_counts
from draftproof.errors import EngineError

_TOKEN_ID = "token_id:"


def _vllm(request: Request, prompt: str, model: str) -> dict[str, Any]:
    sampling, stopping = request.sampling, request.stopping
    return {
        "model": model,
        "prompt": list(request.prompt_token_ids),
        "max_tokens": stopping.max_new_tokens,
        "min_tokens": sampling.min_new_tokens,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k or -1,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": request.folded_seed(),
        "stop": list(stopping.stop_strings) or None,
        "stop_token_ids": sorted(stopping.stop_token_ids),
        # Its own end ends an output too, unless told otherwise; named stop tokens still do then.
        "ignore_eos": True,
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        "return_token_ids": True,
        "stream": False,
    }


def _vllm_with_logprobs(request: Request, prompt: str, model: str) -> dict[str, Any]:
    """For versions without ``return_token_ids``: ids as the tokens' names beside their logprobs."""
    return {
        **_vllm(request, prompt, model),
        "logprobs": 1,
        "return_tokens_as_token_ids": True,
    }


def _llama_cpp_python(request: Request, prompt: str, model: str) -> dict[str, Any]:
    return {
        **_openai(request, prompt, model),
        "top_k": 0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
    }


def _openai(request: Request, prompt: str, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": request.stopping.max_new_tokens,
        "temperature": request.sampling.temperature,
        "top_p": 1.0,
        "seed": request.folded_seed(),
        "logprobs": 1,
        "stream": False,
    }


def _sglang(request: Request, prompt: str, model: str) -> dict[str, Any]:
    sampling, stopping = request.sampling, request.stopping
    return {
        "input_ids": list(request.prompt_token_ids),
        "sampling_params": {
            "max_new_tokens": stopping.max_new_tokens,
            "min_new_tokens": sampling.min_new_tokens,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k or -1,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repetition_penalty,
            "stop": list(stopping.stop_strings) or None,
            "stop_token_ids": sorted(stopping.stop_token_ids),
            # Without its own end it looks at no stop token at all.
            "ignore_eos": not stopping.stop_token_ids,
            "no_stop_trim": True,
            "skip_special_tokens": False,
            "spaces_between_special_tokens": False,
        },
        "stream": False,
    }


def _read_completion(values: Mapping[str, Any]) -> Answer:
    choice = _only(values, "choices")
    usage = _mapping(values.get("usage"))
    about = _mapping(choice.get("logprobs"))
    texts, told = about.get("tokens"), about.get("token_logprobs")
    ids = choice.get("token_ids")
    if ids is None and texts and all(str(text).startswith(_TOKEN_ID) for text in texts):
        ids = [int(str(text).removeprefix(_TOKEN_ID)) for text in texts]
    return Answer(
        token_ids=None if ids is None else tuple(ids),
        token_texts=None if texts is None else tuple(map(str, texts)),
        text=choice.get("text"),
        prompt_token_ids=_ids(choice.get("prompt_token_ids", values.get("prompt_token_ids"))),
        prompt_tokens=usage.get("prompt_tokens"),
        finish=str(choice.get("finish_reason")),
        stopped_by=choice.get("stop_reason"),
        counts=answered_counts(
            _mapping(values.get("metrics")).get("speculative_decoding"), values.get("timings")
        ),
        log_probabilities=_numbers(told),
    )


def _read_sglang(values: Mapping[str, Any]) -> Answer:
    about = _mapping(values.get("meta_info"))
    finish = _mapping(about.get("finish_reason"))
    ids = values.get("output_ids")
    if ids is None and about.get("output_token_logprobs"):
        ids = [entry[1] for entry in about["output_token_logprobs"]]
    return Answer(
        token_ids=_ids(ids),
        text=values.get("text"),
        prompt_tokens=about.get("prompt_tokens"),
        finish=str(finish.get("type")),
        stopped_by=finish.get("matched"),
        counts=answered_counts(about),
    )


def _only(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    if not isinstance(found, Sequence) or len(found) != 1 or not isinstance(found[0], Mapping):
        raise EngineError(f"the server's answer does not hold one of '{key}': {sorted(values)}")
    return found[0]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(values: Any) -> tuple[float, ...] | None:
    """As floats; what is not told of a token is NaN."""
    if values is None:
        return None
    return tuple(math.nan if value is None else float(value) for value in values)


def _ids(value: Any) -> tuple[int, ...] | None:
    return None if value is None else tuple(value)


_FULL = frozenset(
    {
        Capability.SAMPLING,
        Capability.FILTERS,
        Capability.MIN_NEW_TOKENS,
        Capability.STOP_TOKENS,
        Capability.STOP_STRINGS,
        Capability.TOKEN_PROMPTS,
    }
)
_WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
_BARE = frozenset({Capability.SAMPLING, Capability.SEEDS, Capability.LOG_PROBABILITIES})

DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect(
        path="/v1/completions",
        capabilities=_FULL | {Capability.SEEDS},
        ask=_vllm,
        read=_read_completion,
        in_pieces=_WITH_USAGE,
        joined=vllm_joined,
    ),
    "vllm-logprobs": Dialect(
        path="/v1/completions",
        capabilities=_FULL | {Capability.SEEDS, Capability.LOG_PROBABILITIES},
        ask=_vllm_with_logprobs,
        read=_read_completion,
        in_pieces=_WITH_USAGE,
        joined=vllm_joined,
    ),
    "llama-server": Dialect(
        path="/completion",
        capabilities=_FULL - {Capability.MIN_NEW_TOKENS, Capability.STOP_TOKENS}
        | {Capability.SEEDS, Capability.COUNTS},
        ask=ask_llama_server,
        read=read_llama_server,
        joined=llama_server_joined,
        tokens_in=llama_server_tokens,
    ),
    "sglang": Dialect(
        path="/generate",
        capabilities=_FULL - {Capability.STOP_TOKENS} | {Capability.COUNTS},
        ask=_sglang,
        read=_read_sglang,
    ),
    "llama-cpp-python": Dialect(
        path="/v1/completions",
        capabilities=_BARE,
        ask=_llama_cpp_python,
        read=_read_completion,
        takes_text=True,
    ),
    "openai": Dialect(
        path="/v1/completions",
        capabilities=_BARE,
        ask=_openai,
        read=_read_completion,
        takes_text=True,
    ),
}
"""By name, as in ``server=``."""
