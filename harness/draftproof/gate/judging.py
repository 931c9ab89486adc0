"""Pass, fail or inconclusive: what a gate says of a measured change or figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from scipy.special import ndtri, stdtrit

from draftproof.gate.change import Change, ChangeTest, smallest_p
from draftproof.gate.expression import RATIOS, Gate
from draftproof.gate.paired import DRAWS, PairedSums
from draftproof.statistics.small_samples import (
    ONE_IN_FIVE,
    ONE_IN_TEN,
    likeness,
    missing,
    unseen_share,
)

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
    """Seconds whose noise is larger than the margin and that are not beyond it for certain, or
    nothing to compare: a warning beside other gates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one gate says of one scope.

    Attributes:
        gate: The condition.
        scope: A domain, or ``overall``.
        prompts: Prompts that carry the figure in either run.
        before: The figure in the earlier run; NaN where the gate is about the figure itself.
        now: In the later one.
        change: now − before, or now ÷ before − 1 where the gate is about a share; now − bound where
            it is about the figure itself.
        p_fail: Small where the change is beyond the margin; before Holm's correction.
        p_pass: Small where it is within.
        outcome: What follows, given all gates that are judged together.
        fewest: Prompts below which nothing can be decided at all; 0 where it is decided, None where
            no number is enough at this level.
        prompts_to_decide: About how many prompts would decide, if the change is as measured; None
            where it is decided, or where no number would.
        reason: Why there is no verdict, or what an outcome rests on; else empty.
        alike: Where all prompts have one figure and a bound is not it: the chance that a prompt has
            it, at most, if the mean is the bound; else 0.
        noisy: Whether the noise of seconds is larger than the margin. It then does not pass, and
            where it does not fail there is no verdict.
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
    fewest: int | None = 0
    prompts_to_decide: int | None = None
    reason: str = ""
    alike: float = 0.0
    noisy: bool = False

    @property
    def rose(self) -> bool:
        """Whether the figure is higher than before."""
        return self.change.value > 0

    @property
    def interval_now(self) -> tuple[float, float] | None:
        """The interval of the figure itself.

        None where the gate is about a change, or where there are too few prompts for one.
        """
        if self.gate.bound is None or not math.isfinite(self.change.low + self.change.high):
            return None
        return self.gate.bound + self.change.low, self.gate.bound + self.change.high


def judge(
    gate: Gate,
    scope: str,
    sums: PairedSums,
    level: float,
    *,
    interval: bool = True,
    deepest: float = math.inf,
    noise: np.ndarray | None = None,
) -> Judgement:
    """What the prompts say of one gate, before all gates are taken together.

    Failing needs evidence that the change is beyond the margin, passing that it is within: neither
    is the absence of the other.

    Args:
        gate: The condition.
        scope: Where it is applied.
        sums: The figure's sums there; beside those of the bound where the gate has one.
        level: Coverage of the printed interval.
        interval: Whether to find it; without, only the outcome can be trusted.
        deepest: Depth of the deepest draft, which bounds lengths; infinite where nobody tells.
        noise: Of a floor or a ceiling, ``[prompts]`` the variance of each numerator if a prompt's
            observations were independent; None where that is not known.
    """
    bounds = RATIOS[gate.metric].bounds(deepest)
    test = ChangeTest(sums, relative=gate.relative, reckons_with_others=gate.bound is None)
    found = Judgement(
        gate=gate,
        scope=scope,
        prompts=sums.prompts,
        before=sums.before if gate.bound is None else math.nan,
        now=sums.now,
        change=_possible(gate, bounds, test.measured(level if interval else 0.0)),
        p_fail=1.0,
        p_pass=1.0,
    )
    if math.isnan(found.change.value):
        return replace(found, reason=_why_no_figure(gate, sums))
    if sums.equal:
        # What so many prompts could show at most: one prompt that is the same shows nothing.
        same = "no prompt differs" if gate.bound is None else "every prompt is at the bound"
        return replace(found, p_pass=smallest_p(sums.prompts), reason=same)
    is_alike, likely = _alike(sums), _likeness(sums, noise)
    alike = _chance_of_alike(gate, bounds, sums) if is_alike or likely else 0.0
    weight = 1.0 if is_alike else likely * missing(sums.prompts, ONE_IN_TEN)
    at_end = weight * alike**sums.prompts
    if alike and math.isfinite(found.change.low + found.change.high):
        weight = 1.0 if is_alike else likely * missing(sums.prompts, ONE_IN_FIVE)
        wider = _beyond_those_alike(bounds, sums, found.change, weight, level)
        found = replace(found, change=wider)
    fail, within = [], []
    if math.isfinite(gate.fall):
        at = test.p_values(-gate.fall)
        fail.append(max(at.less, at_end))
        within.append(max(at.greater, at_end))
    if math.isfinite(gate.rise):
        at = test.p_values(gate.rise)
        fail.append(max(at.greater, at_end))
        within.append(max(at.less, at_end))
    p_fail = min(1.0, len(fail) * min(fail))
    reason = ""
    if is_alike and alike == 1:
        reason = "nothing says how far other prompts may be from these, which are all alike"
    elif at_end and max(within) == at_end:
        reason = (
            "these prompts differ by no more than chance, so that they do not say how far others "
            "may be, and a kind of prompt that is not among them may bring the figure to the bound"
        )
    return replace(
        found, p_fail=p_fail, p_pass=max(within), alike=alike if at_end else 0.0, reason=reason
    )


