"""Reads structs of Thrift's compact protocol, in which Parquet writes the headers of its pages."""

from __future__ import annotations

import struct
from typing import Any

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_WHOLE = (4, 5, 6)
_DEEPEST = 16


def read_struct(data: bytes) -> tuple[dict[int, Any], int]:
    r"""The fields of a struct by their numbers, and how many bytes it takes.

    Raises:
        IndexError: It ends too early.
        ValueError: It is none.

    Example:
        >>> read_struct(b"\x15\x04\x15\x06\x00more")
        ({1: 2, 2: 3}, 5)
    """
    return _struct(data, 0, 0)


def _struct(data: bytes, place: int, depth: int) -> tuple[dict[int, Any], int]:
    if depth > _DEEPEST:
        raise ValueError("damaged: a struct within too many others")
    fields: dict[int, Any] = {}
    number = 0
    while head := data[place]:
        place += 1
        if head >> 4:
            number += head >> 4
        else:
            number, place = _whole(data, place)
        kind = head & 15
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        else:
            fields[number], place = _value(data, place, kind, depth)
    return fields, place + 1


def _value(data: bytes, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _WHOLE:
        return _whole(data, place)
    if kind in (_TRUE, _FALSE, _BYTE):
        return data[place], place + 1
    if kind == _DOUBLE:
        (value,) = struct.unpack("<d", _taken(data, place, 8))
        return value, place + 8
    if kind == _BINARY:
        length, place = read_unsigned(data, place)
        return _taken(data, place, length), place + length
    if kind in (_LIST, _SET):
        head = data[place]
        count, place = (head >> 4, place + 1) if head >> 4 < 15 else read_unsigned(data, place + 1)
        values = []
        for _ in range(count):
            value, place = _value(data, place, head & 15, depth + 1)
            values.append(value)
        return values, place
    if kind == _MAP:
        count, place = read_unsigned(data, place)
        kinds, place = (data[place], place + 1) if count else (0, place)
        pairs = []
        for _ in range(count):
            key, place = _value(data, place, kinds >> 4, depth + 1)
            value, place = _value(data, place, kinds & 15, depth + 1)
            pairs.append((key, value))
        return pairs, place
    if kind == _STRUCT:
        return _struct(data, place, depth + 1)
    raise ValueError(f"damaged: a value of the unknown kind {kind}")


def _taken(data: bytes, place: int, length: int) -> bytes:
    if place + length > len(data):
        raise IndexError("the data end within a value")
    return data[place : place + length]


def _whole(data: bytes, place: int) -> tuple[int, int]:
    value, place = read_unsigned(data, place)
    return (value >> 1) ^ -(value & 1), place


def read_unsigned(data: bytes, place: int) -> tuple[int, int]:
    r"""A whole number in seven bits a byte, and the place after it.

    Raises:
        IndexError: The data end within it.
        ValueError: It has more than 64 bits.

    Example:
        >>> read_unsigned(b"\xac\x02", 0)
        (300, 2)
    """
    value = shift = 0
    while shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
    raise ValueError("damaged: a number of more than 64 bits")
