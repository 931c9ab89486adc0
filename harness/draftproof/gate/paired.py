"""What a ratio is made of in two runs, prompt by prompt, and in runs made from them anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from draftproof.statistics.resampling import Resampling, unit_sums, units_of

DRAWS = 10_000
"""Random exchanges of labels, and resamples; where there are fewer exchanges, each is taken."""

_ROWS = 1_000
"""Draws that are multiplied out at once: 40 MB for 5,000 prompts."""
_FLAT = 1e-13
"""Variance, relative to the size of its terms, below which it is rounding: there is no spread."""


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

    @classmethod
    def beside_bound(
        cls, numerator: np.ndarray, denominator: np.ndarray, bound: float
    ) -> PairedSums:
        """A run beside one of which every prompt has exactly the bound."""
        return cls(
            numerator_before=bound * denominator,
            denominator_before=denominator,
            numerator_now=numerator,
            denominator_now=denominator,
        )

    @property
    def prompts(self) -> int:
        """Prompts that carry the ratio in either run."""
        return int(np.count_nonzero(self._carried))

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

    def like_the_mean(self, now: float) -> PairedSums:
        """One prompt as long as the mean one, with the earlier run's ratio, and `now` in the later.

        Args:
            now: Its ratio in the later run.
        """
        before, later = (each.mean() for each in (self.denominator_before, self.denominator_now))
        return PairedSums(
            numerator_before=np.array([self.before * before]),
            denominator_before=np.array([before]),
            numerator_now=np.array([now * later]),
            denominator_now=np.array([later]),
        )

    @property
    def differing(self) -> np.ndarray:
        """``[prompts]`` whether a prompt differs between the runs."""
        above = self.numerator_before != self.numerator_now
        return np.asarray(above | (self.denominator_before != self.denominator_now))

    @property
    def carrying(self) -> PairedSums:
        """The sums of the prompts that carry the ratio."""
        rows = self._carried
        return PairedSums(
            numerator_before=self.numerator_before[rows],
            denominator_before=self.denominator_before[rows],
            numerator_now=self.numerator_now[rows],
            denominator_now=self.denominator_now[rows],
        )

    @property
    def _carried(self) -> np.ndarray:
        return (self.denominator_before > 0) | (self.denominator_now > 0)


class Moments(NamedTuple):
    """Totals over prompts of a and b (before), c and d (now), and of their products.

    Each is ``[draws]``, or a number for the runs themselves.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray
    aa: np.ndarray
    ab: np.ndarray
    bb: np.ndarray
    cc: np.ndarray
    cd: np.ndarray
    dd: np.ndarray
    ac: np.ndarray
    ad: np.ndarray
    bc: np.ndarray
    bd: np.ndarray

    def moved(self, change: float, *, relative: bool) -> Moments:
        """The moments once the later run is moved back by a change.

        That is c − change · d in place of c, or c ÷ (1 + change) where the change is a share.
        """
        if relative:
            k = 1 / (1 + change)
            return self._replace(
                c=k * self.c, cc=k * k * self.cc, cd=k * self.cd, ac=k * self.ac, bc=k * self.bc
            )
        return self._replace(
            c=self.c - change * self.d,
            cc=self.cc - 2 * change * self.cd + change**2 * self.dd,
            cd=self.cd - change * self.dd,
            ac=self.ac - change * self.ad,
            bc=self.bc - change * self.bd,
        )

    def with_exchanged(self, part: Moments) -> Moments:
        """The moments of both runs once their labels are exchanged in a part of the prompts."""
        return Moments(
            a=self.a - part.a + part.c,
            b=self.b - part.b + part.d,
            c=self.c - part.c + part.a,
            d=self.d - part.d + part.b,
            aa=self.aa - part.aa + part.cc,
            ab=self.ab - part.ab + part.cd,
            bb=self.bb - part.bb + part.dd,
            cc=self.cc - part.cc + part.aa,
            cd=self.cd - part.cd + part.ab,
            dd=self.dd - part.dd + part.bb,
            ac=self.ac,
            ad=self.ad - part.ad + part.bc,
            bc=self.bc - part.bc + part.ad,
            bd=self.bd,
        )

    def with_one_more(self, other: Moments) -> Moments:
        """The moments with those of one more prompt, which every draw has."""
        return Moments(*(own + its for own, its in zip(self, other, strict=True)))

    @property
    def change(self) -> np.ndarray:
        """The change c ÷ d − a ÷ b; NaN where a denominator is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.c / self.d - self.a / self.b)

    def error(self, prompts: int) -> np.ndarray:
        """Standard error of the change over prompts, by linearisation.

        With e = a − R b about the run's own ratio R, it is the root of n/(n−1) Σ (e_now ÷ Σ d −
        e_before ÷ Σ b)². 0 where prompts do not differ beyond rounding; NaN where there is no
        change.

        Args:
            prompts: n, at least 2.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            r, s = self.a / self.b, self.c / self.d
            earlier = (self.aa - 2 * r * self.ab + r * r * self.bb) / self.b**2
            later = (self.cc - 2 * s * self.cd + s * s * self.dd) / self.d**2
            both = (self.ac - r * self.bc - s * self.ad + r * s * self.bd) / (self.b * self.d)
            size = (self.aa + r * r * self.bb) / self.b**2 + (self.cc + s * s * self.dd) / self.d**2
            variance = earlier + later - 2 * both
            variance = np.where(variance <= _FLAT * size, 0.0, variance)
            return np.sqrt(variance * prompts / (prompts - 1))


