"""The planted kernels by id, and what the checks make of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from draftproof.conformance.check_result import Status
from draftproof.conformance.examined import Examined
from draftproof.errors import unknown_value
from draftproof.kernels.contract import declared
from draftproof.kernels.examination import Examination
from draftproof.kernels.planted import (
    batches,
    chains,
    controls,
    shapes_of_trees,
    trees,
    unusual,
    whole_batches,
)
from draftproof.kernels.planted.parts import Planted
from draftproof.kernels.suite import CHECKS, examine

CATALOGUE: dict[str, Planted] = {
    planted.id: planted
    for module in (chains, batches, trees, whole_batches, shapes_of_trees, controls, unusual)
    for planted in module.PLANTED
}
"""The faults, and the lossless controls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What the checks make of a planted kernel.

    Attributes:
        planted: The kernel.
        caught_by: The checks that failed.
        suspected: The named faults that they point to.
        checks: All that were run.
    """

    planted: Planted
    caught_by: tuple[str, ...]
    suspected: tuple[str, ...]
    checks: tuple[Examined, ...]

    @property
    def right(self) -> bool:
        """Whether a fault was caught, or a control was not."""
        return self.planted.lossless != bool(self.caught_by)


def chosen(ids: Iterable[str] = ()) -> tuple[Planted, ...]:
    """The planted kernels of these ids; all of them for none.

    Raises:
        UsageError: There is no such kernel.
    """
    wanted = tuple(ids)
    for name in wanted:
        if name not in CATALOGUE:
            raise unknown_value("--planted", name, CATALOGUE)
    return tuple(CATALOGUE[name] for name in wanted) or tuple(CATALOGUE.values())


def score(
    planted: Planted,
    *,
    rows: int = 300_000,
    every_check: bool = False,
    left_out: Sequence[str] = (),
) -> Score:
    """Run the checks on a planted kernel until one catches it; all of them on a control.

    Args:
        planted: The kernel.
        rows: The most rows that a sequential test draws.
        every_check: Whether to run all of them on a fault, too.
        left_out: Checks that are not run.
    """
    kernel = planted.make()
    examination = Examination(
        kernel=kernel,
        facts=declared(kernel, **planted.facts),
        name=f"planted:{planted.id}",
        rows=rows,
    )
    done, caught = [], []
    for name in (name for name in CHECKS if name not in left_out):
        (examined,) = examine(examination, [name])
        done.append(examined)
        if examined.finding.status is Status.FAILED:
            caught.append(name)
            if not (every_check or planted.lossless):
                break
    return Score(
        planted=planted,
        caught_by=tuple(caught),
        suspected=tuple(dict.fromkeys(examination.suspected)),
        checks=tuple(done),
    )


def scores(
    ids: Iterable[str] = (), *, rows: int = 300_000, every_check: bool = False
) -> Iterator[Score]:
    """The score of each planted kernel, one after another."""
    for planted in chosen(ids):
        yield score(planted, rows=rows, every_check=every_check)
