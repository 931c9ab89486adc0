"""Unpacks files that others packed, up to a size: a few bytes can stand for any number of them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from draftproof.errors import DataError

LARGEST_BYTES = 1 << 30
"""No data set here is near it: a file that unpacks to more is not what it says it is."""

_BLOCK = 1 << 20
_ROWS = 64
_ROW_BYTES = 64
"""What a row takes at least, whatever is in it."""


def require_size(path: Path) -> None:
    """Refuse a file that unpacks to more than `LARGEST_BYTES`, before anything unpacks it whole.

    A file that is damaged passes: what reads it says so in full.

    Raises:
        DataError: It is larger.
    """
    try:
        if path.suffix == ".parquet":
            for _ in _batches(path):
                pass
        else:
            for _ in _blocks(path):
                pass
    except DataError:
        raise
    except Exception:  # each format's parser has its own types
        return


def unpacked(path: Path) -> bytes:
    """The bytes of a file, out of gzip where its name ends in ``.gz``.

    Raises:
        DataError: They are more than `LARGEST_BYTES`.
        OSError, EOFError, zlib.error: It cannot be read.
    """
    return b"".join(_blocks(path))


def parquet_rows(path: Path) -> Iterator[Any]:
    """The rows of a Parquet file, a few at a time.

    Raises:
        DataError: They take more than `LARGEST_BYTES`.
        OSError, pyarrow.ArrowException: It cannot be read.
    """
    for batch in _batches(path):
        yield from batch.to_pylist()


def _blocks(path: Path) -> Iterator[bytes]:
    size = 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while block := file.read(_BLOCK):
            size += len(block)
            _require(path, size)
            yield block


def _batches(path: Path) -> Iterator[Any]:
    """Parts of a Parquet file, of few rows: it may say the same long text once for all of them."""
    import pyarrow.parquet

    size = 0
    with pyarrow.parquet.ParquetFile(path) as file:
        stated = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        _require(path, sum(max(0, group.total_byte_size) for group in stated))
        for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
            size += batch.nbytes + _ROW_BYTES * batch.num_rows
            _require(path, size)
            yield batch


def _require(path: Path, size: int) -> None:
    if size > LARGEST_BYTES:
        raise DataError(
            f"{path}: unpacks to more than {LARGEST_BYTES:,} bytes; give a part of it, or check "
            "that it is what it says it is"
        )
