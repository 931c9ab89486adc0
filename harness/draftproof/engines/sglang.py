"""How SGLang is asked for tokens, and what it answers: ``/generate``, and OpenAI's protocol.

Sources: sgl-project/sglang's ``sampling_params.py`` (``sampling_seed``, which only a server with
``--enable-deterministic-inference`` keeps), ``entrypoints/openai/protocol.py`` (``matched_stop``,
``return_token_ids``) and ``serving_completions.py`` (pieces of text that grow, or with
``--incremental-streaming-output`` do not).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from draftproof.engines.completions import ask_completion, mapping, token_ids
from draftproof.engines.dialect import Answer
from draftproof.engines.pieces import Piece
from draftproof.engines.protocol import Request
from draftproof.engines.server_clock import answered_seconds
from draftproof.engines.server_counters import answered_counts


def ask_sglang(request: Request, prompt: str, model: str) -> dict[str, Any]:
    """The body of a request to ``/generate``."""
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
            "sampling_seed": request.folded_seed(),
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


def read_sglang(values: Mapping[str, Any]) -> Answer:
    """What ``/generate`` said."""
    about = mapping(values.get("meta_info"))
    finish = mapping(about.get("finish_reason"))
    ids = values.get("output_ids")
    if ids is None and about.get("output_token_logprobs"):
        ids = [entry[1] for entry in about["output_token_logprobs"]]
    return Answer(
        token_ids=token_ids(ids),
        text=values.get("text"),
        prompt_tokens=about.get("prompt_tokens"),
        output_tokens=about.get("completion_tokens"),
        finish=str(finish.get("type")),
        stopped_by=finish.get("matched"),
        counts=answered_counts(about),
        server_seconds=answered_seconds(about),
    )


def sglang_joined(pieces: Sequence[Piece]) -> dict[str, Any]:
    """An answer of ``/generate``: its last piece, which holds everything, or the sum of the pieces.

    Example:
        >>> grown = [{"text": "a", "output_ids": [4], "meta_info": {"completion_tokens": 1}},
        ...          {"text": "ab", "output_ids": [4, 5], "meta_info": {"completion_tokens": 2}}]
        >>> parts = [grown[0], {"text": "b", "output_ids": [5],
        ...                     "meta_info": {"completion_tokens": 2}}]
        >>> sglang_joined(grown)["output_ids"], sglang_joined(parts)["output_ids"]
        ([4, 5], [4, 5])
    """
    last = dict(pieces[-1])
    if not _are_grown(pieces):
        last["text"] = "".join(piece.get("text") or "" for piece in pieces)
        last["output_ids"] = [token for piece in pieces for token in piece.get("output_ids") or ()]
    return last


def sglang_brought(pieces: Sequence[Piece]) -> list[int]:
    """How many tokens each piece of ``/generate`` brought."""
    held = [len(piece.get("output_ids") or ()) for piece in pieces]
    if not _are_grown(pieces):
        return held
    return [now - before for before, now in zip([0, *held], held, strict=False)]


def _are_grown(pieces: Sequence[Piece]) -> bool:
    """Whether each piece holds those before it, too."""
    held = [len(piece.get("output_ids") or ()) for piece in pieces]
    told = mapping(pieces[-1].get("meta_info")).get("completion_tokens")
    whole = told if isinstance(told, int) else max(held)
    return held[-1] == whole and held == sorted(held)


def ask_sglang_completion(request: Request, prompt: str, model: str) -> dict[str, Any]:
    """The body of a request to ``/v1/completions``."""
    return {
        **ask_completion(request, model),
        "top_k": request.sampling.top_k or -1,
        "stop": list(request.stopping.stop_strings) or None,
        # Without its own end it looks at no stop token at all.
        "ignore_eos": not request.stopping.stop_token_ids,
        "no_stop_trim": True,
        "skip_special_tokens": False,
        "return_token_ids": True,
    }
