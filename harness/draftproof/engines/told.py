"""What an engine tells, as values that a journal and a report can hold: checked once, at the door.

An engine is anybody's code. Numbers that no file has room for, text that is not Unicode, a
generator that never ends: each makes its case an error here, before anything of it is stored.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from itertools import islice
from typing import Any, TypeVar

from draftproof.engines.protocol import Counts, Generation
from draftproof.errors import EngineError, TraceError, clean_text, error_text
from draftproof.trace import (
    NODE_COLUMNS,
    STEP_COLUMNS,
    Columns,
    ServerSeconds,
    columns_from,
)

Value = TypeVar("Value")

_MOST_TOKENS = 2**20
"""Tokens of an output, and numbers of one counter: more than any context has room for."""

_MOST_CHARACTERS = 2**24

_LARGEST_TOKEN_ID = 2**31 - 1
_LARGEST_COUNT = 2**53
"""What every reader of JSON takes for the same whole number."""

_OF_IMPORTS = frozenset({"committed", "outputs", "requests", "counted"})
"""What counters hold of other tools' results alone."""

_DEEPEST = 8
_MOST_VALUES = 1000
"""Levels, and values a level, of what an engine says of itself."""


def checked_generation(generation: object, name: str) -> Generation:
    """The generation with its token ids and counters as plain integers that can be stored.

    Args:
        generation: What an engine returned.
        name: Of the engine.

    Raises:
        EngineError: It is none, has no token ids, or holds what no report can.
    """
    if not isinstance(generation, Generation):
        raise EngineError(f"{name} returned a {type(generation).__name__}, not a Generation")
    token_ids: object = generation.token_ids
    if token_ids is None or isinstance(token_ids, str | bytes):
        raise EngineError(f"{name} returned text without token ids; losslessness is judged by ids")
    try:
        ids = _integers(generation.token_ids)
    except TypeError as error:
        raise EngineError(f"{name} returned token ids that are no integers: {error}") from error
    if len(ids) > _MOST_TOKENS:
        raise EngineError(f"{name} returned more than {_MOST_TOKENS} token ids for one output")
    beyond = [token for token in ids if abs(token) > _LARGEST_TOKEN_ID]
    if beyond:
        raise EngineError(f"{name} returned {_number(beyond[0])} as a token id")
    return replace(
        generation,
        token_ids=ids,
        stop_reason=clean_text(str(generation.stop_reason)),
        seconds=_seconds(generation.seconds, "seconds", name),
        watching_seconds=_seconds(generation.watching_seconds, "watching_seconds", name),
        counts=_whole(generation.counts, name),
        steps=_columns(generation.steps, STEP_COLUMNS, "steps", name),
        nodes=_columns(generation.nodes, NODE_COLUMNS, "nodes", name),
        accepted=_each(generation.accepted, _switch, "accepted", name),
        draws=_draws(generation.draws, name),
        text=_text(generation.text, name),
        log_probabilities=_each(
            generation.log_probabilities, _log_probability, "log_probabilities", name
        ),
        arrivals=_each(generation.arrivals, _arrival, "arrivals", name),
        server_seconds=_by_server(generation.server_seconds, name),
    )


