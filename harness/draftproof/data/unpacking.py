"""Unpacks files that others packed, up to a size: a few bytes can stand for any number of them."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from draftproof.errors import DataError

LARGEST_BYTES = 1 << 30
"""No data set here is near it: a file that unpacks to more is not what it says it is."""

LARGEST_VALUE = 1 << 24
"""Characters of a line or an item of JSON, whose objects take up to 25 times as much in memory."""

LARGEST_DOCUMENT_BYTES = 1 << 26
"""Of a file of JSON that is read as one value."""

_BLOCK = 1 << 20
_ROWS = 64
_BATCH_BYTES = 1 << 24
"""What rows that are decoded at once may take, as long as one of them does not take more."""
_ROW_BYTES = 64
"""What a row takes at least, whatever is in it."""


def require_size(path: Path, *, is_one_value: bool = False) -> None:
    """Refuse a file that unpacks to more than `LARGEST_BYTES`, before anything unpacks it whole.

    A file that is damaged passes: what reads it says so in full.

    Args:
        path: The file.
        is_one_value: Whether it is one value of JSON, of up to `LARGEST_DOCUMENT_BYTES`.

    Raises:
        DataError: It is larger.
    """
    try:
        if path.suffix == ".parquet":
            for _ in _batches(path):
                pass
        else:
            most = min(LARGEST_BYTES, LARGEST_DOCUMENT_BYTES) if is_one_value else LARGEST_BYTES
            for _ in _blocks(path, most):
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


def parquet_columns(path: Path) -> list[str]:
    """The names of a Parquet file's columns.

    Raises:
        OSError, pyarrow.ArrowException: It cannot be read.
    """
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def parquet_rows(path: Path, columns: Collection[str]) -> Iterator[Any]:
    """The rows of a Parquet file, a few at a time.

    Args:
        path: The file.
        columns: Those that are read, where the file has them; nothing of another is decoded.

    Raises:
        DataError: They take more than `LARGEST_BYTES`.
        OSError, pyarrow.ArrowException: It cannot be read.
    """
    for batch in _batches(path, columns):
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


def _blocks(path: Path, most: int | None = None) -> Iterator[bytes]:
    size = 0
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while block := file.read(_BLOCK):
            size += len(block)
            _require(path, size, most)
            yield block


def _batches(path: Path, columns: Collection[str] | None = None) -> Iterator[Any]:
    """Parts of a Parquet file, of few rows: it may say the same long text once for all of them."""
    import pyarrow.parquet

    from draftproof.data.parquet_sizes import parquet_sizes

    with pyarrow.parquet.ParquetFile(path) as file:
        metadata = file.metadata
        places = [metadata.schema.column(i).path for i in range(len(metadata.schema))]
        wanted = [
            number
            for number, place in enumerate(places)
            if columns is None or _is_of(place, columns)
        ]
        size = _ROW_BYTES * max(0, metadata.num_rows)
        _require(path, size)
        try:
            sizes = parquet_sizes(path, metadata, wanted, LARGEST_BYTES - size)
        except ValueError as error:
            raise DataError(f"{path}: cannot be read ({error})") from error
        _require(path, size + sizes.total_bytes)
        rows = max(1, min(_ROWS, _BATCH_BYTES // max(1, sizes.largest_bytes)))
        names = [places[number] for number in wanted]
        size = 0
        for batch in file.iter_batches(batch_size=rows, columns=names, use_threads=False):
            size += batch.nbytes + _ROW_BYTES * batch.num_rows
            _require(path, size)
            yield batch


def _is_of(place: str, columns: Collection[str]) -> bool:
    """Whether values at a place in a schema are those of a column, or of a part of it."""
    return any(place == column or place.startswith(f"{column}.") for column in columns)


def _require(path: Path, size: int, most: int | None = None) -> None:
    most = LARGEST_BYTES if most is None else most
    if size > most:
        raise DataError(
            f"{path}: unpacks to more than {most:,} bytes; give a part of it, or check "
            "that it is what it says it is"
        )
