"""Rows of a JSON Lines file, read as they are: no other library, nothing converted."""

from __future__ import annotations

import json
from pathlib import Path

from draftproof.data.record import Row
from draftproof.errors import DataError


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
    return json_lines(path, text)


def json_lines(path: Path, text: str) -> list[tuple[str, Row]]:
    """The rows of a file's text; as `read_json_lines`."""
    return [
        (where := f"{path}, line {number}", _row(where, line))
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]


def _row(where: str, line: str) -> Row:
    try:
        row: Row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, found {type(row).__name__}")
    return row
