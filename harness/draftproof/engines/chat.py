"""Chat completions, as the completions that they would be if the template were rendered here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from draftproof.engines.http import Server
from draftproof.engines.pieces import Piece
from draftproof.errors import EngineError

HERE, THERE = "here", "there"
"""Where chat templates are rendered."""


def chat_body(body: Mapping[str, Any], messages: str) -> dict[str, Any]:
    """The body of a chat completion from that of a completion.

    Args:
        body: Of a completion.
        messages: As in `Request.messages`.

    Example:
        >>> chat_body({"prompt": [5], "logprobs": 1}, '[{"role": "user", "content": "Hi"}]')
        {'logprobs': True, 'messages': [{'role': 'user', 'content': 'Hi'}]}
    """
    asked = {key: value for key, value in body.items() if key != "prompt"}
    if "logprobs" in asked:
        asked["logprobs"] = bool(asked["logprobs"])
    return {**asked, "messages": json.loads(messages)}


def as_completion(values: Piece) -> dict[str, Any]:
    """A chat completion, or a piece of one, in the shape of a completion.

    Its text is not told where the server took a part of it out: reasoning, or calls of tools.

    Example:
        >>> as_completion({"choices": [{"message": {"content": "Hi"}, "token_ids": [4]}]})
        {'choices': [{'token_ids': [4], 'text': 'Hi'}]}
    """
    choices = []
    for choice in values.get("choices") or ():
        said = choice.get("message") or choice.get("delta") or {}
        taken_out = any(said.get(part) for part in ("reasoning", "reasoning_content", "tool_calls"))
        kept = {key: value for key, value in choice.items() if key not in ("message", "delta")}
        choices.append({**kept, "text": None if taken_out else said.get("content") or ""})
    return {**values, "choices": choices}


def require_same_template(
    server: Server, messages: str, given: Mapping[str, Any], prompt_token_ids: tuple[int, ...]
) -> None:
    """Verify that llama.cpp's server makes the same prompt of messages as is sent to it as ids.

    Args:
        server: Is asked to render, and to tokenize.
        messages: As in `Request.messages`.
        given: What else its template is given, by the names of a request.
        prompt_token_ids: What the judge makes of the same.

    Raises:
        EngineError: Its template, or its tokenizer, makes another one.
    """
    rendered = server.post("/apply-template", {"messages": json.loads(messages), **given})
    asked = {"content": rendered["prompt"], "add_special": True, "parse_special": True}
    require_same_ids(tuple(server.post("/tokenize", asked)["tokens"]), prompt_token_ids)


def require_same_ids(theirs: tuple[int, ...], ours: tuple[int, ...]) -> None:
    """Verify that a prompt is the same there and here.

    Raises:
        EngineError: It is not; says where they part.
    """
    if theirs == ours:
        return
    pairs = enumerate(zip(theirs, ours, strict=False))
    place = next((n for n, (one, other) in pairs if one != other), min(len(theirs), len(ours)))
    raise EngineError(
        f"the server's prompt is another one than the judge's, by its token ids: it has "
        f"{len(theirs)} tokens, and the judge's {len(ours)}, and they part at token {place}; the "
        "two have other chat templates or tokenizers (a server whose template is rendered here is "
        "asked with --spec-engine-option chat=here)"
    )
