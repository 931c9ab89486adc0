"""Paired tests of a change: labels of the two runs are exchanged within prompts.

Where nothing changed, the two sums of a prompt are as likely the other way round. So the later run
is moved back by the change in question, and the labels of every prompt are exchanged at random: the
share of exchanges that show as much is an exact p-value, at any number of prompts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

EXCHANGES = 10_000
"""Random exchanges of labels; where all of them are fewer, each is taken once."""

_SAME = 1e-12
"""Part of the largest possible sum below which a sum of exchanged differences is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSums:
    """What a ratio is made of in two runs, prompt by prompt; each float64 ``[prompts]``.

    Attributes:
        numerator_before: Sums above the line in the earlier run.
        denominator_before: Sums below it.
        numerator_now: The same of the later run.
        denominator_now: The same of the later run.
    """

    numerator_before: np.ndarray
    denominator_before: np.ndarray
    numerator_now: np.ndarray
    denominator_now: np.ndarray

    @property
    def prompts(self) -> int:
        """Prompts that carry the ratio in either run."""
        return int(np.count_nonzero((self.denominator_before > 0) | (self.denominator_now > 0)))

    @property
    def before(self) -> float:
        """The ratio in the earlier run; NaN where its denominator is 0."""
        return _ratio(self.numerator_before.sum(), self.denominator_before.sum())

    @property
    def now(self) -> float:
        """The ratio in the later run."""
        return _ratio(self.numerator_now.sum(), self.denominator_now.sum())

    @property
    def equal(self) -> bool:
        """Whether no prompt differs at all."""
        return bool(
            np.array_equal(self.numerator_before, self.numerator_now)
            and np.array_equal(self.denominator_before, self.denominator_now)
        )


class OneSided(NamedTuple):
    """Two p-values of the hypothesis that the change is a given one.

    Attributes:
        less: Small where the change is less.
        greater: Small where it is greater.
    """

    less: float
    greater: float


class Change(NamedTuple):
    """How much a ratio changed.

    Attributes:
        value: now − before, or now ÷ before − 1.
        low: Lower end of the interval: no smaller change is compatible with the prompts.
        high: Upper end; either is infinite where there are too few prompts to bound it.
        error: Standard error over prompts, by linearisation.
    """

    value: float
    low: float
    high: float
    error: float


def change_test(sums: PairedSums, change: float, *, relative: bool) -> OneSided:
    """Whether the change could be `change`, by exchanging labels within prompts.

    Args:
        sums: Of both runs.
        change: now − before, or, where `relative`, now ÷ before − 1 (above −1).
        relative: Which of the two.

    Returns:
        The two p-values. They are exact where the runs are exchangeable once the later one is
        moved back by `change`, as two runs of one engine are at 0.

    Source:
        Fisher's randomisation test for pairs (Edgington 1995, chapter 6), on numerator − R ·
        denominator with R pooled over both runs, which an exchange of labels leaves unchanged.

    Example:
        >>> one, five = np.ones(6), np.full(6, 5.0)
        >>> same = PairedSums(numerator_before=one, denominator_before=five,
        ...                   numerator_now=one * 0.5, denominator_now=five)
        >>> change_test(same, 0.0, relative=False).less
        0.015625
    """
    differences = _differences(sums, change, relative=relative)
    carrying = differences[differences != 0]
    if not len(carrying):
        return OneSided(1.0, 1.0)
    if 2 ** len(carrying) > EXCHANGES:
        # Zeros add nothing; with them, all figures of a domain share one draw of exchanges.
        carrying = differences
    observed = carrying.sum()
    tolerance = _SAME * np.abs(carrying).sum()
    signs, complete = exchanges(len(carrying))
    drawn = signs @ carrying
    less = int(np.count_nonzero(drawn <= observed + tolerance))
    greater = int(np.count_nonzero(drawn >= observed - tolerance))
    if complete:
        return OneSided(less / len(signs), greater / len(signs))
    # What was observed is one of the exchanges: no p-value is 0.
    return OneSided((less + 1) / (len(signs) + 1), (greater + 1) / (len(signs) + 1))


