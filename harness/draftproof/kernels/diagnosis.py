"""What the evidence points to: the emission site, and the named fault whose law fits best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from draftproof.kernels.calling import named
from draftproof.kernels.faults import fault_laws
from draftproof.kernels.judge import EmittedLaw
from draftproof.kernels.tables import DraftTable

NEAR = 0.6
"""The part of a difference that a fault explains, for it to be told as the nearest one."""


class Site(StrEnum):
    """Where an emitted token comes from."""

    ACCEPTED = "accepted"
    """A drafted token that was kept: the coin."""
    CORRECTION = "correction"
    """The extra token after a rejection."""
    BONUS = "bonus"
    """The extra token after a fully kept path."""
    FORCED = "forced"
    """A token where the target leaves no choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """Where a law differs most from what it must be.

    Attributes:
        site: The emission site.
        position: Tokens kept before it.
        expected, found: Probability of what happens there, given that it is reached.
        difference: Of the two laws at that place, as a total variation.
        what: In words.
    """

    site: Site
    position: int
    expected: float
    found: float
    difference: float
    what: str


def discrepancy(table: DraftTable, expected: EmittedLaw, found: EmittedLaw) -> Discrepancy | None:
    """The site at which a table's law differs most; None where it does nowhere.

    Each site is read given that it is reached, so that a wrong coin does not look like a wrong
    correction.
    """
    best: tuple[float, float, Discrepancy] | None = None
    for place in _places(table):
        kept, node = place
        children = table.children.get(node, ())
        going = sorted({table.tokens[child] for child in children})
        reached = [_reach(law, kept) for law in (expected, found)]
        if min(reached) <= 0:
            continue
        laws = [
            _next(law, kept, going, len(table.target[0]), total)
            for law, total in zip((expected, found), reached, strict=True)
        ]
        coins = [law[: len(going)] for law in laws]
        extras = [law[len(going) :] for law in laws]
        forced = np.count_nonzero(table.target[node + 1] > 0) == 1
        coin_gap = float(np.abs(coins[0] - coins[1]).max(initial=0))
        totals = [extra.sum() for extra in extras]
        extra_gap = 0.0
        if min(totals) > 1e-12:
            extra_gap = float(np.abs(extras[0] / totals[0] - extras[1] / totals[1]).sum() / 2)
        weight = min(reached)
        if coin_gap:
            token = int(np.argmax(np.abs(coins[0] - coins[1])))
            stated = named(table, (going[token],))[0]
            before, after = float(coins[0][token]), float(coins[1][token])
            told = Discrepancy(
                site=Site.FORCED if forced else Site.ACCEPTED,
                position=len(kept),
                expected=before,
                found=after,
                difference=coin_gap,
                what=f"drafted token {stated} is kept with probability {after:.6g}, "
                f"and must be with {before:.6g}",
            )
            best = _larger(best, coin_gap * weight, told)
        if extra_gap * min(totals) > 0:
            shares = [extra / total for extra, total in zip(extras, totals, strict=True)]
            token = int(np.argmax(np.abs(shares[0] - shares[1])))
            before, after = float(shares[0][token]), float(shares[1][token])
            site = Site.CORRECTION if children else Site.BONUS
            stated = named(table, (token,))[0] if token < len(table.ids) else "an unknown id"
            told = Discrepancy(
                site=Site.FORCED if forced else site,
                position=len(kept),
                expected=before,
                found=after,
                difference=extra_gap,
                what=f"the {site} token is {stated} with probability {after:.6g}, "
                f"and must be with {before:.6g}",
            )
            best = _larger(best, extra_gap * min(totals) * weight, told)
    return None if best is None else best[2]


def _larger(
    best: tuple[float, float, Discrepancy] | None, weight: float, told: Discrepancy
) -> tuple[float, float, Discrepancy]:
    if best is None or weight > best[0]:
        return weight, told.difference, told
    return best


def _places(table: DraftTable) -> list[tuple[tuple[int, ...], int]]:
    """Every kept path with the node at its end; of equal paths, the first."""
    found: dict[tuple[int, ...], int] = {(): -1}
    paths: list[tuple[int, ...]] = []
    for node, token in enumerate(table.tokens):
        parent = (table.parents or ())[node]
        path = (*(paths[parent] if parent >= 0 else ()), token)
        paths.append(path)
        found.setdefault(path, node)
    return list(found.items())


def _reach(law: EmittedLaw, kept: tuple[int, ...]) -> float:
    return sum(
        share for out, share in law.items() if len(out) > len(kept) and out[: len(kept)] == kept
    )


def _next(
    law: EmittedLaw, kept: tuple[int, ...], going: list[int], support: int, total: float
) -> np.ndarray:
    """The law of what comes after a kept path: going on with a drafted token, or an extra one."""
    values = np.zeros(len(going) + support + 1)
    for emitted, share in law.items():
        if len(emitted) <= len(kept) or emitted[: len(kept)] != kept:
            continue
        token = emitted[len(kept)]
        if len(emitted) > len(kept) + 1 and token in going:
            values[going.index(token)] += share
        else:
            values[len(going) + (token if 0 <= token < support else support)] += share
    return values / total


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A named fault, and how much of what was found it explains.

    Attributes:
        name: From `draftproof.kernels.faults`.
        share: The share of rows at which it would have to act.
        explained: 1 − what is left of the differences, squared, ÷ the differences, squared.
    """

    name: str
    share: float
    explained: float

    @property
    def sentence(self) -> str:
        """In words."""
        if self.explained < NEAR:
            return "none of the named faults has such a law"
        if self.explained < 0.9:
            return (
                f"none of the named faults has this law; the nearest, which explains "
                f"{self.explained:.0%} of the difference, is: {self.name}"
            )
        how = "exactly" if self.explained > 0.9999 and abs(self.share - 1) < 1e-3 else "most like"
        acting = "" if abs(self.share - 1) < 0.02 else f", at a share of {self.share:.3g}"
        return f"the law is {how} that of this fault: {self.name}{acting}"


def suspect(rule: str, found: Iterable[tuple[DraftTable, EmittedLaw, EmittedLaw]]) -> Suspect:
    """The fault whose law fits best what was found on all tables.

    Args:
        rule: The rule that the kernel is said to be.
        found: Tables with the law that must be, and the law that was found.
    """
    gap = 0.0
    cross: dict[str, float] = defaultdict(float)
    square: dict[str, float] = defaultdict(float)
    for table, expected, measured in found:
        laws = fault_laws(rule, table)
        keys = set(expected) | set(measured)
        for law in laws.values():
            keys |= set(law)
        order = sorted(keys)
        null = np.array([expected.get(key, 0.0) for key in order])
        seen = np.array([measured.get(key, 0.0) for key in order]) - null
        gap += float(seen @ seen)
        for name, law in laws.items():
            change = np.array([law.get(key, 0.0) for key in order]) - null
            cross[name] += float(change @ seen)
            square[name] += float(change @ change)
    best = Suspect(name="none", share=0.0, explained=0.0)
    for name in cross:
        if square[name] <= 1e-18 or gap <= 0:
            continue
        share = min(1.0, max(0.0, cross[name] / square[name]))
        left = gap - 2 * share * cross[name] + share**2 * square[name]
        explained = 1 - left / gap
        # Of two that explain all, a fault of every row is the simpler one.
        simpler = explained > best.explained - 1e-6 and abs(share - 1) < abs(best.share - 1) - 1e-3
        if explained > best.explained + 1e-6 or simpler:
            best = Suspect(name=name, share=share, explained=explained)
    return best
