"""Intervals of ratios by bootstrap over prompts; never over nodes, which are correlated.

Ratios are recomputed on resampled totals: a resample is a vector of how often each prompt was
drawn, and its totals are one matrix product with the per-prompt sums. The same product gives each
resample's own standard error, which is all that a bootstrap-t interval needs. What few, unequal or
equal prompts leave open is in `draftproof.statistics.small_samples`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from draftproof.statistics.resampling import Resampling, resampled_totals
from draftproof.statistics.small_samples import (
    ONE_IN_FIVE,
    degrees_of_freedom,
    heaviest_share,
    likeness,
    missing,
    moment_interval,
    unseen_share,
)
from draftproof.statistics.studentized import Moments, moments, studentized_interval

_NAN = float("nan")
_RATIOS_AT_ONCE = 128
ANY = (0.0, float("inf"))
"""Least and largest value of a ratio of which nothing else is known."""
SHARE = (0.0, 1.0)
"""Those of a rate."""
LEAST_PROMPTS = 3
"""Prompts below which no interval is given: two have one difference between them."""
ALIKE = math.inf
"""Of prompts that do not differ at all."""
BOOTSTRAP_PROMPTS = 7
"""Prompts from which a ratio is resampled. With fewer, many resamples have hardly any spread of
their own to divide by; the interval is then made of the variance alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its 95% interval.

    Attributes:
        value: The ratio of totals; NaN if the denominator is 0.
        low: Lower end of the interval; NaN if it cannot be estimated.
        high: Upper end.
        n: Number of observations in the denominator: nodes, or steps.
        reason: Why `value` or the interval is NaN; else empty.
        design_effect: Variance of `value` over prompts ÷ its variance if the `n` observations were
            independent; NaN where it was not asked for, or where they do not vary.
        effective_n: ``n / design_effect``: how many independent observations would be as good.
    """

    value: float
    low: float
    high: float
    n: int
    reason: str = ""
    design_effect: float = _NAN
    effective_n: float = _NAN


class RatioSums(NamedTuple):
    """Per-prompt sums of some ratios; each float64 ``[prompts, ratios]``.

    Attributes:
        numerators: Σ x over a prompt's observations.
        denominators: How many there are.
        squares: Σ x², for the design effect; None if it is not asked for.
        noise: The variance of each numerator if a prompt's observations were independent, to tell
            prompts that differ from such as look different by chance (`own_noise`); None where
            that is not known: then prompts are alike only if they do not differ at all.
    """

    numerators: np.ndarray
    denominators: np.ndarray
    squares: np.ndarray | None = None
    noise: np.ndarray | None = None

    def at(self, index: Any) -> RatioSums:
        """The sums at an index of the arrays: some prompts, or some ratios."""
        return RatioSums(
            self.numerators[index],
            self.denominators[index],
            None if self.squares is None else self.squares[index],
            None if self.noise is None else self.noise[index],
        )


class StratifiedEstimates(NamedTuple):
    """Estimates of every ratio, by stratum and over all strata."""

    by_stratum: dict[str, tuple[Estimate, ...]]
    pooled: tuple[Estimate, ...]


def stratified_estimates(
    strata: Mapping[str, RatioSums],
    absent: Sequence[str],
    resampling: Resampling | None = None,
    bounds: Sequence[tuple[float, float]] | None = None,
) -> StratifiedEstimates:
    """Each ratio with its interval over prompts, by stratum and pooled.

    From `BOOTSTRAP_PROMPTS` prompts on in every stratum it is a bootstrap-t interval, and with
    fewer the one of `moment_interval`. Either has the degrees of freedom that prompts of unequal
    weight leave, and the jackknife's standard error. Strata add what prompts may be that are unlike
    those drawn (`unseen_share`), as far as these look all alike (`likeness`).
    ``docs/statistics.md`` has the coverage of all that.

    The pooled ratio is that of all prompts' sums. Its resamples draw as many prompts of every
    stratum as there are (stratified): how many prompts a domain has is decided by who runs the
    suites, so it is not a source of error, and the pooled figure is about that mix of domains.

    Args:
        strata: The sums of each stratum's prompts, all with the same ratios.
        absent: ``[ratios]`` the reason to give where a denominator is 0.
        resampling: Number of resamples, level and seed.
        bounds: ``[ratios]`` the least and the largest value a ratio can have; no end of an
            interval is outside them, unless the value itself is. Default: `ANY`.

    Returns:
        The estimates, each ``[ratios]``. There is no interval, but a reason, where fewer than
        `LEAST_PROMPTS` prompts carry the denominator, where one prompt weighs too much of it (less
        than one degree of freedom), where a stratum of the pooled ratio is a single prompt, and
        where nothing bounds what prompts may be that are unlike those drawn.

    Source:
        Efron and Tibshirani 1993, chapters 11 (jackknife) and 12 (bootstrap-t); the standard error
        of a ratio of cluster totals by linearisation, as in Cochran 1977 on ratio estimates.
    """
    resampling = resampling or Resampling()
    bounds = [ANY] * len(absent) if bounds is None else bounds
    by_stratum: dict[str, list[Estimate]] = {name: [] for name in strata}
    pooled: list[Estimate] = []
    for start in range(0, len(absent), _RATIOS_AT_ONCE):
        block = slice(start, start + _RATIOS_AT_ONCE)
        facts = list(zip(absent[block], bounds[block], strict=True))
        part = {name: sums.at((slice(None), block)) for name, sums in strata.items()}
        totals: list[tuple[Moments, Moments]] = []
        for name, sums in part.items():
            columns = _with_products(sums)
            draws = resampled_totals(columns, name, resampling)
            pair = (
                moments(columns.sum(axis=0)[None], len(columns)),
                moments(draws, len(columns)),
            )
            totals.append(pair)
            by_stratum[name] += _estimates([sums], [pair], facts, resampling.level)
        if part:
            estimates = _estimates(list(part.values()), totals, facts, resampling.level)
            pooled += _unless_a_stratum_is_one_prompt(estimates, part)
        else:
            pooled += [_absent(reason) for reason, _ in facts]
    return StratifiedEstimates(
        {name: tuple(estimates) for name, estimates in by_stratum.items()}, tuple(pooled)
    )


def _with_products(sums: RatioSums) -> np.ndarray:
    """``[prompts, 5 · ratios]``: a, b, a², ab, b², of which totals are moments."""
    a, b = sums.numerators, sums.denominators
    return np.hstack([a, b, a * a, a * b, b * b])


def bounded_estimate(
    value: float, ends: tuple[float, float], *, n: int, bounds: tuple[float, float], unbounded: str
) -> Estimate:
    """A figure with its interval, cut at what the figure can be: every interval comes through here.

    Args:
        value: The figure.
        ends: The interval's two ends, perhaps infinite.
        n: Number of observations.
        bounds: The least and the largest value of the figure. An end is outside them only if the
            value is, as of an engine whose counts contradict each other.
        unbounded: The reason to give where an end stays infinite.
    """
    low = min(value, max(ends[0], bounds[0]))
    high = max(value, min(ends[1], bounds[1]))
    if not np.isfinite([low, high]).all():
        return Estimate(value=value, low=_NAN, high=_NAN, n=n, reason=unbounded)
    return Estimate(value=value, low=low, high=high, n=n)


def _estimates(
    strata: Sequence[RatioSums],
    totals: Sequence[tuple[Moments, Moments]],
    facts: Sequence[tuple[str, tuple[float, float]]],
    level: float,
) -> list[Estimate]:
    """An estimate of each ratio over some strata.

    Args:
        strata: The prompts' sums by stratum, each ``[prompts, ratios]``.
        totals: By stratum, the moments of the prompts themselves, each ``[1, ratios]``, and those
            of their resamples, each ``[resamples, ratios]``.
        facts: ``[ratios]`` the reason for a denominator of 0, and the bounds.
        level: Coverage of the interval.
    """
    sample, draws = (Moments.total(pairs) for pairs in zip(*totals, strict=True))
    jackknife = _jackknife_variance(strata)
    estimates = []
    for i, (absent, bounds) in enumerate(facts):
        prompts = _Prompts(
            weights=[sums.denominators[:, i] for sums in strata],
            ratios=[float(own.ratio[0, i]) for own, _ in totals],
            alike=[
                _likeness(sums, float(own.of(i).variance[0]), i)
                for sums, (own, _) in zip(strata, totals, strict=True)
            ],
            jackknife_variance=float(jackknife[i]),
        )
        estimate = _estimate(prompts, sample.of(i), draws.of(i), absent, bounds, level)
        squares = [sums.squares[:, i].sum() for sums in strata if sums.squares is not None]
        if squares:
            estimate = _with_design_effect(estimate, sample.of(i), float(sum(squares)))
        estimates.append(estimate)
    return estimates


class _Prompts(NamedTuple):
    """What an interval of one ratio needs to know of the prompts, by stratum.

    Attributes:
        weights: ``[prompts]`` of each stratum, their denominators.
        ratios: Of each stratum; NaN where no prompt has the figure.
        alike: How far the prompts of a stratum look all alike, 0 to 1 (`likeness`); `ALIKE` where
            they are.
        jackknife_variance: Of the ratio over all strata.
    """

    weights: list[np.ndarray]
    ratios: list[float]
    alike: list[float]
    jackknife_variance: float


def _estimate(
    prompts: _Prompts,
    sample: Moments,
    draws: Moments,
    absent: str,
    bounds: tuple[float, float],
    level: float,
) -> Estimate:
    n = round(sum(float(column.sum()) for column in prompts.weights))
    if n == 0:
        return _absent(absent)
    value = float(sample.ratio[0])
    carrying = [count for column in prompts.weights if (count := int(np.count_nonzero(column)))]

    def without_interval(reason: str) -> Estimate:
        return Estimate(value=value, low=_NAN, high=_NAN, n=n, reason=reason)

    if sum(carrying) < LEAST_PROMPTS:
        have = "1 has" if sum(carrying) == 1 else f"{sum(carrying)} have"
        return without_interval(
            f"an interval needs {LEAST_PROMPTS} prompts with this figure, and {have} it"
        )
    degrees = degrees_of_freedom(prompts.weights)
    if degrees < 1:
        return without_interval(
            f"prompts differ too much in length: one has {heaviest_share(prompts.weights):.0%} of "
            f"the {n} observations"
        )
    possible = (min(bounds[0], value), max(bounds[1], value))

    def of_variance() -> tuple[float, float]:
        return moment_interval(value, prompts.jackknife_variance, possible, degrees, level)

    if sample.variance[0] == 0:
        ends = value, value
    elif min(carrying) < BOOTSTRAP_PROMPTS:
        ends = of_variance()
    else:
        ends = studentized_interval(
            sample,
            draws,
            error=prompts.jackknife_variance**0.5,
            degrees=(sum(carrying) - len(carrying), degrees),
            level=level,
        )
        if not np.isfinite(ends).all():
            unseen = _beyond(value, (value, value), prompts, possible, level, alike=False)
            ends = _bounded_by(ends, of_variance(), unseen)
    return bounded_estimate(
        value,
        _beyond(value, ends, prompts, possible, level, alike=True),
        n=n,
        bounds=bounds,
        unbounded="too few of the prompts differ in this figure to say how far others may",
    )


def _beyond(
    value: float,
    ends: tuple[float, float],
    prompts: _Prompts,
    possible: tuple[float, float],
    level: float,
    *,
    alike: bool,
) -> tuple[float, float]:
    """The interval with what prompts may be that are unlike those drawn of a stratum.

    Distances of independent strata add as squares, as in Zou and Donner 2008.

    Args:
        value: The ratio.
        ends: The interval without them.
        prompts: By stratum.
        possible: The least and the largest value of the ratio.
        level: Coverage of the interval.
        alike: Whether this is asked of strata as far as their prompts look alike; else of all.
    """
    below, above = (value - ends[0]) ** 2, (ends[1] - value) ** 2
    total = sum(float(weights.sum()) for weights in prompts.weights)
    carrying = sum(int(np.count_nonzero(weights)) for weights in prompts.weights)
    for weights, ratio, look_alike in zip(
        prompts.weights, prompts.ratios, prompts.alike, strict=True
    ):
        own = float(weights.sum())
        if own > 0 and (look_alike or not alike):
            share = own / total * unseen_share(int(np.count_nonzero(weights)), level)
            # A stratum at a bound has no room beyond it, however nothing bounds the other side.
            rooms = np.maximum([ratio - possible[0], possible[1] - ratio], 0.0)
            if alike and look_alike < ALIKE:
                share *= look_alike * missing(carrying, ONE_IN_FIVE)
                # What nothing bounds is not estimable where prompts are alike; else they bound it.
                rooms[np.isinf(rooms)] = 0.0
            below, above = (np.array([below, above]) + (share * rooms) ** 2).tolist()
    return value - below**0.5, value + above**0.5


def _likeness(sums: RatioSums, variance: float, ratio: int) -> float:
    """`likeness` of a stratum's prompts in one ratio."""
    weights = sums.denominators[:, ratio]
    if variance == 0:
        return ALIKE
    if sums.noise is None or not weights.any():
        return 0.0
    noise = float(sums.noise[:, ratio].sum()) / float(weights.sum()) ** 2
    return likeness(variance, noise, int(np.count_nonzero(weights)))


