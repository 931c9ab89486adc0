"""How much the columns of a Parquet file unpack to, by its pages and before anything decodes them.

A dictionary page holds a long text once, and a few bytes of a data page say it a million times
over, in as many rows or in a list of one. No size that the file states counts that. Here the
headers of all pages are read, as Arrow would read them, and where a dictionary could stand for too
much, the numbers of its entries are counted.

(Arrow can read texts as numbers of a dictionary's entries, which would count them as well. It does
not do so for texts in lists whose pages have more than one dictionary, or none: "Nested data
conversions not implemented for chunked array outputs", pyarrow 26.0.)
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from draftproof.data.thrift import read_struct, read_unsigned

VALUE_BYTES = 32
"""What a value takes at least as an object of Python, in a list of its row."""

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_TEXTS = "BYTE_ARRAY"

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_BY_NUMBER = (2, 8)
_BY_PREFIX = 7
_BITS = 4
"""Page types and encodings, as Parquet's format numbers them."""

_PLAIN_DEPTH = 2
"""A list's values lie two levels deeper in a schema than a column's own."""

_USUAL_HEADER, _LONGEST_HEADER = 1 << 12, 1 << 24
"""Bytes of a page's header, which may hold statistics of its values; Arrow reads none longer."""

_GROUPS = 1 << 10
"""Groups of eight numbers that are taken out of their bits at once."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What columns unpack to.

    Attributes:
        total_bytes: Of all values as plain ones, and `VALUE_BYTES` for each.
        largest_bytes: Of the largest value that few bytes can repeat; 0 where there is none.
    """

    total_bytes: int
    largest_bytes: int


@dataclass(frozen=True, slots=True)
class _Page:
    place: int
    stored_bytes: int
    plain_bytes: int
    kind: int
    header: dict[int, Any]

    @property
    def values(self) -> int:
        return int(self.header.get(1, 0))

    @property
    def encoding(self) -> int:
        return int(self.header.get(4 if self.kind == _DATA_V2 else 2, 0))


def parquet_sizes(path: Path, metadata: Any, columns: Collection[int], most: int) -> Sizes:
    """What some columns of a file unpack to; counting ends where it is more than enough.

    Args:
        path: The file.
        metadata: Its `pyarrow.parquet.FileMetaData`.
        columns: Which columns, by their positions among all that hold values.
        most: Bytes; a total beyond it need not be exact.

    Raises:
        ValueError: A page is damaged, or is packed in a way that cannot be counted.
        OSError: The file cannot be read.
    """
    total = largest = 0
    with path.open("rb") as file:
        for group in range(metadata.num_row_groups):
            for column in columns:
                found = _column_sizes(
                    file,
                    metadata.row_group(group).column(column),
                    metadata.schema.column(column),
                    most - total,
                )
                total += found.total_bytes
                largest = max(largest, found.largest_bytes)
                if total > most:
                    return Sizes(total, largest)
    return Sizes(total, largest)


def _column_sizes(file: BinaryIO, chunk: Any, schema: Any, most: int) -> Sizes:
    pages = []
    total = 0
    weight = VALUE_BYTES * max(1, len(schema.path.split(".")) - _PLAIN_DEPTH)
    width = schema.length if schema.physical_type == "FIXED_LEN_BYTE_ARRAY" else None
    width = _WIDTHS.get(schema.physical_type, width)
    for page in _pages(file, chunk):
        total += page.plain_bytes + page.values * weight
        if width is not None and page.kind != _DICTIONARY:
            total += page.values * width
        if total > most:
            return Sizes(total, 0)
        pages.append(page)
    if schema.physical_type != _TEXTS:
        return Sizes(total, width or 0)
    data = [page for page in pages if page.kind in (_DATA, _DATA_V2)]
    prefixed = [page for page in data if page.encoding == _BY_PREFIX]
    largest = max((page.plain_bytes for page in prefixed), default=0)
    # Each value may repeat all of the one before it, and a row have any number of them.
    most_of_them = sum(page.values * page.plain_bytes for page in prefixed)
    if schema.max_repetition_level and total + most_of_them > most:
        raise ValueError(
            f"{schema.path} is a list of texts as DELTA_BYTE_ARRAY, of which nothing says how much "
            "it unpacks to; save it again in another encoding"
        )
    numbered = [page for page in data if page.encoding in _BY_NUMBER]
    if not numbered:
        return Sizes(total, largest)
    dictionary = [page for page in pages if page.kind == _DICTIONARY]
    if len(dictionary) != 1:
        raise ValueError("damaged: a column whose values are numbers of a dictionary has not one")
    lengths = _entry_lengths(file, dictionary[0], chunk.compression)
    longest = int(lengths.max(initial=0))
    if total + longest * sum(page.values for page in numbered) <= most:
        total += longest * sum(page.values for page in numbered)
    else:
        for page in numbered:
            total += _numbered_bytes(file, page, chunk.compression, schema, lengths)
            if total > most:
                break
    return Sizes(total, max(largest, longest))