def _possible(gate: Gate, bounds: tuple[float, float], change: Change) -> Change:
    """The interval without what no figure can be."""
    if gate.relative:
        return change
    least, most = bounds
    lowest = least - (most if gate.bound is None else gate.bound)
    highest = most - (least if gate.bound is None else gate.bound)
    # An end that is infinite is not known, which is not the same as the least possible one.
    low = max(change.low, lowest) if math.isfinite(change.low) else change.low
    high = min(change.high, highest) if math.isfinite(change.high) else change.high
    return change._replace(low=low, high=high)


def _chance_of_alike(gate: Gate, bounds: tuple[float, float], sums: PairedSums) -> float:
    """The chance that a prompt has the figure that all have, if the mean is the bound.

    Where prompts are all alike, there is no spread to judge by. Is a rate 0 in every prompt, and
    its mean the bound, then a prompt is still at 0 with a chance of at most 1 − bound, where all
    others are at 1. 0 where the gate is about a change.
    """
    if gate.bound is None or gate.bound == sums.now:
        return 0.0
    least, most = bounds
    other = most if gate.bound > sums.now else least
    if math.isinf(other):
        return 1.0
    # Where the bound is beyond what the figure can be, no prompts bring the mean to it.
    return 0.0 if sums.now == other else max(0.0, (gate.bound - other) / (sums.now - other))


def _alike(sums: PairedSums) -> bool:
    """Whether every prompt has the same figure, but for rounding."""
    carried = sums.carrying
    expected = sums.now * carried.denominator_now
    return bool(np.allclose(carried.numerator_now, expected, rtol=1e-12, atol=0))


def _likeness(sums: PairedSums, noise: np.ndarray | None) -> float:
    """How far prompts that differ look alike (`draftproof.statistics.small_samples.likeness`)."""
    carried = sums.carrying
    n, below = sums.prompts, float(carried.denominator_now.sum())
    if noise is None or n < 2 or not below:
        return 0.0
    rest = carried.numerator_now - sums.now * carried.denominator_now
    variance = n / (n - 1) * float((rest**2).sum()) / below**2
    return likeness(variance, float(noise.sum()) / below**2, n) if variance else 0.0


def _beyond_those_alike(
    bounds: tuple[float, float], sums: PairedSums, change: Change, weight: float, level: float
) -> Change:
    """The interval with what prompts may be that are unlike those drawn, as in reports.

    Args:
        bounds: The least and the largest value of the figure.
        sums: What it is made of.
        change: With the interval without them.
        weight: How far they are reckoned with, 0 to 1.
        level: Coverage of the interval.
    """
    share = weight * unseen_share(sums.prompts, level)
    least, most = (share * (end - sums.now) if share else 0.0 for end in bounds)
    below = math.hypot(change.value - change.low, least)
    above = math.hypot(change.high - change.value, most)
    return change._replace(low=change.value - below, high=change.value + above)


