"""Gates on seconds: medians over prompts, and no verdict where noise exceeds the margin."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from draftproof.gate.change import Change
from draftproof.gate.expression import Gate
from draftproof.gate.judging import Judgement, Outcome, without_figures
from draftproof.gate.measured import MeasuredRun


def speedups(run: MeasuredRun) -> np.ndarray:
    """``[cases]`` plain ÷ speculative seconds per committed token; NaN where one is not known.

    The two outputs of a case are decoded one right after the other, so that a machine that is slow
    for a while is slow for both.
    """
    return np.asarray(_per_token(run, "plain") / _per_token(run, "speculative"))


def speculative_speeds(run: MeasuredRun) -> np.ndarray:
    """``[cases]`` committed tokens a second of speculation; NaN where it is not known."""
    return 1 / _per_token(run, "speculative")


def judge_speed(
    gate: Gate, scope: str, before: np.ndarray, now: np.ndarray, level: float
) -> Judgement:
    """What paired measurements of speed say of a gate.

    Args:
        gate: On a share of speed.
        scope: Where it is applied.
        before: ``[cases]`` the speed of each case, or its speedup, in the earlier run.
        now: The same cases in the later run.
        level: Coverage of the interval of the median ratio.

    Returns:
        p-values of the median of now ÷ before by the sign test, which is exact for any
        distribution of noise. Where half the interval is wider than the margin, or where there is
        no interval, it may fail but not pass (`Judgement.noisy`): noise hides that a change is
        small, not that it is large.

    Source:
        Conover 1999, chapter 3: tests and intervals of quantiles by binomial counts
        (`scipy.stats.quantile_test`).
    """
    known = np.isfinite(before) & np.isfinite(now) & (before > 0) & (now > 0)
    ratios = now[known] / before[known]
    found = replace(
        without_figures(gate, scope, len(ratios)),
        before=_median(before[known]),
        now=_median(now[known]),
        outcome=Outcome.NO_VERDICT,
        reason="no case has seconds that can be compared in both runs (a report says of its "
        "speedup why it is not estimable)",
    )
    if not len(ratios):
        return found
    change = _change(ratios, 1.0, level)
    noise = (change.high - change.low) / 2
    found = replace(found, change=change, reason="")
    margin = min(gate.fall, gate.rise)
    decidable = _decidable(found, ratios, 1.0)
    if math.isinf(noise):
        why = (
            f"{len(ratios)} paired ratios do not bound their median; at least "
            f"{fewest_to_bound(level)} are needed"
        )
    elif noise > margin:
        why = (
            f"the noise of {len(ratios)} paired ratios (±{noise:.1%}) is larger than the margin "
            f"({margin:.1%}); measure on a quieter machine, or more prompts"
        )
    else:
        return decidable
    return replace(decidable, p_pass=1.0, noisy=True, reason=why)


def judge_speedup(gate: Gate, scope: str, now: np.ndarray, level: float) -> Judgement:
    """What the speedups of one run say of a floor or a ceiling.

    Args:
        gate: On the speedup itself.
        scope: Where it is applied.
        now: ``[cases]`` the speedup of each case.
        level: Coverage of the interval of the median.

    Returns:
        p-values of the median by the sign test.
    """
    assert gate.bound is not None
    speeds = now[np.isfinite(now) & (now > 0)]
    found = without_figures(gate, scope, len(speeds))
    if not len(speeds):
        return replace(
            found,
            outcome=Outcome.NO_VERDICT,
            reason="no case has seconds of both outputs that can be compared (the report says of "
            "its speedup why it is not estimable)",
        )
    found = replace(found, now=_median(speeds), change=_change(speeds, gate.bound, level))
    return _decidable(found, speeds, gate.bound)


def fewest_to_bound(level: float) -> int:
    """Values without which no interval bounds their median at a level.

    Example:
        >>> fewest_to_bound(0.95)
        6
    """
    return math.ceil(math.log2(2 / (1 - level)))


def _change(values: np.ndarray, unchanged: float, level: float) -> Change:
    """The median less the value that is no change, with its interval."""
    from scipy.stats import quantile_test

    interval = quantile_test(values, q=unchanged, p=0.5).confidence_interval(level)
    ends = (float(end) - unchanged for end in (interval.low, interval.high))
    # scipy's ends are NaN where there are too few values to bound the median.
    low, high = (
        end if math.isfinite(end) else infinite
        for end, infinite in zip(ends, (-math.inf, math.inf), strict=True)
    )
    return Change(_median(values) - unchanged, low, high, math.nan)


def _decidable(found: Judgement, values: np.ndarray, unchanged: float) -> Judgement:
    """The judgement with the p-values of the median, by the sign test."""
    from scipy.stats import quantile_test

    gate = found.gate
    fail, within = [], []
    # scipy's alternative is about the quantile: "less" is small where the median is below q.
    for bound, worse, better in (
        (unchanged - gate.fall, "less", "greater"),
        (unchanged + gate.rise, "greater", "less"),
    ):
        if math.isfinite(bound):
            fail.append(float(quantile_test(values, q=bound, p=0.5, alternative=worse).pvalue))
            within.append(float(quantile_test(values, q=bound, p=0.5, alternative=better).pvalue))
    return replace(
        found,
        p_fail=min(1.0, len(fail) * min(fail)),
        p_pass=max(within),
        outcome=Outcome.INCONCLUSIVE,
    )


def _per_token(run: MeasuredRun, output: str) -> np.ndarray:
    seconds, tokens = run.seconds[f"{output}_seconds"], run.seconds[f"{output}_tokens"]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((tokens > 0) & (seconds > 0), seconds / tokens, np.nan)


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else math.nan