def moments(sums: PairedSums) -> Moments:
    """The moments of the runs themselves."""
    return Moments(*_products(sums).sum(axis=0))


def relabelled(sums: PairedSums, which: np.ndarray | None = None) -> tuple[Moments, bool]:
    """The moments of the prompts whose labels are exchanged, in each of many exchanges.

    Args:
        sums: Of both runs.
        which: ``[prompts]`` where an exchange makes a difference; all of them if None.

    Returns:
        The moments, each ``[exchanges]``; and whether they hold every exchange there is, once.
    """
    products = _products(sums)
    if which is not None and 2 ** np.count_nonzero(which) <= DRAWS:
        products = products[which]
    products = _in_units(products)
    exchanged, complete = _exchanges(len(products))
    return _multiplied(exchanged, products), complete


def redrawn(sums: PairedSums) -> Moments:
    """The moments of `DRAWS` resamples of the prompts, each ``[DRAWS]``."""
    products = _in_units(_products(sums))
    return _multiplied(_resamples(len(products)), products)


@lru_cache(maxsize=16)
def _exchanges(prompts: int) -> tuple[np.ndarray, bool]:
    """``[exchanges, prompts]`` 1 where labels are exchanged, the same at every call."""
    if 2**prompts <= DRAWS:
        bits = np.arange(2**prompts)[:, None] >> np.arange(prompts) & 1
        return bits.astype(np.int8), True
    generator = np.random.default_rng([20260101, prompts])
    return generator.integers(0, 2, (DRAWS, prompts), np.int8), False


@lru_cache(maxsize=16)
def _resamples(prompts: int) -> np.ndarray:
    """``[DRAWS, prompts]`` how often each prompt is drawn, the same at every call."""
    generator = np.random.default_rng([20260102, prompts])
    counts = generator.multinomial(prompts, np.full(prompts, 1 / prompts), DRAWS)
    return counts.astype(np.int16)


def _products(sums: PairedSums) -> np.ndarray:
    """``[prompts, 14]`` in the order of `Moments`."""
    a, b = sums.numerator_before, sums.denominator_before
    c, d = sums.numerator_now, sums.denominator_now
    columns = (a, b, c, d, a * a, a * b, b * b, c * c, c * d, d * d, a * c, a * d, b * c, b * d)
    return np.stack(columns, axis=1)


def _in_units(products: np.ndarray) -> np.ndarray:
    """The products of prompts, or of the groups that very many are exchanged and drawn in.

    Exchanges of whole groups are among those of prompts, so a test with them is as exact.
    """
    if not len(products):
        return products
    return unit_sums(products, units_of(len(products), "", Resampling()))


def _multiplied(weights: np.ndarray, products: np.ndarray) -> Moments:
    def rows() -> Iterator[np.ndarray]:
        for start in range(0, len(weights), _ROWS):
            yield weights[start : start + _ROWS].astype(np.float64) @ products

    return Moments(*np.concatenate(list(rows())).T)


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else float("nan")
