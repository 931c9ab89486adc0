"""Pass, fail or inconclusive: what a gate says of a measured change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from scipy.special import ndtri, stdtrit

from draftproof.gate.exchange import (
    EXCHANGES,
    Change,
    PairedSums,
    change_test,
    measured_change,
    smallest_p,
)
from draftproof.gate.expression import Gate

ALPHA = 0.05
LEVEL = 0.95
"""Coverage of printed intervals."""
POWER = 0.8
MOST_PROMPTS = 100_000
"""More prompts than this are not recommended to anyone."""


class Outcome(StrEnum):
    """What a gate, or all of them, came to."""

    PASS = "pass"
    """The change is within the margin, at level α."""
    FAIL = "fail"
    """It is beyond the margin, at level α, Holm's correction over all gates included."""
    INCONCLUSIVE = "inconclusive"
    """The prompts decide neither."""
    NO_VERDICT = "no verdict"
    """Seconds whose noise is larger than the margin: a warning, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one gate says of one scope.

    Attributes:
        gate: The condition.
        scope: A domain, or ``overall``.
        prompts: Prompts that carry the figure in either run.
        before: The figure in the earlier run.
        now: In the later one.
        change: now − before, or now ÷ before − 1 where the gate is about a share.
        p_fail: Small where the change is beyond the margin; before Holm's correction.
        p_pass: Small where it is within.
        outcome: What follows, given all gates that are judged together.
        prompts_to_decide: About how many prompts would decide, if the change is as measured; None
            where it is decided, or where no number would.
        reason: Why there is no verdict, or what an outcome rests on; else empty.
    """

    gate: Gate
    scope: str
    prompts: int
    before: float
    now: float
    change: Change
    p_fail: float
    p_pass: float
    outcome: Outcome = Outcome.INCONCLUSIVE
    prompts_to_decide: int | None = None
    reason: str = ""

    @property
    def rose(self) -> bool:
        """Whether the figure is higher than before."""
        return self.change.value > 0


def judge(
    gate: Gate, scope: str, sums: PairedSums, level: float, *, interval: bool = True
) -> Judgement:
    """What the prompts say of one gate, before all gates are taken together.

    Failing needs evidence that the change is beyond the margin, passing that it is within: neither
    is the absence of the other.

    Args:
        gate: The condition.
        scope: Where it is applied.
        sums: The figure's sums there.
        level: Coverage of the printed interval.
        interval: Whether to find it; without, only the outcome can be trusted.
    """
    change = measured_change(sums, relative=gate.relative, level=level if interval else 0.0)
    found = Judgement(
        gate=gate,
        scope=scope,
        prompts=sums.prompts,
        before=sums.before,
        now=sums.now,
        change=change,
        p_fail=1.0,
        p_pass=1.0,
    )
    if math.isnan(change.value):
        return replace(found, reason="the figure does not exist in one of the runs")
    if sums.equal:
        return replace(found, p_pass=0.0, reason="no prompt differs")
    fail, within = [], []
    if math.isfinite(gate.fall):
        at = change_test(sums, -gate.fall, relative=gate.relative)
        fail.append(at.less)
        within.append(at.greater)
    if math.isfinite(gate.rise):
        at = change_test(sums, gate.rise, relative=gate.relative)
        fail.append(at.greater)
        within.append(at.less)
    return replace(found, p_fail=min(1.0, len(fail) * min(fail)), p_pass=max(within))


def without_figures(gate: Gate, scope: str, prompts: int) -> Judgement:
    """A judgement that rests on no figure: nothing is known of a change."""
    nan = math.nan
    return Judgement(
        gate=gate,
        scope=scope,
        prompts=prompts,
        before=nan,
        now=nan,
        change=Change(nan, nan, nan, nan),
        p_fail=1.0,
        p_pass=1.0,
    )


def decide(judgements: Sequence[Judgement], alpha: float) -> list[Judgement]:
    """The judgements with their outcomes.

    One fails where Holm's adjusted p-value is at most α: over all gates and domains together, the
    chance that an engine whose changes are all within their margins fails is then at most α. All
    pass only where each does at level α, which needs no correction.
    """
    open_to_judgement = [j for j in judgements if j.outcome is not Outcome.NO_VERDICT]
    adjusted = iter(holm([j.p_fail for j in open_to_judgement]))
    tests = sum(1 for _ in open_to_judgement)
    decided = []
    for judgement in judgements:
        if judgement.outcome is Outcome.NO_VERDICT:
            decided.append(judgement)
        elif next(adjusted) <= alpha:
            decided.append(replace(judgement, outcome=Outcome.FAIL))
        elif judgement.p_pass <= alpha:
            decided.append(replace(judgement, outcome=Outcome.PASS))
        else:
            needed = prompts_to_decide(judgement, alpha, tests)
            decided.append(replace(judgement, prompts_to_decide=needed))
    return decided


def overall_outcome(judgements: Sequence[Judgement]) -> Outcome:
    """Fail if one fails; else inconclusive if one is; else pass."""
    outcomes = {judgement.outcome for judgement in judgements}
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE):
        if outcome in outcomes:
            return outcome
    return Outcome.PASS


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values.

    Source:
        Holm 1979: the k-th smallest of m is multiplied by m − k + 1, and none is below the last.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def prompts_to_decide(judgement: Judgement, alpha: float, tests: int) -> int | None:
    """About how many prompts would decide with a chance of `POWER`, if the change is as measured.

    None where the change is at its margin, so that no number of prompts would.
    """
    gate, change = judgement.gate, judgement.change
    if math.isnan(change.error) or not change.error > 0:
        return None
    room = min(change.value + gate.fall, gate.rise - change.value)
    level = alpha if room > 0 else failing_level(gate, alpha, tests)
    needed = fewest_prompts(level)
    if room == 0:
        return None
    spread = change.error * math.sqrt(judgement.prompts)
    wanted = float(((-ndtri(level) + ndtri(POWER)) * spread / abs(room)) ** 2)
    if wanted > MOST_PROMPTS:
        return None
    return max(needed, judgement.prompts + 1, math.ceil(wanted))


def failing_level(gate: Gate, alpha: float, tests: int) -> float:
    """The level at which the first of some tests fails under Holm's correction."""
    return alpha / max(tests, 1) / (2 if gate.both_ways else 1)


def fewest_prompts(level: float) -> int:
    """Prompts without which no exchange of labels reaches a level.

    Example:
        >>> fewest_prompts(0.05)
        5
    """
    if level < 1 / (EXCHANGES + 1):
        return MOST_PROMPTS
    return next(n for n in range(1, 64) if smallest_p(n) <= level)


def detectable(error: float, prompts: int, level: float, power: float = POWER) -> float:
    """The least distance from a margin that is seen with a given chance.

    Args:
        error: Standard error of the change over prompts.
        prompts: How many there are.
        level: Of the one-sided test.
        power: The chance.
    """
    if prompts < 2 or smallest_p(prompts) > level:
        return math.inf
    return float((-stdtrit(prompts - 1, level) + ndtri(power)) * error)
