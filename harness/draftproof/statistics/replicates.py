"""Intervals of figures that are no ratio of sums, from their values on resampled prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from draftproof.statistics.bootstrap import UNDEFINED_SHARE, Estimate
from draftproof.statistics.studentized import FEW_PROMPTS

_NAN = float("nan")


def replicate_estimate(
    value: float,
    replicates: np.ndarray,
    *,
    n: int,
    prompts: Sequence[int],
    level: float = 0.95,
    absent: str = "it is not defined for these nodes",
    bias_corrected: bool = False,
) -> Estimate:
    """A figure with its expanded percentile interval.

    A percentile interval of n prompts is narrow by √((n−1)/n) and takes the normal's quantiles
    where Student's are due. The expanded one reads the replicates at Φ(−t √(n/(n−1))) instead of at
    half of 1 − level.

    Args:
        value: The figure of the prompts themselves.
        replicates: ``[resamples]`` its values on resampled prompts; NaN where it has none.
        n: How many observations it is made of.
        prompts: Number of prompts by stratum.
        level: Coverage aimed at.
        absent: The reason to give where `value` is NaN.
        bias_corrected: Whether the figure is a sum of squares, such as an information, which noise
            alone makes positive: then the bootstrap's estimate of its bias, mean − value, is taken
            off the value once, and off the replicates (which carry it twice) twice. Value and
            interval may be negative: no information beyond noise.

    Returns:
        The estimate. There is no interval, but a reason, with fewer than `FEW_PROMPTS` prompts in
        a stratum, or where too many resamples have no value.

    Source:
        Hesterberg 2015, *What Teachers Should Know About the Bootstrap* (expanded percentile);
        Efron and Tibshirani 1993, chapter 10 (bias).
    """
    if math.isnan(value):
        return Estimate(value=_NAN, low=_NAN, high=_NAN, n=n, reason=absent)
    if min(prompts) < FEW_PROMPTS:
        # A bias that cannot be estimated cannot be taken off: no value rather than a biased one.
        reason = f"it needs {FEW_PROMPTS} prompts a domain to resample, and one has {min(prompts)}"
        kept = _NAN if bias_corrected else value
        return Estimate(value=kept, low=_NAN, high=_NAN, n=n, reason=reason)
    defined = replicates[np.isfinite(replicates)]
    undefined = len(replicates) - len(defined)
    if undefined > UNDEFINED_SHARE * len(replicates):
        reason = f"{undefined} of {len(replicates)} resamples have none: {absent}"
        kept = _NAN if bias_corrected else value
        return Estimate(value=kept, low=_NAN, high=_NAN, n=n, reason=reason)
    if bias_corrected:
        bias = float(defined.mean()) - value
        value, defined = value - bias, defined - 2 * bias
    tail = expanded_tail(prompts, level)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Estimate(value=value, low=float(low), high=float(high), n=n)


def expanded_tail(prompts: Sequence[int], level: float) -> float:
    """The share of replicates outside each end of an expanded percentile interval.

    Example:
        >>> round(expanded_tail([50], 0.95), 4), round(expanded_tail([10**6], 0.95), 4)
        (0.0212, 0.025)
    """
    from scipy.special import ndtr, stdtrit

    degrees = sum(count - 1 for count in prompts)
    t = float(stdtrit(degrees, (1 + level) / 2))
    return float(ndtr(-t * narrowing(prompts)))


def narrowing(prompts: Sequence[int]) -> float:
    """√(n/(n−1)), by which resampling n prompts understates a standard error."""
    return math.sqrt(sum(prompts) / sum(count - 1 for count in prompts))
