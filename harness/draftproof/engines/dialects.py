"""How different servers are asked for tokens, and where in their answers the token ids are.

Sources: vLLM's ``CompletionRequest`` (``return_token_ids``, ``return_tokens_as_token_ids``, and the
extra sampling parameters); llama-cpp-python's ``CreateCompletionRequest`` (text prompts,
``logprobs.tokens``); of others, the modules named after them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from draftproof.engines.completions import ask_completion, read_completion
from draftproof.engines.dialect import Dialect
from draftproof.engines.extra_body import llama_server_bias, penalties_and_bias, sglang_penalties
from draftproof.engines.llama_server import ask_llama_server, read_llama_server
from draftproof.engines.lm_studio import ask_lm_studio
from draftproof.engines.mlx_lm import ask_mlx_lm
from draftproof.engines.pieces import llama_server_brought, llama_server_joined, vllm_joined
from draftproof.engines.protocol import Capability, Request
from draftproof.engines.sglang import (
    ask_sglang,
    ask_sglang_completion,
    read_sglang,
    sglang_brought,
    sglang_joined,
)
from draftproof.engines.tensorrt_llm import ask_tensorrt_llm, read_tensorrt_llm


def _vllm(request: Request, prompt: str, model: str) -> dict[str, Any]:
    return {
        **ask_completion(request, model),
        "top_k": request.sampling.top_k or -1,
        "stop": list(request.stopping.stop_strings) or None,
        # Its own end ends an output too, unless told otherwise; named stop tokens still do then.
        "ignore_eos": True,
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        "return_token_ids": True,
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
        extras_to_try=penalties_and_bias,
        path="/v1/completions",
        chat_path="/v1/chat/completions",
        capabilities=_FULL | {Capability.SEEDS},
        ask=_vllm,
        read=read_completion,
        in_pieces=_WITH_USAGE,
        joined=vllm_joined,
    ),
    "vllm-logprobs": Dialect(
        extras_to_try=penalties_and_bias,
        path="/v1/completions",
        chat_path="/v1/chat/completions",
        capabilities=_FULL | {Capability.SEEDS, Capability.LOG_PROBABILITIES},
        ask=_vllm_with_logprobs,
        read=read_completion,
        in_pieces=_WITH_USAGE,
        joined=vllm_joined,
    ),
    "llama-server": Dialect(
        extras_to_try=llama_server_bias,
        path="/completion",
        renders=True,
        capabilities=_FULL - {Capability.MIN_NEW_TOKENS, Capability.STOP_TOKENS}
        | {Capability.SEEDS, Capability.COUNTS},
        ask=ask_llama_server,
        read=read_llama_server,
        joined=llama_server_joined,
        brought=llama_server_brought,
    ),
    "sglang": Dialect(
        extras_to_try=sglang_penalties,
        path="/generate",
        capabilities=_FULL - {Capability.STOP_TOKENS} | {Capability.COUNTS},
        ask=ask_sglang,
        read=read_sglang,
        joined=sglang_joined,
        brought=sglang_brought,
    ),
    "sglang-openai": Dialect(
        extras_to_try=penalties_and_bias,
        path="/v1/completions",
        chat_path="/v1/chat/completions",
        in_chat={"return_meta_info": True},
        capabilities=_FULL - {Capability.STOP_TOKENS},
        ask=ask_sglang_completion,
        read=read_completion,
        in_pieces=_WITH_USAGE,
        joined=vllm_joined,
    ),
    "tensorrt-llm": Dialect(
        extras_to_try=penalties_and_bias,
        path="/v1/completions",
        capabilities=_FULL - {Capability.STOP_STRINGS} | {Capability.SEEDS},
        ask=ask_tensorrt_llm,
        read=read_tensorrt_llm,
        in_pieces=_WITH_USAGE,
        joined=vllm_joined,
    ),
    "mlx-lm": Dialect(
        path="/v1/completions",
        chat_path="/v1/chat/completions",
        capabilities=_BARE,
        ask=ask_mlx_lm,
        read=read_completion,
        takes_text=True,
    ),
    "lm-studio": Dialect(
        path="/v1/completions",
        capabilities=_BARE - {Capability.LOG_PROBABILITIES} | {Capability.COUNTS},
        ask=ask_lm_studio,
        read=read_completion,
        takes_text=True,
        tells_text_alone=True,
    ),
    "llama-cpp-python": Dialect(
        path="/v1/completions",
        capabilities=_BARE,
        ask=_llama_cpp_python,
        read=read_completion,
        takes_text=True,
    ),
    "openai": Dialect(
        path="/v1/completions",
        chat_path="/v1/chat/completions",
        capabilities=_BARE,
        ask=_openai,
        read=read_completion,
        takes_text=True,
    ),
}
"""By name, as in ``server=``."""
