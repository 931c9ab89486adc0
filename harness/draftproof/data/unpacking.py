"""Unpacks files that others packed, up to a size: a few bytes can stand for any number of them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Iterator
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


def arrow_rows(paths: Iterable[Path]) -> Iterator[Any]:
    """The rows of files that hold streams of Arrow, a few at a time.

    Compressed streams are refused: a batch of one is unpacked at once, however large. So are
    columns where many rows may stand for one long value, which Arrow calls dictionaries, views and
    runs. `save_to_disk` writes neither.

    Raises:
        DataError: They take more than `LARGEST_BYTES`, or are of such a kind.
        OSError, pyarrow.ArrowException: One cannot be read.
    """
    import pyarrow

    size = 0
    for path in paths:
        with pyarrow.memory_map(str(path)) as source:
            _require_uncompressed(path, source)
            source.seek(0)
            reader = pyarrow.ipc.open_stream(source)
            for column in reader.schema:
                _require_plain(path, column.type)
            for batch in reader:
                batch.validate(full=True)
                for begin in range(0, batch.num_rows, _ROWS):
                    part = batch.slice(begin, _ROWS)
                    size += part.nbytes + _ROW_BYTES * part.num_rows
                    _require(path, size)
                    yield from part.to_pylist()


def _require_plain(path: Path, kind: Any) -> None:
    """Verify that a column holds every value of every row by itself.

    Raises:
        DataError: It need not.
    """
    from pyarrow import types

    if types.is_struct(kind) or types.is_list(kind) or types.is_large_list(kind):
        for index in range(kind.num_fields):
            _require_plain(path, kind.field(index).type)
    elif not (
        types.is_null(kind)
        or (types.is_primitive(kind) and kind.bit_width > 0)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    ):
        raise DataError(f"{path}: has a column of the type {kind}; save it as plain values")


_RECORD_BATCH = "record batch"
_HEADER, _COMPRESSION = 2, 3
"""Places of fields in Arrow's tables Message and RecordBatch (Message.fbs of its format)."""


def _require_uncompressed(path: Path, source: Any) -> None:
    """Verify of every batch of a stream that it says that it is not compressed.

    Raises:
        DataError: One is.
    """
    import pyarrow

    while True:
        try:
            message = pyarrow.ipc.read_message(source)
        except EOFError:
            return
        if message.type != _RECORD_BATCH:
            continue
        try:
            data = bytes(message.metadata)
            header = _field(data, _number(data, 0), _HEADER)
            is_compressed = _field(data, header + _number(data, header), _COMPRESSION)
        except struct.error as error:
            raise DataError(f"{path}: cannot be read (damaged metadata: {error})") from error
        if is_compressed:
            raise DataError(
                f"{path}: is compressed; load it with `datasets` and save it again, or as Parquet"
            )


def _field(data: bytes, table: int, index: int) -> int:
    """Where a field of a FlatBuffers table lies; 0 where the table lacks it."""
    (back,) = struct.unpack_from("<i", data, table)
    fields, slot = table - back, 4 + 2 * index
    (length,) = struct.unpack_from("<H", data, fields)
    (offset,) = struct.unpack_from("<H", data, fields + slot) if slot < length else (0,)
    return table + int(offset) if offset else 0


def _number(data: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])


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
