"""Intervals of figures that are no ratio of sums, from their values on resampled prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.statistics.bootstrap import Estimate, bounded_estimate
from draftproof.statistics.small_samples import degrees_of_freedom, heaviest_share

FEW_PROMPTS = 5
"""Prompts a domain from which a figure is read off its resamples; five have 126 different ones."""

UNDEFINED_SHARE = 0.01
"""Share of resamples without a value up to which they are set aside; above it the interval would
describe only the resamples that happen to have one, and none is given."""

_NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicates:
    """A figure and its values on resampled prompts: what intervals of any level are made of.

    Attributes:
        value: The figure of the prompts themselves.
        draws: ``[resamples]`` its values on resampled prompts; NaN where it has none.
        n: How many observations it is made of.
        weights: By stratum, ``[prompts]`` how many of them each prompt has.
        bounds: The least and the largest value of the figure.
        absent: The reason to give where `value` is NaN.
        bias_corrected: Whether the figure is a sum of squares, such as an information, which noise
            alone makes positive: then the bootstrap's estimate of its bias, mean − value, is taken
            off the value once, and off the draws (which carry it twice) twice. What is left is
            cut at `bounds`, the value too.
    """

    value: float
    draws: np.ndarray
    n: int
    weights: Sequence[np.ndarray]
    bounds: tuple[float, float]
    absent: str = "it is not defined for these nodes"
    bias_corrected: bool = False

    def estimate(self, level: float) -> Estimate:
        """The figure with its interval.

        A percentile interval of n prompts is narrow by √((n−1)/n) and takes the normal's quantiles
        where Student's are due. The expanded one reads the draws at Φ(−t √(n/(n−1))) instead of at
        half of 1 − level. With few prompts it follows the few values that resamples have; so an end
        is never nearer to the value than t standard errors of the bootstrap. Both have the degrees
        of freedom that the prompts' weights leave.

        Args:
            level: Coverage aimed at.

        Returns:
            The estimate. There is no interval, but a reason, with fewer than `FEW_PROMPTS` prompts
            in a stratum, where one prompt weighs too much (less than one degree of freedom), where
            too many resamples have no value, or where all have the same.

        Source:
            Hesterberg 2015, *What Teachers Should Know About the Bootstrap* (expanded percentile);
            Efron and Tibshirani 1993, chapter 10 (bias).
        """
        if math.isnan(self.value):
            return self._without_interval(self.absent)
        prompts = [int(np.count_nonzero(weights)) for weights in self.weights] or [0]
        if min(prompts) < FEW_PROMPTS:
            return self._without_interval(
                f"it needs {FEW_PROMPTS} prompts a domain to resample, and one has {min(prompts)}"
            )
        degrees = degrees_of_freedom(self.weights)
        if degrees < 1:
            return self._without_interval(
                "prompts differ too much in length: one has "
                f"{heaviest_share(self.weights):.0%} of the observations"
            )
        defined = self.draws[np.isfinite(self.draws)]
        undefined = len(self.draws) - len(defined)
        if undefined > UNDEFINED_SHARE * len(self.draws):
            return self._without_interval(
                f"{undefined} of {len(self.draws)} resamples have none: {self.absent}"
            )
        value = self.value
        if np.ptp(defined) <= 1e-12 * max(1.0, abs(value)):
            return self._without_interval(
                "all prompts are alike in this figure: resamples do not say how far others may be"
            )
        if self.bias_corrected:
            bias = float(defined.mean()) - value
            value, defined = value - bias, defined - 2 * bias
        tail = expanded_tail(prompts, level, degrees)
        low, high = (float(end) for end in np.quantile(defined, [tail, 1 - tail]))
        half = student_quantile(degrees, level) * narrowing(prompts) * float(defined.std())
        if self.bias_corrected:
            value = min(max(value, self.bounds[0]), self.bounds[1])
        return bounded_estimate(
            value,
            (min(low, value - half), max(high, value + half)),
            n=self.n,
            bounds=self.bounds,
            unbounded=self.absent,
        )

    def _without_interval(self, reason: str) -> Estimate:
        # A bias that cannot be estimated cannot be taken off: no value rather than a biased one.
        value = _NAN if self.bias_corrected else self.value
        return Estimate(value=value, low=_NAN, high=_NAN, n=self.n, reason=reason)


def expanded_tail(prompts: Sequence[int], level: float, degrees: float) -> float:
    """The share of replicates outside each end of an expanded percentile interval.

    Args:
        prompts: Number of prompts by stratum.
        level: Coverage aimed at.
        degrees: Of freedom, as `degrees_of_freedom` has them.

    Example:
        >>> round(expanded_tail([50], 0.95, 49), 4), round(expanded_tail([10**6], 0.95, 1e6), 4)
        (0.0212, 0.025)
    """
    from scipy.special import ndtr

    return float(ndtr(-student_quantile(degrees, level) * narrowing(prompts)))


def student_quantile(degrees: float, level: float) -> float:
    """How many standard errors an interval of a level reaches on each side."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))


def narrowing(prompts: Sequence[int]) -> float:
    """√(n/(n−1)), by which resampling n prompts understates a standard error."""
    return math.sqrt(sum(prompts) / sum(count - 1 for count in prompts))
