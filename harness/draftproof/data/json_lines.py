"""Rows of JSON Lines and JSON arrays, read as they are: no other library, nothing converted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from draftproof.data import unpacking
from draftproof.data.record import Row
from draftproof.errors import DataError

_USUAL_LENGTH = 1 << 16


def read_json_lines(path: Path) -> list[tuple[str, Row]]:
    """Every row of a file with the place it stands at, for messages.

    Args:
        path: One JSON object a line, in UTF-8; blank lines are skipped.

    Raises:
        DataError: The file cannot be read, or a line is not a JSON object; the message names it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return list(json_lines(path, text))


def json_lines(path: Path, text: str) -> Iterator[tuple[str, Row]]:
    """The rows of a file's text, one after the other; as `read_json_lines`."""
    begin, number = 0, 0
    while begin < len(text):
        end = text.find("\n", begin)
        end = len(text) if end < 0 else end
        number += 1
        where = f"{path}, line {number}"
        require_length(where, end - begin)
        line = text[begin:end]
        begin = end + 1
        if line.strip():
            yield where, _row(where, line)


def json_items(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """The items of a text that is a JSON array, one after the other, each with its place.

    Raises:
        DataError: The text is none, or an item is too long.
    """
    decoder = json.JSONDecoder()
    begin = _after_blanks(text, _after_blanks(text, 0) + 1)
    number = 0
    while text[begin : begin + 1] != "]" or number:
        number += 1
        where = f"{path}, row {number}"
        room = min(_USUAL_LENGTH, unpacking.LARGEST_VALUE + 1)
        while True:
            # Only so much is parsed: what an item takes in memory is known when it is there.
            part = text[begin : begin + room]
            try:
                item, length = decoder.raw_decode(part)
                break
            except (ValueError, RecursionError) as error:
                if len(part) < room:
                    raise DataError(f"{where}: not valid JSON ({_problem(error)})") from error
                require_length(where, room)
                room = min(4 * room, unpacking.LARGEST_VALUE + 1)
        yield where, item
        begin = _after_blanks(text, begin + length)
        if text[begin : begin + 1] == "]":
            break
        if text[begin : begin + 1] != ",":
            raise DataError(f"{where}: not valid JSON (expected ',' or ']' after it)")
        begin = _after_blanks(text, begin + 1)
    if _after_blanks(text, begin + 1) < len(text):
        raise DataError(f"{path}: not valid JSON (more follows after the array)")


def require_length(where: str, length: int) -> None:
    """Refuse a line or an item of more than `LARGEST_VALUE` characters.

    Raises:
        DataError: It has more.
    """
    if length > unpacking.LARGEST_VALUE:
        raise DataError(
            f"{where}: has more than {unpacking.LARGEST_VALUE:,} characters; give one prompt a "
            "line (JSON Lines)"
        )


def _after_blanks(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\t", "\r", "\n"):
        place += 1
    return place


def _problem(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _row(where: str, line: str) -> Row:
    try:
        row: Row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, found {type(row).__name__}")
    return row
