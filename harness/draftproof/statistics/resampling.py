"""How prompts are drawn anew: one at a time, or, where there are very many, in random groups.

Everything that is resampled is a total over prompts, so a resample is a vector of how often each
prompt was drawn, times the per-prompt sums. With 400,000 prompts that is 4 · 10⁹ draws; beyond
`MOST_UNITS` prompts of a stratum they are therefore put into that many groups of equal size, at
random, and groups are drawn. ``docs/statistics.md`` says what that leaves and what it costs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MOST_UNITS = 1_000
"""Prompts of a stratum up to which each is drawn alone; above, they are drawn in as many groups.

A spread that is read off resamples of G groups is off by about 1/√(2 G) of itself, at random: 2.2%.
The second and third cumulants of a total over independent prompts are those over their groups."""

_DRAWS_AT_ONCE = 1 << 22
_KEPT_CELLS = 1 << 24
"""Resamples × units up to which how often each is drawn is kept for the next figure."""
_GROUPS = 0x6E0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling:
    """How intervals are made.

    Attributes:
        resamples: Number of resamples.
        level: Coverage that the interval aims at.
        seed: Seeds the resamples; those of a stratum depend on its name too, and on nothing else.
    """

    resamples: int = 10_000
    level: float = 0.95
    seed: int = 0


def units_of(prompts: int, stratum: str, resampling: Resampling) -> np.ndarray:
    """The unit that each prompt of a stratum is drawn with.

    Returns:
        int64 ``[prompts]`` from 0: each its own, or one of `MOST_UNITS` groups whose sizes differ
        by 1 at most. Figures of one stratum are all drawn in the same groups.
    """
    return _units(prompts, tuple(stratum_seed(stratum, resampling)))


def unit_sums(sums: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Per-prompt sums added up by unit.

    Args:
        sums: ``[prompts, columns]``, at least one prompt.
        units: ``[prompts]``, of `units_of`.

    Returns:
        ``[units, columns]``; the sums themselves where every prompt is its own.

    Example:
        >>> unit_sums(np.array([[1.0], [2.0], [4.0]]), np.array([1, 0, 1])).tolist()
        [[2.0], [5.0]]
    """
    count = int(units.max()) + 1
    if count == len(sums):
        return sums
    order = np.argsort(units, kind="stable")
    starts = np.searchsorted(units[order], np.arange(count))
    return np.asarray(np.add.reduceat(sums[order], starts, axis=0))


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
        of_units = unit_sums(sums, units_of(len(sums), stratum, resampling))
        for rows, weights in resample_weights(len(of_units), stratum, resampling):
            totals[rows] = weights @ of_units
    return totals


def stratum_seed(stratum: str, resampling: Resampling) -> list[int]:
    """What seeds the draws of a stratum: the resampling's own seed, and the stratum's name."""
    digest = hashlib.sha256(stratum.encode()).digest()
    return [resampling.seed, int.from_bytes(digest[:8], "little")]


def resample_weights(
    units: int, stratum: str, resampling: Resampling
) -> Iterator[tuple[slice, np.ndarray]]:
    """How often each resample of a stratum draws each of its units.

    Yields:
        The rows of the resamples, and their weights, float64 ``[rows, units]``.
    """
    seed, resamples = tuple(stratum_seed(stratum, resampling)), resampling.resamples
    if units * resamples > _KEPT_CELLS:
        yield from _drawn(units, seed, resamples)
        return
    weights = _kept(units, seed, resamples)
    for rows in _blocks(units, resamples):
        yield rows, weights[rows]


def _blocks(units: int, resamples: int) -> Iterator[slice]:
    at_once = max(1, _DRAWS_AT_ONCE // units)
    for start in range(0, resamples, at_once):
        yield slice(start, min(start + at_once, resamples))


def _drawn(units: int, seed: tuple[int, ...], resamples: int) -> Iterator[tuple[slice, np.ndarray]]:
    generator = np.random.default_rng(list(seed))
    for rows in _blocks(units, resamples):
        count = rows.stop - rows.start
        drawn = generator.integers(0, units, (count, units))
        drawn += np.arange(0, count * units, units)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * units)
        yield rows, weights.reshape(count, units).astype(np.float64)


@lru_cache(maxsize=4)
def _kept(units: int, seed: tuple[int, ...], resamples: int) -> np.ndarray:
    """float64 ``[resamples, units]``, 80 MB at most by default: a domain's draws, for every figure.

    Small integers would take less, and longer than the product to be converted for each figure.
    """
    weights = np.empty((resamples, units))
    for rows, block in _drawn(units, seed, resamples):
        weights[rows] = block
    weights.flags.writeable = False
    return weights


@lru_cache(maxsize=8)
def _units(prompts: int, seed: tuple[int, ...]) -> np.ndarray:
    units = np.arange(prompts)
    if prompts > MOST_UNITS:
        units = np.random.default_rng([*seed, _GROUPS]).permutation(prompts) % MOST_UNITS
    units.flags.writeable = False
    return units
