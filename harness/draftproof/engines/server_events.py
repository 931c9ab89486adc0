"""Answers that come piece by piece, as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import urllib3

_DONE = b"[DONE]"
"""What ends a stream of OpenAI's protocol; other servers just end it."""
_SHOWN = 200


def events_of(
    response: urllib3.BaseHTTPResponse, began: float
) -> Iterator[tuple[float, dict[str, Any]]]:
    """The JSON objects of a stream, each with the seconds from `began` to its arrival.

    Raises:
        ValueError: An event holds no JSON object, or there is none at all.
        HTTPError: The stream was cut.
    """
    is_empty = True
    for line in _lines(response):
        field, _, data = line.partition(b":")
        if field != b"data" or data.strip() == _DONE:
            continue
        seconds = time.perf_counter() - began
        try:
            values = json.loads(data)
        except ValueError as error:
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


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Lines as they come: what has arrived is never held back for more."""
    rest = b""
    while True:
        found = response.read1()
        if not found:
            break
        *lines, rest = (rest + found).split(b"\n")
        yield from (line.rstrip(b"\r") for line in lines)
    if rest:
        yield rest


def _shown(data: bytes) -> str:
    return repr(data[:_SHOWN].decode("utf-8", errors="replace"))
