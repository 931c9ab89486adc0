"""Gates on seconds: medians of paired ratios, and no verdict where noise exceeds the margin."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from draftproof.gate.exchange import Change
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
        distribution of noise; `Outcome.NO_VERDICT` where half the interval is wider than the
        margin, or where there is none.

    Source:
        Conover 1999, chapter 3: tests and intervals of quantiles by binomial counts
        (`scipy.stats.quantile_test`).
    """
    from scipy.stats import quantile_test

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
    value = _median(ratios) - 1
    interval = quantile_test(ratios, q=1.0, p=0.5).confidence_interval(level)
    low, high = float(interval.low) - 1, float(interval.high) - 1
    noise = (high - low) / 2
    found = replace(found, change=Change(value, low, high, math.nan), reason="")
    margin = min(gate.fall, gate.rise)
    if not noise <= margin:
        shown = f"±{noise:.1%}" if math.isfinite(noise) else "unbounded"
        return replace(
            found,
            reason=f"the noise of {len(ratios)} paired ratios ({shown}) is larger than the margin "
            f"({margin:.1%}); measure on a quieter machine, or more prompts",
        )
    fail, within = [], []
    # scipy's alternative is about the quantile: "less" is small where the median is below q.
    for bound, worse, better in (
        (1 - gate.fall, "less", "greater"),
        (1 + gate.rise, "greater", "less"),
    ):
        if math.isfinite(bound):
            fail.append(float(quantile_test(ratios, q=bound, p=0.5, alternative=worse).pvalue))
            within.append(float(quantile_test(ratios, q=bound, p=0.5, alternative=better).pvalue))
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