def measured_change(sums: PairedSums, *, relative: bool, level: float) -> Change:
    """The change with its interval: the changes that `change_test` does not reject.

    Args:
        sums: Of both runs.
        relative: Whether the change is now ÷ before − 1.
        level: Coverage that the interval aims at; 0 for none, which costs nothing.
    """
    before, now = sums.before, sums.now
    if math.isnan(before) or math.isnan(now) or (relative and before == 0):
        return Change(math.nan, math.nan, math.nan, math.nan)
    value = now / before - 1 if relative else now - before
    influences = influence(sums, relative=relative)
    n = len(influences)
    error = float(np.std(influences, ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    if sums.equal:
        return Change(value, value, value, 0.0)
    tail = (1 - level) / 2
    if not level or math.isnan(error) or smallest_p(sums.prompts) > tail:
        return Change(value, -math.inf, math.inf, error)
    if error <= _SAME * max(abs(value), _SAME):
        return Change(value, value, value, 0.0)
    low = _end(sums, value, error, tail, relative=relative, sign=-1)
    high = _end(sums, value, error, tail, relative=relative, sign=1)
    return Change(value, low, high, error)


def influence(sums: PairedSums, *, relative: bool) -> np.ndarray:
    """``[prompts]`` what each prompt adds to the change's error, by linearisation; mean 0.

    Only prompts that carry the ratio are in it.
    """
    before, now = sums.before, sums.now
    carried = (sums.denominator_before > 0) | (sums.denominator_now > 0)
    n = int(carried.sum())
    earlier = (sums.numerator_before - before * sums.denominator_before)[carried]
    later = (sums.numerator_now - now * sums.denominator_now)[carried]
    earlier = earlier * n / sums.denominator_before.sum()
    later = later * n / sums.denominator_now.sum()
    return np.asarray(later / before - now / before**2 * earlier if relative else later - earlier)


def smallest_p(prompts: int) -> float:
    """The smallest p-value that exchanging the labels of so many prompts can give."""
    return max(0.5**prompts, 1 / (EXCHANGES + 1))


@lru_cache(maxsize=8)
def exchanges(prompts: int) -> tuple[np.ndarray, bool]:
    """Which labels are exchanged.

    Args:
        prompts: How many prompts differ.

    Returns:
        ``[exchanges, prompts]`` of −1 (exchanged) and 1, the same at every call; and whether it
        holds every exchange there is, once.
    """
    if 2**prompts <= EXCHANGES:
        bits = np.arange(2**prompts)[:, None] >> np.arange(prompts) & 1
        return 1.0 - 2.0 * bits, True
    generator = np.random.default_rng([20260101, prompts])
    return 1.0 - 2.0 * generator.integers(0, 2, (EXCHANGES, prompts)), False


def _differences(sums: PairedSums, change: float, *, relative: bool) -> np.ndarray:
    """Each prompt's difference once the later run is moved back by `change`."""
    moved = (
        sums.numerator_now / (1 + change)
        if relative
        else sums.numerator_now - change * sums.denominator_now
    )
    above = sums.numerator_before.sum() + moved.sum()
    pooled = above / (sums.denominator_before.sum() + sums.denominator_now.sum())
    differences = (moved - pooled * sums.denominator_now) - (
        sums.numerator_before - pooled * sums.denominator_before
    )
    size = np.abs(moved) + np.abs(sums.numerator_before)
    return np.where(np.abs(differences) <= _SAME * size, 0.0, differences)


def _end(
    sums: PairedSums, value: float, error: float, tail: float, *, relative: bool, sign: int
) -> float:
    """Where the p-value of a change beyond `value` falls to `tail`, by bisection."""
    floor = -1.0 if relative else -math.inf

    def rejected(change: float) -> bool:
        p = change_test(sums, change, relative=relative)
        return (p.less if sign > 0 else p.greater) <= tail

    inside, step = value, 2.0 * error
    outside = value + sign * step
    while outside > floor and not rejected(outside):
        inside, step = outside, 2 * step
        outside = inside + sign * step
        if step > 1e6 * error:
            return sign * math.inf
    outside = max(outside, floor)
    for _ in range(24):
        middle = (inside + outside) / 2
        if middle > floor and not rejected(middle):
            inside = middle
        else:
            outside = middle
    return inside


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else math.nan
