"""An engine's own settings, read from ``--spec-engine-option`` into a dataclass of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, get_type_hints

from draftproof.errors import UsageError, unknown_value

_OPTION = "--spec-engine-option"
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

Settings = TypeVar("Settings")


def setting(meaning: str, default: Any = dataclasses.MISSING) -> Any:
    """A field of a settings dataclass; without a default it must be given.

    Args:
        meaning: What it is, for the documents and for errors.
        default: Its value where it is not given.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning})


def read_settings(
    kind: type[Settings], given: Iterable[tuple[str, str]], engine: str, checks: Sequence[Any] = ()
) -> Settings:
    """The settings of an engine from pairs of name and text.

    Args:
        kind: A dataclass of fields made by `setting`, each an int, float, bool or str, or optional.
        given: As in `RunConfig.engine_options`.
        engine: Its name, for errors.
        checks: Triples of a field's name, a condition on its value and what to say where it does
            not hold.

    Raises:
        UsageError: A name is unknown or given twice, a value cannot be read or is not valid, or a
            setting that the engine needs is missing.

    Example:
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Mine:
        ...     url: str = setting("where it is")
        ...     retries: int = setting("how often", 3)
        >>> read_settings(Mine, [("url", "http://here"), ("retries", "5")], "mine")
        Mine(url='http://here', retries=5)
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    types = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name, text in given:
        if name not in fields:
            raise unknown_value(f"{_OPTION} of --spec-engine {engine}", name, fields)
        if name in values:
            raise UsageError(f"{_OPTION}: {name} is given twice")
        values[name] = _read(name, text, str(types[name]), engine)
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise UsageError(
                f"--spec-engine {engine} needs {_OPTION} {name}=… ({field.metadata['meaning']})"
            )
    for name, holds, problem in checks:
        if name in values and not holds(values[name]):
            raise UsageError(f"{_OPTION}: {name}={values[name]}: {problem}")
    return kind(**values)


def _read(name: str, text: str, kind: str, engine: str) -> Any:
    readers: tuple[tuple[str, Callable[[str], Any], str], ...] = (
        ("bool", lambda word: _WORDS[word.lower()], "true or false"),
        ("int", int, "a whole number"),
        ("float", float, "a number"),
    )
    for type_name, reader, what in readers:
        if type_name in kind:
            try:
                return reader(text)
            except (ValueError, KeyError) as error:
                raise UsageError(
                    f"{_OPTION} of --spec-engine {engine}: {name}={text} is not {what}"
                ) from error
    return text
