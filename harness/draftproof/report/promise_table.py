"""What a budget's advice promised beside what its run measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from draftproof.budget import PromisedFigures
from draftproof.engines.names import AT_ONCE
from draftproof.report.labels import NOT_ESTIMABLE, Label
from draftproof.report.run_info import RunInfo
from draftproof.report.tables import Cell, Table, interval, number
from draftproof.statistics import Estimate, RunSummary
from draftproof.statistics.costs import costs
from draftproof.trace import CaseRecord

PROMISE_LINE = (
    "Promised by `draftproof advise`, by replay on prompts that had no part in the choice, under "
    "costs of forward passes; its intervals leave the noise of the costs out. A speedup is of one "
    "prompt at a time, on the machine of the costs."
)
_DECIMALS = 2
_FIGURES = {"block_efficiency": "block efficiency", "speedup": "speedup"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPromise:
    """One promised figure of a domain and what was measured.

    Attributes:
        domain: Its name.
        figure: ``block_efficiency`` or ``speedup``.
        promised: With its interval.
        measured: Likewise.
        off_policy: Where the texts came from that the promise follows from, if they were not the
            target's own; else empty.
    """

    domain: str
    figure: str
    promised: Estimate
    measured: Estimate
    off_policy: str = ""

    @property
    def difference(self) -> float:
        """Measured ÷ promised − 1."""
        return self.measured.value / self.promised.value - 1

    @property
    def is_apart(self) -> bool:
        """Whether the two intervals have nothing in common; False where one is missing."""
        return self.measured.high < self.promised.low or self.measured.low > self.promised.high


def judged_promises(
    run: RunInfo, summary: RunSummary, cases: Sequence[CaseRecord]
) -> list[JudgedPromise]:
    """What was promised and measured, by domain and figure; none in a run without a budget.

    Args:
        run: With the budget's promises in its settings.
        summary: Its figures.
        cases: Its records, for the seconds.
    """
    promises = [
        PromisedFigures.from_json(domain, figures, f"{run.name}: its settings")
        for domain, figures in run.config.get("promises", {}).items()
        if domain in summary.domains
    ]
    if not promises:
        return []
    by_domain, _ = costs(cases, list(summary.domains), summary.resampling)
    return [
        JudgedPromise(
            domain=each.domain,
            figure=figure,
            promised=_estimate(each, figure),
            measured=measured,
            off_policy=each.off_policy,
        )
        for each in promises
        for figure, measured in (
            ("block_efficiency", summary.domains[each.domain].metrics["block_efficiency"]),
            ("speedup", by_domain[each.domain].speedup),
        )
    ]


def promise_table(found: Sequence[JudgedPromise]) -> Table:
    """One row a domain and figure: promised, measured, and the difference."""
    names = ("domain", "figure", "promised", "measured", "measured ÷ promised − 1")
    return Table(
        columns=tuple(Label(name, name, 0) for name in names),
        rows=tuple(
            (
                Cell(text=each.domain),
                Cell(text=_FIGURES[each.figure]),
                _cell(each.promised),
                _cell(each.measured),
                Cell(text=_difference(each)),
            )
            for each in found
        ),
    )


def promise_lines(run: RunInfo, found: Sequence[JudgedPromise]) -> list[str]:
    """What must be said of promises: those that were not kept, and what stood in the way.

    Example: ``the budget's promise was not kept: code: speedup 1.10 [1.05–1.16] in place of 1.55
    [1.45–1.66]; …``
    """
    lines = []
    if found and (at_once := run.models.get("engine", {}).get(AT_ONCE)) not in (None, 1):
        lines.append(
            f"the budget's speedups are promised for one prompt at a time, and this run decoded "
            f"{at_once} at once; leave --spec-batch out to judge them"
        )
    lines.extend(
        f"the budget's promise is {origin}: it was made for texts that are not the target's own, "
        "so that what is measured here may differ"
        for origin in dict.fromkeys(each.off_policy for each in found if each.off_policy)
    )
    for worse, said in (
        (True, "the budget's promise was not kept"),
        (False, "the budget's promise was exceeded"),
    ):
        apart = [
            f"{each.domain}: {_FIGURES[each.figure]} {_shown(each.measured)} in place of "
            f"{_shown(each.promised)}"
            for each in found
            if each.is_apart and (each.measured.value < each.promised.value) is worse
        ]
        if apart:
            lines.append(
                f"{said}: {'; '.join(apart)}: the prompts, the models' builds or the machine "
                "differ from those of the recording; record and advise on prompts like these, on "
                "this machine, to have a promise for them"
            )
    return lines


def _estimate(promise: PromisedFigures, figure: str) -> Estimate:
    value, low, high = getattr(promise, figure)
    return Estimate(value=value, low=low, high=high, n=0)


def _cell(estimate: Estimate) -> Cell:
    if math.isnan(estimate.value):
        return Cell(text=NOT_ESTIMABLE)
    return Cell(text=number(estimate.value, _DECIMALS), interval=interval(estimate, _DECIMALS))


def _shown(estimate: Estimate) -> str:
    return f"{number(estimate.value, _DECIMALS)} [{interval(estimate, _DECIMALS)}]"


def _difference(each: JudgedPromise) -> str:
    return NOT_ESTIMABLE if math.isnan(each.difference) else f"{each.difference:+.1%}"
