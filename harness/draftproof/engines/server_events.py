"""Answers that come piece by piece, as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

_DONE = b"[DONE]"
"""What ends a stream of OpenAI's protocol; other servers just end it."""
_SHOWN = 200


def events_of(blocks: Iterable[bytes], began: float) -> Iterator[tuple[float, dict[str, Any]]]:
    """The JSON objects of a stream, each with the seconds from `began` to its arrival.

    Args:
        blocks: The answer's bytes as they come.
        began: When it was asked for, by `time.perf_counter`.

    Raises:
        ValueError: An event holds no JSON object, or there is none at all.
    """
    is_empty = True
    for line in _lines(blocks):
        field, _, data = line.partition(b":")
        if field != b"data" or data.strip() == _DONE:
            continue
        seconds = time.perf_counter() - began
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"an event holds no JSON: {_shown(data)}") from error
        if not isinstance(values, dict):
            raise ValueError(f"an event holds no JSON object: {_shown(data)}")
        is_empty = False
        yield seconds, values
    if is_empty:
        raise ValueError(
            "the answer to a streamed request holds no event; leave stream= out if this server "
            "cannot stream"
        )


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines as they come: what has arrived is never held back for more."""
    rest: list[bytes] = []
    for block in blocks:
        first, *others = block.split(b"\n")
        rest.append(first)
        for line in others:
            yield b"".join(rest).rstrip(b"\r")
            rest = [line]
    if last := b"".join(rest):
        yield last


def _shown(data: bytes) -> str:
    return repr(data[:_SHOWN].decode("utf-8", errors="replace"))
