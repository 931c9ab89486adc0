"""What a check says: how it ended, and how many places it examined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from draftproof.engines.protocol import Capability
from draftproof.errors import DraftproofError
from draftproof.trace import Verdict

if TYPE_CHECKING:
    from draftproof.conformance.subject import Judged


class Status(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_TRIED = "not tried"
    """There was no place at which what the check looks for could have shown; nothing is said."""
    NOT_AVAILABLE = "not available"
    """The engine cannot do or tell what the check needs; nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        status: How it ended.
        n: Outputs that were judged.
        places: Places at which the fault that the check looks for could have shown.
        place: What such a place is, in the plural.
        numerical: Of the outputs, the ones that part from the target's own by rounding.
        lines: What went wrong, or why it is not available; else what is worth knowing.
        facts: Figures for programs, as plain JSON values.

    Raises:
        ValueError: It is said to have passed, and examined no place.
    """

    status: Status
    n: int = 0
    places: int = 0
    place: str = "places"
    numerical: int = 0
    lines: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status is Status.PASSED and not self.places:
            raise ValueError("a check that examined no place has not passed: it was not tried")


class FirstProblemError(DraftproofError):
    """A check ended at the first problem that it found, as it was asked to."""


def beyond_judge(unknown: Sequence[str]) -> Finding:
    """The finding of a check that asks the judge what it does not know.

    Args:
        unknown: What the engine is asked for that the judge does not apply; at least one name.
    """
    return Finding(
        status=Status.NOT_AVAILABLE,
        lines=(f"the judge does not apply {', '.join(unknown)}, which every request holds",),
    )


def not_available(capability: Capability) -> Finding:
    """The finding on an engine that lacks a capability."""
    return Finding(status=Status.NOT_AVAILABLE, lines=(f"the engine does not have: {capability}",))


class Tally:
    """Adds up the verdicts of a check's outputs, and the places that were examined in them.

    Args:
        place: What a place is, in the plural.
        to_the_end: Whether to go on after a problem.

    Attributes:
        n: Outputs judged.
        places: Places examined.
        numerical: Of the outputs, those that part by rounding.
        as_plain: Of these, those that leave the judge's target as the engine's plain decoding does.
        skipped: What could not be examined, and is said to have been left out.
        problems: What went wrong.

    Raises:
        FirstProblemError: By `add` and `require`, at the first problem, unless to go on.
    """

    def __init__(self, place: str, *, to_the_end: bool = True) -> None:
        self._place = place
        self._to_the_end = to_the_end
        self.n = 0
        self.places = 0
        self.numerical = 0
        self.as_plain = 0
        self.skipped = 0
        self.problems: list[str] = []

    def call_places(self, place: str) -> None:
        """Name the places otherwise, once it is known what they are."""
        self._place = place

    def add(self, what: str, judged: Judged, places: int) -> None:
        """Count an output, named by what it is the answer to, and the places examined in it."""
        self.n += 1
        self.places += places
        self.numerical += judged.verdict is Verdict.NUMERICAL
        self.as_plain += judged.as_plain
        if judged.verdict is Verdict.ALGORITHMIC:
            self._note(f"{what}: {judged.message}")

    def require(self, condition: bool, problem: str, places: int = 1) -> None:
        """Count a comparison and its places, and a problem where it does not hold."""
        self.n += 1
        self.places += places
        if not condition:
            self._note(problem)

    def _note(self, problem: str) -> None:
        self.problems.append(problem)
        if not self._to_the_end:
            raise FirstProblemError(problem)

    def finding(self, *lines: str, untried: str = "", **facts: Any) -> Finding:
        """The finding: failed if there was any problem, and not tried where there was no place.

        It is not available where every output had to be judged by the engine's own plain decoding.

        Args:
            lines: What is worth knowing.
            untried: Why there was no place to examine, if there was none.
            facts: As in `Finding`.
        """
        status = Status.PASSED
        if not self.places:
            status = Status.NOT_TRIED
            lines = (f"there were no {self._place} to examine: {untried}", *lines)
        if self.as_plain:
            lines += (
                f"{self.as_plain} of {self.n} outputs leave the judge's target where the engine's "
                "plain decoding does: the judge's numerics or settings are not the engine's",
            )
            if self.as_plain == self.n:
                status = Status.NOT_AVAILABLE
        if self.problems:
            status = Status.FAILED
        return Finding(
            status=status,
            n=self.n,
            places=self.places,
            place=self._place,
            numerical=self.numerical,
            lines=(*self.problems, *lines),
            facts=facts,
        )
