"""The JSON values of a file, each with the place where it stands: one value, a list, or lines."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from draftproof.data.unpacking import unpacked
from draftproof.errors import DataError, error_text


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON value and where it stands, for messages."""

    where: str
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """A file of results.

    Attributes:
        path: Where it lies.
        sha256: Of its bytes, out of gzip.
        documents: Its values: one, those of a list, or one a line.
    """

    path: Path
    sha256: str
    documents: tuple[Document, ...]


def read_file(path: Path) -> ResultFile:
    """The values of a file: JSON, a JSON list, or JSON Lines; ``.gz`` is unpacked.

    Raises:
        DataError: It cannot be read, is empty, or is not JSON; the message names the line.
    """
    try:
        data = unpacked(path)
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder; give the file in it that holds results") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error_text(error)})") from error
    if not text.strip():
        raise DataError(f"{path}: the file is empty; it holds no result")
    return ResultFile(
        path=path,
        sha256=hashlib.sha256(data).hexdigest(),
        documents=tuple(_documents(path, text)),
    )


def _documents(path: Path, text: str) -> Sequence[Document]:
    try:
        value = _parsed(text)
    except json.JSONDecodeError as error:
        if _is_lines(text):
            return _lines(path, text)
        raise DataError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}); is the file whole?"
        ) from error
    except _NotJsonError as error:
        if _is_lines(text):
            return _lines(path, text)
        raise DataError(f"{path}: {error}") from error
    if isinstance(value, list):
        return [
            Document(f"{path}, item {number}", item) for number, item in enumerate(value, start=1)
        ]
    return [Document(str(path), value)]


def _is_lines(text: str) -> bool:
    """Whether the first line that is not blank holds a whole value, and more follow."""
    lines = [line for line in text.split("\n") if line.strip()]
    try:
        return len(lines) > 1 and isinstance(_parsed(lines[0]), dict)
    except _NotJsonError:
        # Written by itself, a NaN is a fault of its line.
        return lines[0].rstrip().endswith("}")
    except ValueError:
        return False


def _lines(path: Path, text: str) -> list[Document]:
    numbered = [
        (number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()
    ]
    found = []
    for number, line in numbered:
        where = f"{path}, line {number}"
        try:
            found.append(Document(where, _parsed(line)))
        except (json.JSONDecodeError, _NotJsonError) as error:
            is_cut = number == numbered[-1][0] and not text.endswith("\n")
            raise DataError(
                f"{where}: the last line is cut off: its tool did not come to its end. Finish the "
                "run, or remove that line to import what it came to"
                if is_cut
                else f"{where}: not valid JSON ({error_text(error)})"
            ) from error
    return found


class _NotJsonError(ValueError):
    """What Python reads and JSON does not have, or more of it than can be read."""


def _parsed(text: str) -> Any:
    """A JSON value.

    Raises:
        json.JSONDecodeError: It is none.
        _NotJsonError: It holds NaN or an infinity, a number of thousands of digits, or too many
            levels.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise _NotJsonError("nested too deeply to be a result") from error
    except ValueError as error:
        raise (
            error if isinstance(error, _NotJsonError) else _NotJsonError(error_text(error))
        ) from error


def _refuse(constant: str) -> NoReturn:
    raise _NotJsonError(
        f"it holds {constant}, which is no number; what made it did not measure there"
    )
