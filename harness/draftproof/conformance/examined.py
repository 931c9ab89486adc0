"""A check that was run, of an engine or of a kernel, and how many ended how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from draftproof.conformance.check_result import Finding, Status
from draftproof.errors import unknown_value

Checks = Mapping[str, Callable[[Any], Finding]]
"""Checks by name; the first line of a function's docstring says what must hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A check with what it found.

    Attributes:
        name: Of the check.
        claim: What must hold, in a sentence.
        finding: What it found.
        seconds: How long it took.
    """

    name: str
    claim: str
    finding: Finding
    seconds: float


def claim_of(check: Callable[[Any], Finding]) -> str:
    """What must hold where a check passes."""
    return (check.__doc__ or "").strip().splitlines()[0]


def chosen(names: Iterable[str], checks: Checks) -> tuple[str, ...]:
    """The checks of these names; all of them for no name.

    Raises:
        UsageError: There is no such check.
    """
    wanted = tuple(names)
    for name in wanted:
        if name not in checks:
            raise unknown_value("--check", name, checks)
    return wanted or tuple(checks)


def failed(checks: Iterable[Examined]) -> tuple[Examined, ...]:
    """The checks that found a fault."""
    return tuple(check for check in checks if check.finding.status is Status.FAILED)


def ended(checks: Iterable[Examined], status: Status) -> int:
    """How many checks ended so."""
    return sum(check.finding.status is status for check in checks)


def outcome(checks: Sequence[Examined]) -> str:
    """The first line of a report: how many checks ended how."""
    faults = ended(checks, Status.FAILED)
    found = f"{faults} check{'s' * (faults > 1)} found a fault" if faults else "no fault found"
    return (
        f"{found}: {ended(checks, Status.PASSED)} checks passed, {faults} failed, "
        f"{ended(checks, Status.NOT_TRIED)} not tried, "
        f"{ended(checks, Status.NOT_AVAILABLE)} not available"
    )
