"""The exact law of a function of uniforms: every boundary of every coin is found by bisection.

What a kernel emits is a step function of its uniforms. Where each decision compares one uniform
with something that does not depend on the others' values (but may on their outcomes), the unit cube
falls into boxes in which the emission is constant, and its law is the boxes' volumes. The boxes are
found from outside, without a look at the kernel: along lines of each box, wherever the emission
changes, the change is bracketed by bisection to the precision of the uniforms, and the box is cut
there. A box counts as constant once lines along each coin and random points in it agree.

That the coins decide one at a time is itself tried: a kernel that compares uniforms with each
other, or hashes them, ends in ever more boxes, and is then said not to be resolved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Emissions = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From ``[points]`` tables and ``[points, coins]`` uniforms to ``[points]`` codes."""

BOXES_A_TABLE = 1000
"""More boxes than this mean that the coins do not decide one at a time."""

LEVELS = 40
"""So do more rounds of cutting than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Boxes of constant emission.

    Attributes:
        table: ``[boxes]`` each one's table.
        low, high: ``[boxes, coins]`` its sides.
        code: ``[boxes]`` what is emitted in it.
        unresolved: Tables that fell into too many boxes.
        calls: Points at which the kernel was asked.
    """

    table: np.ndarray
    low: np.ndarray
    high: np.ndarray
    code: np.ndarray
    unresolved: frozenset[int]
    calls: int

    def laws(self, tables: int) -> list[dict[int, float]]:
        """The probability of each code, by table."""
        volume = (self.high - self.low).prod(1)
        laws: list[dict[int, float]] = [{} for _ in range(tables)]
        for table, code, share in zip(
            self.table.tolist(), self.code.tolist(), volume.tolist(), strict=True
        ):
            laws[table][code] = laws[table].get(code, 0.0) + share
        return laws

    def boundaries(self, table: int) -> int:
        """Distinct boundaries inside (0, 1) of a table's coins."""
        own = self.low[self.table == table]
        return sum(len(np.unique(own[:, coin][own[:, coin] > 0])) for coin in range(own.shape[1]))


