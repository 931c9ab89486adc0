"""In what two descriptions of a run differ, said so that people see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_SHOWN_CHARACTERS = 40


class Mismatch(NamedTuple):
    """A fact in which two runs differ.

    Attributes:
        fact: For example ``target sha256``.
        before: The earlier run's.
        now: The later run's.
    """

    fact: str
    before: str
    now: str

    def __str__(self) -> str:
        return f"{self.fact}: {self.before} → {self.now}"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested mappings, names of nested ones joined by dots.

    Example:
        >>> list(flat({"sampling": {"top_k": 0}, "seed": 1}))
        [('sampling.top_k', 0), ('seed', 1)]
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Mismatch]:
    """Every fact of either that the other does not have, or has another value of.

    Example:
        >>> [str(each) for each in differences({"limit": 5, "turns": 1}, {"limit": None})]
        ['limit: 5 → none', 'turns: 1 → none']
    """
    names = dict.fromkeys([*before, *now])
    return [
        Mismatch(name, _shown(before.get(name)), _shown(now.get(name)))
        for name in names
        if comparable(before.get(name)) != comparable(now.get(name))
    ]


def known_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Mismatch]:
    """Of the facts that both know, so that neither is None, those that differ."""
    known = [name for name in before if before[name] is not None and now.get(name) is not None]
    return differences({name: before[name] for name in known}, {name: now[name] for name in known})


def said(found: list[Mismatch], shown: int = 5) -> str:
    """Differences in one line, the first few of many.

    Example:
        >>> said([Mismatch("seed", "0", "1"), Mismatch("k", "8", "16")], shown=1)
        'seed: 0 → 1; and 1 more'
    """
    rest = [f"and {len(found) - shown} more"] if len(found) > shown else []
    return "; ".join([*map(str, found[:shown]), *rest])


def comparable(value: Any) -> Any:
    """A value as it is once it was JSON."""
    return list(value) if isinstance(value, tuple) else value


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:12]}…"
