"""Where a series of figures changed its level, by a rank test whose false-alarm rate is stated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SEED = 0
_CHUNK = 1_000_000
"""Numbers that are permuted at once."""
_ENOUGH = 100
"""Permutations as extreme as the data after which no more are drawn."""
_MOST = 20_000
"""Permutations that are drawn at most."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePoint:
    """A place at which a series changed its level.

    Attributes:
        at: Index of the first value after the change, from 1 to the number of values − 1.
        before: Median of the values before it, back to the change before, if there is one.
        after: Median from it on, up to the next change.
        p_value: Of the test of the part of the series that it divides.
    """

    at: int
    before: float
    after: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeTest:
    """The largest standardised rank sum of a series, and how rare it is.

    Attributes:
        at: Where the series is divided best: index of the first value after.
        statistic: The largest standardised Wilcoxon rank sum, without its sign.
        p_value: Chance of one as large if every order of the values is as likely as any other.
    """

    at: int
    statistic: float
    p_value: float


def change_points(values: Sequence[float], alpha: float, *, seed: int = SEED) -> list[ChangePoint]:
    """Places at which a series changed its level, in their order; none where none is shown.

    The whole series is tested at level `alpha`. Where it changed, the two parts are tested anew,
    each at the same level (binary segmentation). So the chance that any place is named in a series
    that never changed is at most `alpha`; how often a further place is named wrongly beside a true
    one is not bounded by it.

    Args:
        values: ``[n]`` finite figures in order, of independent measurements.
        alpha: Level, between 0 and 1.
        seed: Of the permutations.

    Source:
        R. G. Miller and D. Siegmund 1982 and B. Lausen and M. Schumacher 1992 (maximally selected
        rank statistics); A. J. Scott and M. Knott 1974 (binary segmentation).

    Example:
        >>> [found] = change_points([2.0] * 9 + [1.8] * 5, 0.05)
        >>> found.at, found.before, found.after
        (9, 2.0, 1.8)
        >>> change_points([2.0] * 9 + [1.8], 0.05)
        []
    """
    series = np.asarray(values, np.float64)
    if not np.isfinite(series).all():
        raise ValueError("a series of figures has a value that is not finite")
    tests: dict[int, float] = {}
    waiting = [(0, len(series))]
    while waiting:
        first, end = waiting.pop()
        if smallest_p(end - first) > alpha:
            continue
        found = change_test(series[first:end], alpha, seed=seed)
        if found.p_value <= alpha:
            place = first + found.at
            tests[place] = found.p_value
            waiting += [(first, place), (place, end)]
    ends = [0, *sorted(tests), len(series)]
    medians = [float(np.median(series[a:b])) for a, b in pairwise(ends) if b > a]
    return [
        ChangePoint(at=place, before=before, after=after, p_value=tests[place])
        for place, (before, after) in zip(sorted(tests), pairwise(medians), strict=True)
    ]


def change_test(
    values: Sequence[float] | np.ndarray, alpha: float, *, seed: int = SEED
) -> ChangeTest:
    """Tests whether a series has one level throughout.

    The statistic is the maximum over k of ``|W_k − E W_k| / sd W_k``, W_k being the sum of the
    midranks of the first k values. Its p-value is over random orders of the values themselves: if
    every order is as likely (no change, independent measurements of one law, whatever that is, ties
    included), ``P(p ≤ a) ≤ a`` for every a. Orders are drawn one after the other until 100 are as
    extreme as the data, or until there are enough for `alpha`.

    Args:
        values: ``[n]`` finite figures in order.
        alpha: The level that the p-value is for: how many orders are drawn follows from it.
        seed: Of the orders.

    Source:
        J. Besag and P. Clifford 1991, section 3, for the number of orders.
    """
    from scipy.stats import rankdata  # takes a second to import

    ranks = rankdata(values)
    centred = ranks - ranks.mean()
    n = len(centred)
    spread = float((centred**2).sum())
    if n < 2 or spread == 0:
        return ChangeTest(at=0, statistic=0.0, p_value=1.0)
    k = np.arange(1, n)
    # The variance of a sum of k of n numbers drawn without replacement.
    scale = np.sqrt(k * (n - k) * spread / (n * (n - 1)))
    own = np.abs(np.cumsum(centred)[:-1]) / scale
    largest = float(own.max())
    generator = np.random.default_rng(seed)
    draws = min(_MOST, max(999, math.ceil(20 / alpha)))
    drawn = extreme = 0
    while drawn < draws:
        rows = min(draws - drawn, max(1, _CHUNK // n))
        orders = generator.permuted(np.tile(centred, (rows, 1)), axis=1)
        statistics = (np.abs(np.cumsum(orders, axis=1)[:, :-1]) / scale).max(axis=1)
        hits = np.flatnonzero(statistics >= largest * (1 - _ROUNDING))
        if extreme + len(hits) >= _ENOUGH:
            drawn += int(hits[_ENOUGH - extreme - 1]) + 1
            return ChangeTest(at=_first(own), statistic=largest, p_value=_ENOUGH / drawn)
        drawn, extreme = drawn + rows, extreme + len(hits)
    return ChangeTest(at=_first(own), statistic=largest, p_value=(extreme + 1) / (drawn + 1))


def smallest_p(n: int) -> float:
    """The smallest chance that any change in `n` values can have: that of two equal halves.

    Example:
        >>> smallest_p(7) > 0.05 > smallest_p(8)
        True
    """
    return 2 / math.comb(n, n // 2)


def fewest_values(alpha: float) -> int:
    """The fewest values in which a change can be shown at a level.

    Example:
        >>> fewest_values(0.05), fewest_values(0.01)
        (8, 10)
    """
    n = 2
    while smallest_p(n) > alpha:
        n += 1
    return n


def _first(statistics: np.ndarray) -> int:
    """Index of the first value after the best division."""
    return int(np.argmax(statistics >= statistics.max() * (1 - _ROUNDING))) + 1