def decompose(
    emissions: Emissions,
    tables: int,
    coins: int,
    *,
    resolution: float,
    seed: int = 0,
    points: int = 48,
    random_points: int = 64,
) -> Boxes:
    """The boxes of constant emission of some tables, all at once.

    Args:
        emissions: Calls the kernel.
        tables: How many there are.
        coins: Uniforms of a row.
        resolution: Width to which a boundary is bracketed.
        seed: Of the points.
        points: Points on a line along each coin.
        random_points: Other points in a box.
    """
    random = np.random.default_rng(seed)
    table = np.arange(tables)
    low, high = np.zeros((tables, coins)), np.ones((tables, coins))
    done: list[tuple[np.ndarray, ...]] = []
    unresolved: set[int] = set()
    found = np.zeros(tables, np.int64)
    calls = 0

    def ask(at: np.ndarray, where: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += len(where)
        return emissions(at, where)

    for level in itertools.count():
        if level == LEVELS:
            unresolved |= set(table.tolist())
            break
        if not len(table):
            break
        lines, base = _lines(low, high, points, resolution, random)
        boxes = len(table)
        # The whole cube is looked at closely: a small corner of it lies on no line.
        few = random_points * (16 if level == 0 else 1)
        scattered = low[:, None] + (high - low)[:, None] * random.random((boxes, few, coins))
        probes = np.concatenate([lines.reshape(boxes, -1, coins), scattered], 1)
        count = probes.shape[1]
        codes = ask(np.repeat(table, count), probes.reshape(-1, coins)).reshape(boxes, count)
        # A sliver at a boundary is as thin as the bracket: rounding alone differs within it.
        sliver = (high - low).min(1) <= 8 * resolution
        constant = sliver | (codes == codes[:, :1]).all(1)
        done.append((table[constant], low[constant], high[constant], codes[constant, 0]))
        found += np.bincount(table[constant], minlength=tables)
        active = np.flatnonzero(~constant)
        if not len(active):
            break
        along = codes[active, : coins * points].reshape(len(active), coins, points)
        changes = along[:, :, 1:] != along[:, :, :-1]
        # The first coin along which anything changes; kernels toss their coins in order.
        coin = np.argmax(changes.any(2), 1)
        owner, step = np.nonzero(changes[np.arange(len(active)), coin])
        cut = active[owner]
        start = lines[cut, coin[owner], step]
        end = lines[cut, coin[owner], step + 1]
        left = along[owner, coin[owner], step]
        # Boxes whose lines are all constant, but not their scattered points.
        still = np.flatnonzero(~changes.any((1, 2)))
        if len(still):
            more = _walked(
                ask, table, base, scattered, codes[:, coins * points :], active[still], coins
            )
            cut = np.concatenate([cut, more[0]])
            start, end = np.concatenate([start, more[1]]), np.concatenate([end, more[2]])
            left = np.concatenate([left, more[3]])
        where, on, threshold = _bisected(ask, table, cut, start, end, left, resolution)
        # A box without a cut differed at one call and not at the next: no function of its coins.
        restless = np.setdiff1d(active, where)
        unresolved |= set(table[restless].tolist())
        active = np.setdiff1d(active, restless)
        if not len(active):
            break
        table, low, high = _split(table, low, high, active, where, on, threshold, resolution)
        found_now = found + np.bincount(table, minlength=tables)
        crowded = found_now > BOXES_A_TABLE
        if crowded.any():
            unresolved |= set(np.flatnonzero(crowded).tolist())
            keep = ~crowded[table]
            table, low, high = table[keep], low[keep], high[keep]
    parts = [np.concatenate([part[i] for part in done]) for i in range(4)]
    # Tables without an end of it have no law.
    whole = ~np.isin(parts[0], sorted(unresolved))
    parts = [part[whole] for part in parts]
    return Boxes(
        table=parts[0],
        low=parts[1],
        high=parts[2],
        code=parts[3],
        unresolved=frozenset(unresolved),
        calls=calls,
    )


def _lines(
    low: np.ndarray,
    high: np.ndarray,
    points: int,
    resolution: float,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Lines along each coin through one point of each box: ``[boxes, coins, points, coins]``."""
    boxes, coins = low.shape
    width = high - low
    base = low + width * random.uniform(0.05, 0.95, (boxes, coins))
    edge = np.minimum(2 * resolution, width / 4)
    lines = np.broadcast_to(base[:, None, None], (boxes, coins, points, coins)).copy()
    for coin in range(coins):
        inner = low[:, coin, None] + width[:, coin, None] * (
            (np.arange(points) + random.random((boxes, 1))) / (points + 1)
        )
        inner[:, 0] = low[:, coin] + edge[:, coin]
        inner[:, -1] = high[:, coin] - edge[:, coin]
        lines[:, coin, :, coin] = np.sort(inner, 1)
    return lines, base


def _walked(
    ask: Callable[[np.ndarray, np.ndarray], np.ndarray],
    table: np.ndarray,
    base: np.ndarray,
    scattered: np.ndarray,
    codes: np.ndarray,
    boxes: np.ndarray,
    coins: int,
) -> tuple[np.ndarray, ...]:
    """Brackets along one coin, found by walking from one point to a differing one coin by coin."""
    first = scattered[boxes, 0]
    other_index = np.argmax(codes[boxes] != codes[boxes, :1], 1)
    # A scattered point may agree with all others and only differ from the lines.
    same = codes[boxes, other_index] == codes[boxes, 0]
    first = np.where(same[:, None], base[boxes], first)
    other = scattered[boxes, other_index]
    route = np.stack(
        [np.where(np.arange(coins) < step, other, first) for step in range(coins + 1)], 1
    )
    seen = ask(np.repeat(table[boxes], coins + 1), route.reshape(-1, coins)).reshape(
        len(boxes), coins + 1
    )
    step = np.argmax(seen[:, 1:] != seen[:, :-1], 1)
    row = np.arange(len(boxes))
    return boxes, route[row, step], route[row, step + 1], seen[row, step]


def _bisected(
    ask: Callable[[np.ndarray, np.ndarray], np.ndarray],
    table: np.ndarray,
    owner: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    left: np.ndarray,
    resolution: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The boundaries between points that differ in one coin; `left` is emitted at the start."""
    ended: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    while len(owner):
        gap = np.abs(end - start)
        coin = np.argmax(gap, 1)
        wide = gap.max(1)
        middle = (start + end) / 2
        close = (wide <= resolution) | (middle == start).all(1) | (middle == end).all(1)
        row = np.arange(len(owner))
        ended.append((owner[close], coin[close], middle[row, coin][close]))
        going = ~close
        owner, start, end, middle = owner[going], start[going], end[going], middle[going]
        left = left[going]
        if not len(owner):
            break
        # Where something else lies between, its other boundary is found in a later round.
        same = (ask(table[owner], middle) == left)[:, None]
        start, end = np.where(same, middle, start), np.where(same, end, middle)
    where, on, threshold = (np.concatenate([part[i] for part in ended]) for i in range(3))
    return where, on, threshold


def _split(
    table: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    active: np.ndarray,
    where: np.ndarray,
    on: np.ndarray,
    threshold: np.ndarray,
    resolution: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The active boxes, each cut at its boundaries."""
    order = np.lexsort((threshold, where))
    where, on, threshold = where[order], on[order], threshold[order]
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    first = np.searchsorted(where, active, "left")
    last = np.searchsorted(where, active, "right")
    for box, begin, end in zip(active, first, last, strict=True):
        cuts, coin = threshold[begin:end], on[begin:end]
        # All cuts of one box are along one coin.
        apart = np.diff(cuts, prepend=-1.0) > 2 * resolution
        edges = np.unique(np.concatenate([[low[box, coin[0]]], cuts[apart], [high[box, coin[0]]]]))
        lows = np.repeat(low[box][None], len(edges) - 1, 0)
        highs = np.repeat(high[box][None], len(edges) - 1, 0)
        lows[:, coin[0]], highs[:, coin[0]] = edges[:-1], edges[1:]
        pieces.append((np.full(len(lows), table[box]), lows, highs))
    joined = [np.concatenate([piece[i] for piece in pieces]) for i in range(3)]
    return joined[0], joined[1], joined[2]
