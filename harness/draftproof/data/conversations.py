"""Rows as other tools write them, in the keys of one's own prompts.

Shapes: OpenAI's messages, and lines of its batch files (``custom_id``, ``body``); ShareGPT's
``conversations``; vLLM's custom benchmark data (``prompt``, also as token ids); AIPerf's
``text``, ``texts`` and ``turns`` of objects.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from draftproof.data.record import Row

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "developer": "developer",
}
"""Who speaks, by the names that ShareGPT and its descendants use."""
KEYS = (
    *("messages", "conversations", "body"),
    *("prompt", "prompt_token_ids", "text", "turns", "texts", "token_ids"),
    *("id", "custom_id", "session_id"),
)
"""The keys that `in_own_keys` looks at."""

_ASKS = ("user", "tool")
"""After whom a model's answer is due."""


def in_own_keys(row: Row) -> dict[str, Any]:
    """The row with ``messages``, ``token_ids``, ``prompt``, ``turns`` and ``id`` where it has them.

    Messages after the last one that asks for an answer are left out: they are what the recorded
    model said.

    Raises:
        ValueError: A shape is known, and what it holds is not.

    Example:
        >>> found = in_own_keys({"id": 7, "conversations": [
        ...     {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]})
        >>> found["messages"]
        [{'role': 'user', 'content': 'Hi'}]
    """
    found: dict[str, Any] = dict(row)
    body = row.get("body")
    if isinstance(body, Mapping):
        found = {**body, "id": row.get("custom_id"), **row}
    if "conversations" in found and "messages" not in found:
        found["messages"] = [_spoken(each) for each in _list(found["conversations"])]
    if found.get("messages") is not None:
        found["messages"] = asked(_list(found["messages"]))
        found.pop("prompt", None)
    prompt: Any = found.get("prompt", found.get("prompt_token_ids"))
    if _are_ids(prompt):
        found["token_ids"] = list(prompt)
        found.pop("prompt", None)
    turns = found.get("turns", found.get("texts"))
    if isinstance(turns, Sequence) and not isinstance(turns, str) and turns:
        found["turns"] = [
            turn.get("text", turn.get("content")) if isinstance(turn, Mapping) else turn
            for turn in turns
        ]
    if "prompt" not in found and isinstance(found.get("text"), str):
        found["prompt"] = found["text"]
    for key in ("custom_id", "session_id"):
        if found.get("id") is None and found.get(key) is not None:
            found["id"] = found[key]
    return found


def asked(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """The messages up to the last one that a model is to answer.

    Raises:
        ValueError: One is no message, or none asks for an answer.
    """
    read = []
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError("a message has no 'role'; expected {'role': …, 'content': …}")
        read.append({key: value for key, value in message.items() if value is not None})
    last = max((n for n, each in enumerate(read) if each["role"] in _ASKS), default=None)
    if last is None:
        raise ValueError("no message is of the user or a tool, so that there is nothing to answer")
    return read[: last + 1]


def as_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The messages as JSON text, which is what a `Prompt` keeps of them."""
    return json.dumps(list(messages), ensure_ascii=False, sort_keys=True)


def content_of(message: Mapping[str, Any]) -> str:
    """The text of a message, of whose parts only text can be asked for here.

    Raises:
        ValueError: It has parts that are not text.
    """
    content = message.get("content", "")
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for part in _list(content):
        text = part.get("text") if isinstance(part, Mapping) else None
        if not isinstance(text, str):
            raise ValueError("a message's content has parts that are not text, such as an image")
        texts.append(text)
    return "".join(texts)


def _spoken(turn: Any) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        raise ValueError("a turn of 'conversations' is no object")
    name = turn.get("from", turn.get("role"))
    role = _ROLES.get(str(name).lower())
    if role is None:
        raise ValueError(f"'{name}' speaks in 'conversations'; known are {', '.join(_ROLES)}")
    return {"role": role, "content": turn.get("value", turn.get("content"))}


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"expected a list of messages, found {type(value).__name__}")
    return value


def _are_ids(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
    return is_list and all(isinstance(token, int) for token in value)
