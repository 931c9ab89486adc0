"""Bootstrap-t intervals of ratios of totals, from second moments that are themselves totals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

FEW_PROMPTS = 5
"""With fewer prompts than this in a stratum, more than 1% of its resamples draw one prompt only and
have no spread to divide by; Student's t is used instead."""

_FLAT = 1e-13
"""Variance, relative to the size of its terms, below which it is rounding: there is no spread."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Totals of a and b over prompts, and their centred second moments within strata.

    Attributes:
        a: ``[resamples, ratios]`` (or ``[resamples]``) totals of the numerators.
        b: Totals of the denominators.
        aa: Σ over strata of n/(n−1) · Σ (a − mean a)², over the n prompts of the stratum.
        ab: The same of (a − mean a)(b − mean b).
        bb: The same of (b − mean b)².
        scale: Σ a² and R² Σ b² in the size they have before they cancel.
    """

    a: np.ndarray
    b: np.ndarray
    aa: np.ndarray
    ab: np.ndarray
    bb: np.ndarray
    scale: np.ndarray

    @classmethod
    def total(cls, parts: Sequence[Self]) -> Self:
        """The moments of all strata together."""

        def summed(name: str) -> np.ndarray:
            return np.asarray(sum(getattr(part, name) for part in parts))

        return cls(*(summed(name) for name in ("a", "b", "aa", "ab", "bb", "scale")))

    def of(self, ratio: int) -> Moments:
        """The moments of one ratio, each ``[resamples]``."""
        return Moments(
            self.a[:, ratio],
            self.b[:, ratio],
            self.aa[:, ratio],
            self.ab[:, ratio],
            self.bb[:, ratio],
            self.scale[:, ratio],
        )

    @property
    def ratio(self) -> np.ndarray:
        """The ratio a ÷ b; NaN where b is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.b > 0, self.a / self.b, np.nan)

    @property
    def variance(self) -> np.ndarray:
        """Of the ratio R, by linearisation: Σ n/(n−1) Σ (e − mean e)² ÷ b², e = a − R b.

        0 where prompts do not differ beyond rounding; NaN where b is 0.
        """
        r = self.ratio
        numerator = self.aa - 2 * r * self.ab + r * r * self.bb
        numerator = np.where(numerator <= _FLAT * self.scale, 0.0, numerator)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(numerator / self.b**2)


def moments(totals: np.ndarray, prompts: int) -> Moments:
    """The moments of one stratum.

    Args:
        totals: ``[resamples, 5 · ratios]`` totals of a, b, a², ab and b².
        prompts: How many prompts each total is over; one alone has no spread.
    """
    a, b, aa, ab, bb = np.split(totals, 5, axis=1)
    factor = prompts / (prompts - 1) if prompts > 1 else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        squared_ratio = np.where(b > 0, (a / b) ** 2, 0.0)
    return Moments(
        a,
        b,
        factor * (aa - a * a / max(prompts, 1)),
        factor * (ab - a * b / max(prompts, 1)),
        factor * (bb - b * b / max(prompts, 1)),
        aa + squared_ratio * bb,
    )


def studentized_interval(
    sample: Moments, draws: Moments, prompts: Sequence[int], level: float
) -> tuple[float, float]:
    """The bootstrap-t interval of one ratio R: R − t₁₋ₐ · se(R) to R − tₐ · se(R).

    t = (R* − R) ÷ se(R*) over the resamples, each with its own standard error. Percentile and BCa
    intervals were measured beside it and cover too little at 20 to 50 prompts
    (``docs/statistics.md``).

    Args:
        sample: The moments of the prompts themselves, each ``[1]``.
        draws: Those of their resamples, each ``[resamples]``; without a ratio where b is 0.
        prompts: Number of prompts that carry the ratio, by stratum. Where one has fewer than
            `FEW_PROMPTS`, Student's t is used, on prompts − strata degrees of freedom.
        level: Coverage aimed at.

    Returns:
        The two ends; an end is infinite where too many resamples have no spread of their own. Both
        are R where no prompt differs from another.
    """
    value, error = float(sample.ratio[0]), float(np.sqrt(sample.variance[0]))
    if error == 0:
        return value, value
    tail = (1 - level) / 2
    if min(prompts) < FEW_PROMPTS:
        from scipy.special import stdtrit

        degrees = max(1, sum(prompts) - len(prompts))
        half = float(stdtrit(degrees, 1 - tail)) * error
        return value - half, value + half
    distance = draws.ratio - value
    errors = np.sqrt(draws.variance)
    near = np.abs(distance) <= 1e-9 * max(abs(value), 1e-9)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(near, 0.0, distance / errors)
    # Order statistics, not interpolations between them: some t may be infinite.
    lower, upper = np.quantile(t[draws.b > 0], [tail, 1 - tail], method="inverted_cdf")
    return value - float(upper) * error, value - float(lower) * error