def plain_values(value: Any, depth: int = 0) -> Any:
    """The nearest value that JSON has to what an engine says of itself.

    Args:
        value: Anything.
        depth: Levels above it.

    Returns:
        Text, finite numbers, switches, None, lists and tables of text; anything else as its text.

    Example:
        >>> plain_values({"folder": object, 3: float("nan"), "ids": (1, 2)})
        {'folder': "<class 'object'>", '3': 'nan', 'ids': [1, 2]}
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= _LARGEST_COUNT:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {
            clean_text(str(key)): plain_values(inner, depth + 1)
            for key, inner in islice(value.items(), _MOST_VALUES)
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [plain_values(inner, depth + 1) for inner in islice(value, _MOST_VALUES)]
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0 and depth < _DEEPEST:
        return plain_values(item(), _DEEPEST)
    return clean_text(_number(value) if isinstance(value, int) else str(value))


def _number(value: int) -> str:
    """A whole number; one of many digits by its size, which Python may refuse to write out."""
    return str(value) if value.bit_length() < 128 else f"a number of {value.bit_length()} bits"


def _seconds(value: object, what: str, name: str) -> float:
    """A span of time.

    Raises:
        EngineError: It is no finite number.
    """
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise EngineError(
            f"{name} returned {what} that are no number: {error_text(error)}"
        ) from error
    if not math.isfinite(seconds):
        raise EngineError(f"{name} returned {seconds} as {what}")
    return seconds


def _each(
    values: Iterable[Any] | None, of: Callable[[Any], Value], what: str, name: str
) -> tuple[Value, ...] | None:
    """A value a token, each as it can be stored.

    Raises:
        EngineError: They are none, or too many.
    """
    if values is None:
        return None
    try:
        found = tuple(of(value) for value in islice(values, _MOST_TOKENS + 1))
    except (TypeError, ValueError, OverflowError) as error:
        raise EngineError(f"{name} returned {what} that cannot be: {error_text(error)}") from error
    if len(found) > _MOST_TOKENS:
        raise EngineError(f"{name} returned more than {_MOST_TOKENS} values as {what}")
    return found


def _switch(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError(f"a {type(value).__name__} that is neither true nor false")
    return bool(value)


def _log_probability(value: Any) -> float:
    """−inf is one, of a token that the target never says; NaN where the engine does not tell it."""
    number = float(value)
    if number == math.inf:
        raise ValueError(f"{number} is the logarithm of no probability")
    return number


def _draws(draws: object, name: str) -> dict[str, int]:
    """Numbers of draws by purpose.

    Raises:
        EngineError: They are none.
    """
    try:
        if not isinstance(draws, Mapping):
            raise TypeError(f"a {type(draws).__name__} is no table")
        found = {
            clean_text(str(purpose)): operator.index(count)
            for purpose, count in islice(draws.items(), _MOST_VALUES)
        }
    except TypeError as error:
        raise EngineError(f"{name} returned draws that cannot be: {error_text(error)}") from error
    beyond = [count for count in found.values() if not 0 <= count <= _LARGEST_COUNT]
    if beyond:
        raise EngineError(f"{name} counted {_number(beyond[0])} draws, which none can")
    return found


def _text(text: object, name: str) -> str | None:
    """The output as the engine decodes it, as it is but for what no file holds.

    Raises:
        EngineError: It is no text, or too long to be an output.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise EngineError(f"{name} returned a {type(text).__name__} as the output's text")
    if len(text) > _MOST_CHARACTERS:
        raise EngineError(f"{name} returned a text of {len(text)} characters for one output")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _arrival(piece: Any) -> tuple[float, int]:
    """When a piece of an answer arrived, and how many tokens it brought."""
    seconds, tokens = piece
    seconds, tokens = float(seconds), operator.index(tokens)
    if not math.isfinite(seconds):
        raise ValueError(f"{seconds} seconds")
    if not 0 <= tokens <= _MOST_TOKENS:
        raise ValueError(f"{_number(tokens)} tokens in one piece")
    return seconds, tokens


def _by_server(seconds: object, name: str) -> ServerSeconds | None:
    """What a server's own clock says.

    Raises:
        EngineError: It is no pair of numbers that are at least 0, or NaN.
    """
    if seconds is None:
        return None
    try:
        first, whole = (float(each) for each in seconds)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError) as error:
        raise EngineError(
            f"{name} returned server_seconds that are no pair of numbers: {error_text(error)}"
        ) from error
    if any(each < 0 or math.isinf(each) for each in (first, whole)):
        raise EngineError(f"{name} returned {first} and {whole} as server_seconds")
    return first, whole


def _columns(
    columns: Columns | None, schema: Mapping[str, str], what: str, name: str
) -> Columns | None:
    """Columns of the schema's types.

    Raises:
        EngineError: They are not those of the schema, or a value has no room in its column.
    """
    if columns is None:
        return None
    try:
        return columns_from(schema, columns)
    except (TraceError, TypeError, ValueError, OverflowError) as error:
        raise EngineError(
            f"{name} returned {what} that are no {what}: {error_text(error)}"
        ) from error


def _whole(counts: Counts | None, name: str) -> Counts | None:
    """The counters as plain integers; whether they can be true is not judged here.

    Raises:
        EngineError: They are not integers, or none that a report has room for.
    """
    if counts is None:
        return None
    values = {field.name: getattr(counts, field.name) for field in fields(Counts)}
    # An engine tells the counters of one request; what else there is, only imported results have.
    values = {key: value for key, value in values.items() if key not in _OF_IMPORTS}
    for key in ("drafted", "accepted"):
        if values[key] is None:
            raise EngineError(
                f"{name} told counters without '{key}', which others are held against"
            )
    try:
        whole = {key: _counter(value) for key, value in values.items()}
    except TypeError as error:
        raise EngineError(f"{name} returned counters that are no integers: {error}") from error
    for key, value in whole.items():
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if len(numbers) > _MOST_TOKENS:
            raise EngineError(f"{name} returned more than {_MOST_TOKENS} numbers as '{key}'")
        beyond = [number for number in numbers if abs(number) > _LARGEST_COUNT]
        if beyond:
            raise EngineError(f"{name} counted {_number(beyond[0])} as '{key}', which none can")
    return Counts(**whole)


def _counter(value: Any) -> Any:
    if value is None:
        return None
    return _integers(value) if isinstance(value, Iterable) else operator.index(value)


def _integers(values: Iterable[Any]) -> tuple[int, ...]:
    """Whole numbers, one more than there may be at most."""
    return tuple(operator.index(value) for value in islice(values, _MOST_TOKENS + 1))
