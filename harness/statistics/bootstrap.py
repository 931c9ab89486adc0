"""Intervals of ratios by bootstrap over prompts; never over nodes, which are correlated.

Ratios are recomputed on resampled totals: a resample is a vector of how often each prompt was
drawn, and its totals are one matrix product with the per-prompt sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

_NAN = float("nan")
_DRAWS_AT_ONCE = 1 << 22
_RATIOS_AT_ONCE = 256
UNDEFINED_SHARE = 0.01
"""Share of resamples without a ratio (denominator 0) up to which they are set aside; above it the
interval would describe only the resamples that happen to have one, and none is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its 95% interval.

    Attributes:
        value: The ratio of totals; NaN if the denominator is 0.
        low: Lower end of the interval; NaN if it cannot be estimated.
        high: Upper end.
        n: Number of observations in the denominator: nodes, or steps.
        reason: Why `value` or the interval is NaN; else empty.
    """

    value: float
    low: float
    high: float
    n: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How intervals are made.

    Attributes:
        resamples: Number of resamples.
        level: Coverage that the percentile interval aims at.
        seed: Seeds the resamples; those of a stratum depend on its name too, and on nothing else.
    """

    resamples: int = 10_000
    level: float = 0.95
    seed: int = 0


class RatioSums(NamedTuple):
    """Per-prompt sums of some ratios; each float64 ``[prompts, ratios]``."""

    numerators: np.ndarray
    denominators: np.ndarray


class StratifiedEstimates(NamedTuple):
    """Estimates of every ratio, by stratum and over all strata."""

    by_stratum: dict[str, tuple[Estimate, ...]]
    pooled: tuple[Estimate, ...]


def stratified_estimates(
    strata: Mapping[str, RatioSums], absent: Sequence[str], resampling: Resampling | None = None
) -> StratifiedEstimates:
    """Each ratio with its percentile interval, by stratum and pooled.

    The pooled ratio is that of all prompts' sums. Its resamples draw as many prompts of every
    stratum as there are (stratified): how many prompts a domain has is decided by who runs the
    suites, so it is not a source of error, and the pooled figure is about that mix of domains.

    Args:
        strata: The sums of each stratum's prompts, all with the same ratios.
        absent: ``[ratios]`` the reason to give where a denominator is 0.
        resampling: Number of resamples, level and seed.

    Returns:
        The estimates, each ``[ratios]``. There is no interval, but a reason, where fewer than two
        prompts carry the denominator, where a stratum of the pooled ratio is a single prompt, or
        where more than `UNDEFINED_SHARE` of the resamples have a denominator of 0.
    """
    resampling = resampling or Resampling()
    by_stratum: dict[str, list[Estimate]] = {name: [] for name in strata}
    pooled: list[Estimate] = []
    for start in range(0, len(absent), _RATIOS_AT_ONCE):
        block = slice(start, start + _RATIOS_AT_ONCE)
        part = {name: RatioSums(*(side[:, block] for side in strata[name])) for name in strata}
        total: np.ndarray | float = 0.0
        for name, sums in part.items():
            draws = resampled_totals(np.hstack(sums), name, resampling)
            total = total + draws
            by_stratum[name] += _estimates(sums, draws, absent[block], resampling.level)
        if part:
            everything = RatioSums(
                *(np.concatenate(side) for side in zip(*part.values(), strict=True))
            )
            estimates = _estimates(everything, np.asarray(total), absent[block], resampling.level)
            pooled += _unless_a_stratum_is_one_prompt(estimates, part)
        else:
            pooled += [_absent(reason) for reason in absent[block]]
    return StratifiedEstimates(
        {name: tuple(estimates) for name, estimates in by_stratum.items()}, tuple(pooled)
    )


def resampled_totals(sums: np.ndarray, stratum: str, resampling: Resampling) -> np.ndarray:
    """The totals of each resample of a stratum's prompts.

    Args:
        sums: ``[prompts, columns]`` per-prompt sums.
        stratum: Its name; two strata are resampled independently of each other.
        resampling: Number of resamples and seed.

    Returns:
        float64 ``[resamples, columns]``.
    """
    totals = np.zeros((resampling.resamples, sums.shape[1]))
    if len(sums):
        for rows, weights in _weights(len(sums), stratum, resampling):
            totals[rows] = weights @ sums
    return totals


def _weights(
    prompts: int, stratum: str, resampling: Resampling
) -> Iterator[tuple[slice, np.ndarray]]:
    digest = hashlib.sha256(stratum.encode()).digest()
    generator = np.random.default_rng([resampling.seed, int.from_bytes(digest[:8], "little")])
    at_once = max(1, _DRAWS_AT_ONCE // prompts)
    for start in range(0, resampling.resamples, at_once):
        rows = slice(start, min(start + at_once, resampling.resamples))
        count = rows.stop - start
        drawn = generator.integers(0, prompts, (count, prompts))
        drawn += np.arange(0, count * prompts, prompts)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * prompts)
        yield rows, weights.reshape(count, prompts).astype(np.float64)


def _estimates(
    sums: RatioSums, draws: np.ndarray, absent: Sequence[str], level: float
) -> list[Estimate]:
    """An estimate of each ratio from its prompts' sums and their resampled totals.

    Args:
        sums: Each ``[prompts, ratios]``.
        draws: ``[resamples, 2 · ratios]``: numerators, then denominators.
        absent: ``[ratios]`` reasons for a denominator of 0.
        level: Coverage of the interval.
    """
    return [
        _estimate(
            sums.numerators[:, i],
            sums.denominators[:, i],
            draws[:, [i, len(absent) + i]],
            reason,
            level,
        )
        for i, reason in enumerate(absent)
    ]


def _estimate(
    numerator: np.ndarray, denominator: np.ndarray, draws: np.ndarray, absent: str, level: float
) -> Estimate:
    n = round(float(denominator.sum()))
    if n == 0:
        return _absent(absent)
    value = float(numerator.sum() / denominator.sum())
    carrying = int(np.count_nonzero(denominator))
    if carrying < 2:
        reason = "an interval needs 2 prompts to resample, and 1 has this figure"
        return Estimate(value=value, low=_NAN, high=_NAN, n=n, reason=reason)
    defined = draws[draws[:, 1] > 0]
    undefined = len(draws) - len(defined)
    if undefined > UNDEFINED_SHARE * len(draws):
        reason = (
            f"only {carrying} of {len(denominator)} prompts have this figure: {undefined} of "
            f"{len(draws)} resamples have none"
        )
        return Estimate(value=value, low=_NAN, high=_NAN, n=n, reason=reason)
    tail = (1 - level) / 2
    low, high = np.quantile(defined[:, 0] / defined[:, 1], [tail, 1 - tail])
    return Estimate(value=value, low=float(low), high=float(high), n=n)


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
        if single and not estimate.reason:
            reason = f"a domain of 1 prompt cannot be resampled: {', '.join(single)}"
            estimate = replace(estimate, low=_NAN, high=_NAN, reason=reason)
        kept.append(estimate)
    return kept