def _pages(file: BinaryIO, chunk: Any) -> Iterator[_Page]:
    """The pages of a column in a row group, up to where Arrow stops."""
    place = chunk.data_page_offset
    # As Arrow: a dictionary page lies before the data, and not every writer says that there is one.
    if chunk.dictionary_page_offset and chunk.dictionary_page_offset < place:
        place = chunk.dictionary_page_offset
    seen = 0
    while seen < chunk.num_values:
        try:
            header, length = _header(file, place)
            kind, plain, stored = int(header[1]), int(header[2]), int(header[3])
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("damaged: a page's header cannot be read") from error
        parts = header.get({_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(kind, 0), {})
        page = _Page(place + length, stored, plain, kind, parts)
        if plain < 0 or stored < 0 or page.values < 0:
            raise ValueError("damaged: a page of less than nothing")
        if kind in (_DATA, _DATA_V2):
            seen += page.values
        yield page
        place = page.place + stored


def _header(file: BinaryIO, place: int) -> tuple[dict[int, Any], int]:
    room = _USUAL_HEADER
    while True:
        file.seek(place)
        data = file.read(room)
        try:
            return read_struct(data)
        except IndexError:
            if len(data) < room or room >= _LONGEST_HEADER:
                raise
            room *= 16


def _unpacked(file: BinaryIO, page: _Page, compression: str, skip: int = 0) -> bytes:
    """What a page holds after some bytes that are never compressed."""
    import pyarrow

    file.seek(page.place)
    data = file.read(page.stored_bytes)[skip:]
    if compression == "UNCOMPRESSED" or not page.header.get(7, True):
        return data
    name = "lz4_raw" if compression == "LZ4" else compression.lower()
    try:
        found = pyarrow.Codec(name).decompress(data, page.plain_bytes - skip, asbytes=True)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(
            f"its {compression} pages cannot be counted ({error}); save it again with zstd"
        ) from error
    return bytes(found)


def _entry_lengths(file: BinaryIO, page: _Page, compression: str) -> np.ndarray:
    """The bytes of each text of a dictionary page."""
    data = _unpacked(file, page, compression)
    lengths: list[int] = []
    place = 0
    while place + 4 <= len(data) and len(lengths) < page.values:
        (length,) = struct.unpack_from("<I", data, place)
        lengths.append(length)
        place += 4 + length
    return np.array(lengths, np.int64)


def _numbered_bytes(
    file: BinaryIO, page: _Page, compression: str, schema: Any, lengths: np.ndarray
) -> int:
    """The bytes of the texts that a page of numbers of dictionary entries stands for."""
    if page.kind == _DATA_V2:
        skip = int(page.header.get(5, 0)) + int(page.header.get(6, 0))
        data, place = _unpacked(file, page, compression, skip), 0
    else:
        data, place = _unpacked(file, page, compression), 0
        for level, encoding in (
            (schema.max_repetition_level, page.header.get(4)),
            (schema.max_definition_level, page.header.get(3)),
        ):
            if level and encoding == _BITS:
                place += (page.values * int(level).bit_length() + 7) // 8
            elif level:
                place += 4 + int.from_bytes(data[place : place + 4], "little")
    if place >= len(data):
        return 0
    # A number beyond the dictionary is damage, which Arrow names; here it is the longest text.
    longest = int(lengths.max(initial=0))
    total, left = 0, page.values
    for numbers, count in _runs(data, place + 1, data[place]):
        taken = numbers[:left]
        inside = taken[taken < len(lengths)]
        size = int(lengths[inside].sum()) + longest * (len(taken) - len(inside))
        total += size * min(count, left)
        left -= len(taken) * min(count, left)
        if left <= 0:
            break
    return total


def _runs(data: bytes, place: int, width: int) -> Iterator[tuple[np.ndarray, int]]:
    """Numbers as Parquet's hybrid of runs and packed bits: some numbers, and how often each set."""
    if width > 32:
        raise ValueError("damaged: numbers of more than 32 bits")
    size = (width + 7) // 8
    powers = 1 << np.arange(width, dtype=np.int64)
    while place < len(data):
        head, place = read_unsigned(data, place)
        count = head >> 1
        if not count:
            raise ValueError("damaged: a run of no numbers")
        if not head & 1:
            number = int.from_bytes(data[place : place + size], "little")
            place += size
            yield np.array([number], np.int64), count
        elif not width:
            yield np.zeros(1, np.int64), count * 8
        else:
            end = min(place + count * width, len(data))
            while place < end:
                part = data[place : min(end, place + _GROUPS * width)]
                bits = np.unpackbits(np.frombuffer(part, np.uint8), bitorder="little")
                numbers = bits[: len(bits) // width * width].reshape(-1, width)
                yield numbers.astype(np.int64) @ powers, 1
                place += len(part)