def _bounded_by(ends: tuple[float, float], *others: tuple[float, float]) -> tuple[float, float]:
    """The ends, and for one that is infinite the farthest of others.

    Where one prompt of many differs, resamples without it have no spread to divide by, and say
    nothing of an end. The variance says too little of it; how many prompts may be unlike those
    drawn bounds it as it does where none differs.
    """
    low, high = ends
    if not np.isfinite(low):
        low = min(low for low, _ in others)
    if not np.isfinite(high):
        high = max(high for _, high in others)
    return low, high


def _jackknife_variance(strata: Sequence[RatioSums]) -> np.ndarray:
    """``[ratios]`` the variance of each ratio, from its values without one prompt of a stratum.

    It is larger than the linearised one, the more so the less equal prompts' weights are.
    """
    a = sum(sums.numerators.sum(axis=0) for sums in strata)
    b = sum(sums.denominators.sum(axis=0) for sums in strata)
    variance = np.zeros(np.shape(a))
    for sums in strata:
        count = len(sums.numerators)
        if count < 2:
            continue
        # The stratum's other prompts stand for the one left out, so that it keeps its share.
        weight = count / (count - 1)
        numerators = a + weight * (sums.numerators.mean(axis=0) - sums.numerators)
        denominators = b + weight * (sums.denominators.mean(axis=0) - sums.denominators)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Without the only prompt that carries a ratio there is none; such have no interval.
            ratios = np.where(denominators > 1e-12 * b, numerators / denominators, 0.0)
        variance += (count - 1) / count * ((ratios - ratios.mean(axis=0)) ** 2).sum(axis=0)
    return variance


