"""What a comparison needs of a run: per-prompt sums, seconds, and a few bytes a step.

Small enough to be committed. The full traces can be kept beside it; without them the first step
that changed is still found, and what of it changed, but its tree cannot be shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from draftproof.engines.draft_limits import draft_limits
from draftproof.gate.exact import StepFacts, step_facts
from draftproof.report.run_info import RunInfo
from draftproof.report.texts import Texts, texts_of
from draftproof.statistics.costs import clock_problem
from draftproof.statistics.sums import TOTALS, prompt_sums
from draftproof.trace import CaseRecord, DecodedOutput, Verdict

SECONDS = ("plain_seconds", "plain_tokens", "speculative_seconds", "speculative_tokens")
"""Wall time of a case's two outputs and the tokens that were committed in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """A run, reduced to what comparisons need.

    Cases stand in the order of their ids, so that nothing that is derived from them depends on the
    order in which they ended.

    Attributes:
        name: What messages call it.
        run: What it was.
        case_ids: ``[cases]`` measured cases, in the order of their ids.
        domains: ``[cases]``.
        totals: `TOTALS`, each float64 ``[cases]``.
        most_steps: float64 ``[cases]`` the most steps there can have been: more than the total
            ``steps`` only where an engine tells its counters and no steps.
        seconds: `SECONDS`, each float64 ``[cases]``.
        steps: The steps' facts of each case.
        errors: The domain of each case that ended in an error, by id; they are in nothing else.
        different: Cases whose output was not the target's own.
        contradictory: Cases whose counts contradict each other.
        traces: The records by case id, where they were kept.
        texts: The text of their tokens, as far as it was kept.
    """

    name: str
    run: RunInfo
    case_ids: tuple[str, ...]
    domains: tuple[str, ...]
    totals: Mapping[str, np.ndarray]
    most_steps: np.ndarray
    seconds: Mapping[str, np.ndarray]
    steps: Mapping[str, StepFacts]
    errors: Mapping[str, str] = field(default_factory=dict)
    different: tuple[str, ...] = ()
    contradictory: tuple[str, ...] = ()
    traces: Mapping[str, CaseRecord] = field(default_factory=dict)
    texts: Texts = field(default_factory=Texts)

    @property
    def deepest(self) -> float:
        """Depth of the deepest draft, as the engine says; else the most drafted a step.

        Infinite where steps are told, and not what they drafted.
        """
        described = self.run.models.get("engine", {"tree": self.run.config.get("tree")})
        depth = draft_limits(described).depth
        if depth is not None:
            return float(depth)
        steps, drafted = self.totals["steps"], self.totals["drafted"]
        if (self.totals["accepted"] > self.totals["accepted_of_drafted"]).any():
            return math.inf
        return float((drafted[steps > 0] / steps[steps > 0]).max(initial=0.0))

    def rows(self, case_ids: Sequence[str]) -> np.ndarray:
        """``[len(case_ids)]`` the rows of some cases."""
        row_of = {case_id: row for row, case_id in enumerate(self.case_ids)}
        return np.array([row_of[case_id] for case_id in case_ids], np.intp)


def measured_run(
    name: str, run: RunInfo, cases: Sequence[CaseRecord], texts: Texts | None = None
) -> MeasuredRun:
    """What comparisons need of a run's records.

    Args:
        name: What messages call it.
        run: What it was.
        cases: Its records, in any order.
        texts: The text of its tokens, where the records do not carry it.

    Raises:
        TraceError: A record is not a trace, or an id occurs twice.
    """
    ordered = sorted(cases, key=lambda case: case.case_id)
    measured = [case for case in ordered if case.verdict is not Verdict.ERROR]
    # Nodes are read in the order in which they lie.
    as_they_lie = [case for case in cases if case.verdict is not Verdict.ERROR]
    sums = prompt_sums(as_they_lie)
    facts = {case.case_id: step_facts(case) for case in as_they_lie}
    return MeasuredRun(
        name=name,
        run=run,
        case_ids=sums.case_ids,
        domains=sums.domains,
        totals={total: sums.totals[total] for total in TOTALS},
        most_steps=sums.most_steps,
        seconds=_seconds(measured),
        steps={case.case_id: facts[case.case_id] for case in measured},
        errors={case.case_id: case.domain for case in ordered if case.verdict is Verdict.ERROR},
        different=tuple(case.case_id for case in ordered if case.verdict is Verdict.ALGORITHMIC),
        contradictory=tuple(case.case_id for case in measured if case.contradictions),
        traces={case.case_id: case for case in measured},
        texts=texts_of(measured) if texts is None else texts,
    )


def _seconds(cases: Sequence[CaseRecord]) -> dict[str, np.ndarray]:
    """`SECONDS`; those of plain outputs are NaN where no speedup follows from them."""
    columns = zip(*(_case_seconds(case) for case in cases), strict=True)
    values = [np.array(column, float) for column in columns] or [np.empty(0)] * len(SECONDS)
    seconds = dict(zip(SECONDS, values, strict=True))
    if clock_problem(cases):
        seconds["plain_seconds"] = np.full(len(cases), np.nan)
    return seconds


def _case_seconds(case: CaseRecord) -> tuple[float, float, float, float]:
    return (*_output_seconds(case.plain), *_output_seconds(case.speculative))


def _output_seconds(output: DecodedOutput | None) -> tuple[float, float]:
    return (np.nan, 0.0) if output is None else (output.seconds, float(output.length or 0))
