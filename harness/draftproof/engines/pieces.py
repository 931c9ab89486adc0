"""Answers that came piece by piece, put together to what they would have been whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Piece = Mapping[str, Any]


def vllm_brought(pieces: Sequence[Piece]) -> list[int]:
    """How many tokens each piece of vLLM's completions brought, by their ids or their logprobs."""
    return [
        sum(
            len(choice.get("token_ids") or (choice.get("logprobs") or {}).get("tokens") or ())
            for choice in piece.get("choices") or ()
        )
        for piece in pieces
    ]


def vllm_joined(pieces: Sequence[Piece]) -> dict[str, Any]:
    """A completion of vLLM: texts and ids added up, and the last of whatever else is told.

    Example:
        >>> joined = vllm_joined([
        ...     {"choices": [{"text": "a", "token_ids": [4], "finish_reason": None}]},
        ...     {"choices": [{"text": "b", "token_ids": [5, 6], "finish_reason": "length"}]},
        ...     {"choices": [], "usage": {"prompt_tokens": 1}},
        ... ])
        >>> joined["choices"][0]["token_ids"], joined["choices"][0]["text"], joined["usage"]
        ([4, 5, 6], 'ab', {'prompt_tokens': 1})
    """
    whole = _last_of(pieces, without=("choices",))
    choices = [choice for piece in pieces for choice in piece.get("choices") or ()]
    choice = _last_of(choices, without=("text", "token_ids", "logprobs"))
    texts = [each.get("text", "") for each in choices]
    choice["text"] = None if None in texts else "".join(texts)
    choice["token_ids"] = [token for each in choices for token in each.get("token_ids") or ()]
    told = [each["logprobs"] for each in choices if each.get("logprobs")]
    if told:
        choice["logprobs"] = {
            name: [value for each in told for value in each.get(name) or ()]
            for name in ("tokens", "token_logprobs", "content")
            if any(each.get(name) for each in told)
        }
        if not choice["token_ids"]:
            choice["token_ids"] = None
    return {**whole, "choices": [choice]}


def llama_server_brought(pieces: Sequence[Piece]) -> list[int]:
    """How many tokens each piece of llama-server's completions brought."""
    return [len(piece.get("tokens") or ()) for piece in pieces]


def llama_server_joined(pieces: Sequence[Piece]) -> dict[str, Any]:
    """A completion of llama-server: its last piece, with the texts and ids of all of them.

    Example:
        >>> llama_server_joined([{"content": "a", "tokens": [4], "stop": False},
        ...                      {"content": "", "tokens": [], "stop": True}])
        {'stop': True, 'content': 'a', 'tokens': [4]}
    """
    whole = _last_of(pieces, without=("content", "tokens"))
    whole["content"] = "".join(piece.get("content") or "" for piece in pieces)
    whole["tokens"] = [token for piece in pieces for token in piece.get("tokens") or ()]
    return whole


def _last_of(pieces: Sequence[Piece], without: Sequence[str]) -> dict[str, Any]:
    """Of each key, the last value that is not null."""
    last: dict[str, Any] = {}
    for piece in pieces:
        for key, value in piece.items():
            if key not in without and (value is not None or key not in last):
                last[key] = value
    return last
