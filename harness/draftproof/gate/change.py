"""Paired tests of a change: by exchanging the two runs' labels, and by drawing prompts anew.

The exchange is exact where nothing changed, at any number of prompts. Where the change differs from
prompt to prompt it is not: differences are then not as likely the other way round, and a few large
ones against many small ones look like a change of the whole. Drawing prompts anew allows for that,
and is not exact. A change is rejected where both reject it.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from draftproof.gate.paired import DRAWS, Moments, PairedSums, moments, redrawn, relabelled

_HALVINGS = 16
"""Of the bracket of an interval's end, of two standard errors or more: to a thousandth of one."""
_TIE = 1e-6
"""Part of a statistic within which two of them are the same but for rounding."""


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


class ChangeTest:
    """Whether the change of a ratio could be a given one.

    The statistic is the change that is left once the later run is moved back by the given one,
    divided by its standard error over prompts. Its law is found twice: with labels exchanged within
    prompts, which is exact where the two runs of a prompt are as likely the other way round, as
    two runs of one engine are; and with prompts drawn anew, which needs no such symmetry but is
    approximate. Each p-value is the larger of the two.

    Prompts that are all alike, or all but one, say nothing of how far another may be from them, and
    a draw that lacks the odd one has no spread at all. So there is one prompt more, in the runs and
    in every draw: one that changed by as much more, or less, as all of them did, and at least by
    what is tested. With many prompts, or with prompts that differ, it counts for little.

    Args:
        sums: Of both runs.
        relative: Whether a change is now ÷ before − 1; else it is now − before.
        reckons_with_others: Whether there is that one prompt more. Floors and ceilings reckon with
            prompts unlike those drawn by what their figure can be.

    Source:
        Studentised permutation tests hold asymptotically where variances differ: Janssen 1997,
        Neuhaus 1993, Chung and Romano 2013. Bootstrap-t: Efron and Tibshirani 1993, chapter 12;
        second-order accurate where the differences are skewed (Hall 1988).

    Example:
        >>> one, five = np.ones(6), np.full(6, 5.0)
        >>> halved = PairedSums(numerator_before=one, denominator_before=five,
        ...                     numerator_now=one * 0.5, denominator_now=five)
        >>> ChangeTest(halved, relative=False).p_values(0.0).less
        0.015625
    """

    def __init__(
        self, sums: PairedSums, *, relative: bool, reckons_with_others: bool = True
    ) -> None:
        self._sums = sums.carrying
        self._prompts = sums.prompts
        self._relative = relative
        self._reckons_with_others = reckons_with_others

    def p_values(self, change: float) -> OneSided:
        """The two p-values of a change; 1 where the runs have no spread to judge it by.

        Args:
            change: now − before, or, where relative, now ÷ before − 1 (above −1).
        """
        if self._prompts < 2 or (change == 0 and self._sums.equal):
            # One prompt has no spread, and two equal runs have nothing to exchange.
            return OneSided(1.0, 1.0)
        observed = self._moved(self._observed, change)
        statistic = self._statistic(observed, self._prompts)
        if np.isnan(statistic):
            return OneSided(1.0, 1.0)
        part, complete = self._exchanged_where(change)
        exchanged = observed.with_exchanged(self._moved(part, change))
        by_exchange = _shares(
            self._statistic(exchanged, self._prompts), statistic, complete=complete
        )
        by_redrawing = (
            self._by_redrawing(change, other=other)[side] for side, other in enumerate((1, -1))
        )
        return OneSided(*(max(pair) for pair in zip(by_exchange, by_redrawing, strict=True)))

    def _by_redrawing(self, change: float, *, other: int) -> tuple[float, float]:
        """Both p-values, beside a prompt that changed by more (`other` is 1) or by less (−1)."""
        if not self._reckons_with_others:
            own, drawn = (self._moved(each, change) for each in (self._observed, self._redrawn))
            return self._shares_of(own, drawn, self._prompts)
        extra = moments(self._sums.like_the_mean(self._ratio_after(self._unlike(change, other))))
        own, drawn = (
            self._moved(each.with_one_more(extra), change)
            for each in (self._observed, self._redrawn)
        )
        return self._shares_of(own, drawn, self._prompts + 1)

    def _shares_of(self, own: Moments, drawn: Moments, prompts: int) -> tuple[float, float]:
        statistic = self._statistic(own, prompts)
        if np.isnan(statistic):
            return 1.0, 1.0
        return _shares(self._statistic(drawn, prompts, about=own.change), statistic, complete=False)

    def _unlike(self, change: float, other: int) -> float:
        """The change of a prompt unlike the others, against what is claimed of a change."""
        value = self._value
        return other * max(other * change, other * value + abs(value))

    def _ratio_after(self, change: float) -> float:
        before = self._sums.before
        return before * max(0.0, 1 + change) if self._relative else before + change

    @cached_property
    def _value(self) -> float:
        before, now = self._sums.before, self._sums.now
        return now / before - 1 if self._relative else now - before

    def measured(self, level: float) -> Change:
        """The change with its interval: the changes that are not rejected.

        Args:
            level: Coverage that the interval aims at; 0 for none, which costs nothing.
        """
        before, now = self._sums.before, self._sums.now
        if math.isnan(before) or math.isnan(now) or (self._relative and before == 0):
            return Change(math.nan, math.nan, math.nan, math.nan)
        value, error = self._value, self.error
        tail = (1 - level) / 2
        if not level or math.isnan(error) or smallest_p(self._prompts) > tail:
            return Change(value, -math.inf, math.inf, error)
        if self._sums.equal or (error == 0 and not self._reckons_with_others):
            return Change(value, value, value, 0.0)
        # Of prompts that are all alike, the one that is not.
        spread = max(error, abs(value) / (self._prompts + 1), 1e-9)
        low, high = (self._end(value, spread, tail, sign=sign) for sign in (-1, 1))
        return Change(value, low, high, error)

    @property
    def error(self) -> float:
        """Standard error of the change over prompts; NaN where there is no change or one prompt."""
        if self._prompts < 2:
            return math.nan
        if self._sums.equal:
            return 0.0
        if not self._relative:
            return float(self._observed.error(self._prompts))
        before, now = self._sums.before, self._sums.now
        if not before > 0 or math.isnan(now):
            return math.nan
        if now == 0:
            return math.nan  # a share of nothing: prompts that have nothing tell no spread
        # now ÷ before: the error of now − (now ÷ before) · before, as a share of the latter.
        moved = self._moved(self._observed, now / before - 1)
        return float(moved.error(self._prompts)) * (now / before) / before

    @cached_property
    def _observed(self) -> Moments:
        return moments(self._sums)

    @cached_property
    def _exchanged(self) -> tuple[Moments, bool]:
        return relabelled(self._sums)

    @cached_property
    def _redrawn(self) -> Moments:
        return redrawn(self._sums)

    def _exchanged_where(self, change: float) -> tuple[Moments, bool]:
        """The exchanges that matter to a change.

        Prompts that are the same in both runs need none: the others may be few enough for each
        exchange to be taken once.
        """
        if change == 0:
            return relabelled(self._sums, self._sums.differing)
        return self._exchanged

    def _moved(self, of: Moments, change: float) -> Moments:
        return of.moved(change, relative=self._relative)

    def _statistic(self, of: Moments, prompts: int, about: np.ndarray | float = 0.0) -> np.ndarray:
        """The change about a value, divided by its error.

        Infinite where there is no spread, NaN where there is no change.
        """
        distance = of.change - about
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.abs(of.c / of.d) + np.abs(of.a / of.b)
            distance = np.where(np.abs(distance) <= 1e-12 * size, 0.0, distance)
            return np.where(distance == 0, 0.0, distance / of.error(prompts))

    def _end(self, value: float, error: float, tail: float, *, sign: int) -> float:
        """Where the p-value of a change beyond `value` falls to `tail`, by bisection."""
        floor = -1.0 if self._relative else -math.inf

        def rejected(change: float) -> bool:
            p = self.p_values(change)
            return (p.less if sign > 0 else p.greater) <= tail

        inside, step = value, 2.0 * error
        outside = value + sign * step
        while outside > floor and not rejected(outside):
            inside, step = outside, 2 * step
            outside = inside + sign * step
            if step > 1e6 * error:
                return sign * math.inf
        outside = max(outside, floor)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if middle > floor and not rejected(middle):
                inside = middle
            else:
                outside = middle
        return inside


def smallest_p(prompts: int) -> float:
    """The smallest p-value that so many prompts can give: that of one exchange among all."""
    return max(0.5**prompts, 1 / (DRAWS + 1))


def _shares(drawn: np.ndarray, observed: np.ndarray, *, complete: bool) -> tuple[float, float]:
    """Shares of draws that show as little, and as much; a draw without a change shows either."""
    tie = _TIE * (abs(float(observed)) + 0.01) if np.isfinite(observed) else 0.0
    unknown = np.isnan(drawn)
    less = int(np.count_nonzero(unknown | (drawn <= observed + tie)))
    greater = int(np.count_nonzero(unknown | (drawn >= observed - tie)))
    if complete:
        return less / len(drawn), greater / len(drawn)
    # What was observed is one of the draws: no p-value is 0.
    return (less + 1) / (len(drawn) + 1), (greater + 1) / (len(drawn) + 1)