def _why_no_figure(gate: Gate, sums: PairedSums) -> str:
    absent = RATIOS[gate.metric].absent
    if math.isnan(sums.now):
        return f"there is no such figure now: {absent}"
    if math.isnan(sums.before):
        return f"there was no such figure before: {absent}"
    return "the figure was 0 before, of which no change is a share; give a margin without %"


def between(least: Judgement, most: Judgement) -> Judgement:
    """What a bound says of a figure that is only known to lie between two.

    It passes or fails where the figure at that end does which is nearer to the other outcome.

    Args:
        least: The judgement of the least that the figure can be.
        most: That of the most, which is shown.
    """
    is_floor = math.isfinite(most.gate.fall)
    failing, passing = (most, least) if is_floor else (least, most)
    return replace(
        most,
        change=most.change._replace(low=min(least.change.low, most.change.low)),
        p_fail=failing.p_fail,
        p_pass=passing.p_pass,
        reason=f"the engine does not tell its steps, and the figure is {least.now:.3f} to "
        f"{most.now:.3f}",
    )


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
    tests = len(open_to_judgement)
    decided = []
    for judgement in judgements:
        if judgement.outcome is Outcome.NO_VERDICT:
            decided.append(judgement)
        elif next(adjusted) <= alpha:
            # Beyond the margin in spite of its noise.
            reason = "" if judgement.noisy else judgement.reason
            decided.append(replace(judgement, outcome=Outcome.FAIL, reason=reason))
        elif judgement.noisy:
            decided.append(replace(judgement, outcome=Outcome.NO_VERDICT))
        elif judgement.p_pass <= alpha:
            decided.append(replace(judgement, outcome=Outcome.PASS))
        else:
            decided.append(
                replace(
                    judgement,
                    fewest=fewest_prompts(alpha),
                    prompts_to_decide=prompts_to_decide(judgement, alpha, tests),
                )
            )
    return decided


def overall_outcome(judgements: Sequence[Judgement]) -> Outcome:
    """Fail if one fails; else inconclusive if one is; else pass if one does; else no verdict."""
    outcomes = {judgement.outcome for judgement in judgements}
    for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS):
        if outcome in outcomes:
            return outcome
    return Outcome.NO_VERDICT


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
    if math.isnan(change.error):
        return None
    room = min(change.value + gate.fall, gate.rise - change.value)
    level = alpha if room > 0 else failing_level(gate, alpha, tests)
    needed = fewest_prompts(level)
    if room == 0 or needed is None or judgement.alike == 1:
        return None
    spread = change.error * math.sqrt(judgement.prompts)
    wanted = float(((-ndtri(level) + ndtri(POWER)) * spread / abs(room)) ** 2)
    if judgement.alike:
        wanted = max(wanted, math.log(level) / math.log(judgement.alike))
    if wanted > MOST_PROMPTS:
        return None
    return max(needed, judgement.prompts + 1, math.ceil(wanted))


def failing_level(gate: Gate, alpha: float, tests: int) -> float:
    """The level at which the first of some tests fails under Holm's correction."""
    return alpha / max(tests, 1) / (2 if gate.both_ways else 1)


def fewest_prompts(level: float) -> int | None:
    """Prompts without which no exchange of labels reaches a level; None where no number does.

    Example:
        >>> fewest_prompts(0.05), fewest_prompts(0.05 / 2)
        (5, 6)
    """
    if level < 1 / (DRAWS + 1):
        return None
    return next(n for n in range(2, 64) if smallest_p(n) <= level)


def unseen_kind(prompts: int, chance: float = ALPHA) -> float:
    """The largest share of prompts that a sample misses altogether with a given chance.

    A change that strikes such a kind of prompts alone, or another way than the rest, is not in the
    sample.

    Example:
        >>> round(unseen_kind(8), 2), round(unseen_kind(50), 2)
        (0.31, 0.06)
    """
    return float(1 - chance ** (1 / prompts))


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
