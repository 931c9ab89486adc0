"""Rows of a file of one's own prompts, in the formats in which people keep them."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from draftproof.data.json_lines import json_items, json_lines
from draftproof.data.record import Row
from draftproof.data.unpacking import arrow_rows, parquet_columns, parquet_rows, unpacked
from draftproof.errors import DataError

FORMATS = (
    "JSON Lines (.jsonl), a JSON array of objects (.json), CSV with a header line (.csv), each of "
    "these perhaps compressed (.gz), Parquet (.parquet), or a folder that datasets' save_to_disk "
    "wrote"
)
"""What can be read, for messages and documents."""

_Placed = Iterator[tuple[str, Row]]


def read_prompt_file(path: Path, columns: Collection[str]) -> _Placed:
    """Every row of a file or a data set's folder, with the place it stands at, for messages.

    Args:
        path: The file or folder.
        columns: What may be asked of the rows; of Parquet nothing else is read.

    Raises:
        DataError: It cannot be read, or a row is no object; the message names the place.
    """
    if path.is_dir():
        return _numbered(path, _rows_of_folder(path))
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        return _numbered(path, _rows_of_parquet(path, columns))
    text = _text(path)
    if name.endswith(".csv"):
        return _numbered(path, csv.DictReader(io.StringIO(text, newline="")))
    if name.endswith(".json") and text.lstrip().startswith("["):
        return _numbered(path, (item for _, item in json_items(path, text)))
    return json_lines(path, text)


def other_columns(path: Path) -> list[str]:
    """The columns that `read_prompt_file` does not read where nobody asks for them, for messages.

    Raises:
        DataError: The file cannot be read.
    """
    if path.is_dir() or not path.name.endswith(".parquet"):
        return []
    with _readable(path):
        return parquet_columns(path)


def _numbered(path: Path, rows: Any) -> _Placed:
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
            raise DataError(f"{where}: expected an object with named columns; {FORMATS} are read")
        yield where, row


def _text(path: Path) -> str:
    try:
        return unpacked(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not text ({error}); {FORMATS} are read") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: cannot be read ({reason})") from error


def _rows_of_parquet(path: Path, columns: Collection[str]) -> Iterator[Any]:
    with _readable(path):
        yield from parquet_rows(path, columns)


def _rows_of_folder(path: Path) -> Iterator[Any]:
    """The tables that ``state.json`` names, without the library that wrote them."""
    import pyarrow

    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        names = [str(file["filename"]) for file in state["_data_files"]]
        for name in names:
            if name != Path(name).name:
                raise DataError(f"{path}: state.json names {name!r}, which is not in this folder")
        yield from arrow_rows(path / name for name in names)
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        splits = [child.name for child in sorted(path.glob("*/state.json"))]
        hint = (
            f"; give one split, such as {path / sorted(path.glob('*/state.json'))[0].parent.name}"
            if splits
            else ""
        )
        raise DataError(
            f"{path}: no data set that save_to_disk wrote ({error}){hint}; {FORMATS} are read"
        ) from error
