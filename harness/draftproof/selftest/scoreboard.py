"""The scoreboard: which faults were caught, by what, and after how much."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from draftproof.conformance.check_result import Status
from draftproof.selftest.instruments import INSTRUMENTS, Family, Outcome, Surroundings, run
from draftproof.selftest.mutant import FaultClass, Mutant


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A mutant with what instruments said of it, in the order in which they were run."""

    mutant: Mutant
    outcomes: tuple[Outcome, ...]

    @property
    def catches(self) -> tuple[Outcome, ...]:
        """The outcomes that reported a fault."""
        return tuple(outcome for outcome in self.outcomes if outcome.caught)

    @property
    def caught(self) -> bool:
        """Whether any did."""
        return bool(self.catches)

    @property
    def families(self) -> tuple[Family, ...]:
        """The kinds of instrument that did, in the order of `Family`."""
        found = {INSTRUMENTS[outcome.instrument][0] for outcome in self.catches}
        return tuple(family for family in Family if family in found)

    @property
    def right(self) -> bool:
        """Whether it is as it must be: a fault caught, a control not flagged."""
        return self.caught is not self.mutant.lossless


def examine(
    mutants: Iterable[Mutant],
    around: Surroundings,
    *,
    instruments: Sequence[str] = tuple(INSTRUMENTS),
    all_instruments: bool = False,
) -> Iterator[Score]:
    """The score of each mutant, one after another.

    Args:
        mutants: What is examined.
        around: What it is examined with.
        instruments: Keys of `INSTRUMENTS`, in the order in which they are run.
        all_instruments: Whether a fault meets every instrument, not only those up to the first that
            catches it. Controls always meet all of them.
    """
    for mutant in mutants:
        outcomes: list[Outcome] = []
        for name in instruments:
            outcomes.append(run(name, mutant, around))
            if outcomes[-1].caught and not (all_instruments or mutant.lossless):
                break
        yield Score(mutant=mutant, outcomes=tuple(outcomes))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """A row of the scoreboard.

    Attributes:
        name: The class of faults, or what is summed over.
        planted: Mutants of it.
        caught: Of these, those that some instrument reported.
        by: How many each family caught, the first family that did counting.
        median_tokens: Tokens that speculation committed until the first catch, in the median over
            those that any tokens were needed for; None where enumeration or arithmetic caught all.
    """

    name: str
    planted: int
    caught: int
    by: dict[Family, int]
    median_tokens: float | None


def class_score(name: str, scores: Sequence[Score]) -> ClassScore:
    """The row of some scores."""
    first = [score.catches[0] for score in scores if score.caught]
    tokens = [outcome.tokens for outcome in first if outcome.requests or outcome.tokens]
    return ClassScore(
        name=name,
        planted=len(scores),
        caught=len(first),
        by=dict(Counter(INSTRUMENTS[outcome.instrument][0] for outcome in first)),
        median_tokens=statistics.median(tokens) if tokens else None,
    )


def by_class(scores: Sequence[Score]) -> list[ClassScore]:
    """A row for each class of faults that was examined."""
    rows = []
    for fault_class in FaultClass:
        own = [score for score in scores if score.mutant.fault_class is fault_class]
        if own and fault_class is not FaultClass.CONTROL:
            rows.append(class_score(str(fault_class), own))
    return rows


def select(scores: Sequence[Score], keep: Callable[[Mutant], bool]) -> list[Score]:
    """The scores of some mutants."""
    return [score for score in scores if keep(score.mutant)]


def available(score: Score) -> int:
    """How many instruments had something to say of a mutant."""
    return sum(outcome.status in (Status.PASSED, Status.FAILED) for outcome in score.outcomes)