def _with_design_effect(estimate: Estimate, sample: Moments, squares: float) -> Estimate:
    """The estimate with how much less its n observations say than independent ones would."""
    if np.isnan(estimate.low):
        return estimate
    spread = squares / estimate.n - estimate.value**2
    if spread <= 1e-12 * max(1.0, estimate.value**2):
        return estimate
    design_effect = float(sample.variance[0]) / (spread / estimate.n)
    if design_effect <= 0:
        return estimate
    return replace(estimate, design_effect=design_effect, effective_n=estimate.n / design_effect)


def _absent(reason: str) -> Estimate:
    return Estimate(value=_NAN, low=_NAN, high=_NAN, n=0, reason=reason)


def _unless_a_stratum_is_one_prompt(
    estimates: Sequence[Estimate], strata: Mapping[str, RatioSums]
) -> list[Estimate]:
    kept = []
    for i, estimate in enumerate(estimates):
        single = [
            name
            for name, sums in strata.items()
            if len(sums.denominators) == 1 and sums.denominators[0, i] > 0
        ]
        if single and estimate.n and len(strata) > 1:
            reason = f"a domain of 1 prompt cannot be resampled: {', '.join(single)}"
            estimate = replace(estimate, low=_NAN, high=_NAN, reason=reason)
        kept.append(estimate)
    return kept
