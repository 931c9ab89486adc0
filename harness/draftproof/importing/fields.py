"""The fields of a JSON object, each checked as it is read, with the place in every message."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from draftproof.errors import DataError, clean_text

_LARGEST = 2**53
"""What every reader of JSON takes for the same whole number."""
_MOST_VALUES = 2**20
_LARGEST_NUMBER = 1e15
"""More than any span of time or rate that is measured."""
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Fields:
    """A JSON object and where it stands.

    Attributes:
        where: The place, for messages.
        values: Its members.
    """

    where: str
    values: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        """Whether it has a member, and that is not null."""
        return self.values.get(name) is not None

    def count(self, name: str) -> int:
        """A whole number, 0 or more.

        Raises:
            DataError: It is missing or none.
        """
        return count_of(self._place(name), self._needed(name))

    def count_or_none(self, name: str) -> int | None:
        """A whole number, 0 or more; None where it is missing or null."""
        return self.count(name) if name in self else None

    def counts(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers, 0 or more."""
        values = self._needed(name)
        if not isinstance(values, list):
            raise _wrong(self._place(name), "a list of whole numbers", values)
        if len(values) > _MOST_VALUES:
            raise DataError(
                f"{self._place(name)}: a list of {len(values)} numbers, and no result has more "
                f"than {_MOST_VALUES}"
            )
        return tuple(
            count_of(f"{self._place(name)}[{index}]", value) for index, value in enumerate(values)
        )

    def lengths(self, name: str) -> tuple[int, ...]:
        """A list of numbers of tokens, each of one step."""
        values = self.counts(name)
        for index, value in enumerate(values):
            if value > _MOST_VALUES:
                raise DataError(f"{self._place(name)}[{index}]: no step makes {value} tokens")
        return values

    def number(self, name: str) -> float:
        """A finite number, 0 or more."""
        return _measured(self._place(name), self._needed(name))

    def number_or_nan(self, name: str) -> float:
        """A finite number, 0 or more; NaN where it is missing or null."""
        return self.number(name) if name in self else math.nan

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers, 0 or more."""
        values = self._needed(name)
        if not isinstance(values, list):
            raise _wrong(self._place(name), "a list of numbers", values)
        return tuple(
            _measured(f"{self._place(name)}[{index}]", value) for index, value in enumerate(values)
        )

    def text(self, name: str) -> str:
        """A text that is not empty; a whole number is taken as its digits."""
        value = self._needed(name)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(count_of(self._place(name), value))
        if not isinstance(value, str) or not value.strip():
            raise _wrong(self._place(name), "a text", value)
        return clean_text(value.strip(), most=200)

    def text_or_empty(self, name: str) -> str:
        """A text; empty where it is missing, null or no text."""
        value = self.values.get(name)
        return clean_text(value, most=200) if isinstance(value, str) else ""

    def inner(self, name: str) -> Fields:
        """An object within it."""
        return fields_of(self._place(name), self._needed(name))

    def items(self, name: str) -> list[Fields]:
        """A list of objects within it."""
        values = self._needed(name)
        if not isinstance(values, list):
            raise _wrong(self._place(name), "a list of objects", values)
        return [
            fields_of(f"{self._place(name)}[{index}]", value) for index, value in enumerate(values)
        ]

    def histogram(self, name: str) -> tuple[int, ...]:
        """``[longest + 1]`` how many steps kept each number of tokens, from a list or a table."""
        values = self._needed(name)
        if isinstance(values, list):
            return _trimmed(self.counts(name))
        found: dict[int, int] = {}
        for key, value in fields_of(self._place(name), values).values.items():
            place = f"{self._place(name)}.{clean_text(key, most=_SHOWN)}"
            if not key.isdecimal() or len(key) > len(str(_MOST_VALUES)):
                raise DataError(f"{place}: the key of a histogram is a number of tokens")
            length = count_of(place, int(key))
            if length > _MOST_VALUES:
                raise DataError(f"{place}: no step keeps {length} tokens")
            found[length] = count_of(place, value)
        return _trimmed(tuple(found.get(length, 0) for length in range(max(found, default=-1) + 1)))

    def _needed(self, name: str) -> Any:
        value = self.values.get(name)
        if value is None:
            raise DataError(f"{self.where}: there is no '{name}'")
        return value

    def _place(self, name: str) -> str:
        return f"{self.where}: {name}" if ": " not in self.where else f"{self.where}.{name}"


def fields_of(where: str, value: Any) -> Fields:
    """The fields of a value.

    Raises:
        DataError: It is no JSON object.
    """
    if not isinstance(value, dict):
        raise _wrong(where, "a JSON object", value)
    return Fields(where, value)


def count_of(where: str, value: Any) -> int:
    """A whole number, 0 or more; one with a fraction of 0 is whole.

    Raises:
        DataError: It is none; the message names the place.

    Example:
        >>> count_of("a.json: steps", 3.0)
        3
    """
    number = _number(where, value)
    if number != math.floor(number):
        raise _wrong(where, "a whole number", value)
    if number > _LARGEST:
        raise DataError(f"{where}: {number:.3g} is more than anything counts")
    return int(value)


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(where, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DataError(f"{where}: the number is too large to have been measured")
    if number < 0:
        raise DataError(f"{where}: {number:g} is negative, which no count and no time can be")
    return number


def _measured(where: str, value: Any) -> float:
    number = _number(where, value)
    if number > _LARGEST_NUMBER:
        raise DataError(f"{where}: {number:.3g} is too large to have been measured")
    return number


def _trimmed(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Without what never occurs beyond the longest."""
    longest = max((length for length, steps in enumerate(lengths) if steps), default=0)
    return lengths[: longest + 1]


def _wrong(where: str, expected: str, value: Any) -> DataError:
    found = clean_text(str(value), most=_SHOWN) if isinstance(value, str | float) else ""
    kind = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}.get(
        type(value), "text" if isinstance(value, str) else "a number"
    )
    shown = f" ('{found}')" if found else ""
    return DataError(f"{where}: expected {expected}, found {kind}{shown}")
