"""A figure of the page: its rows, and the Vega-Lite specification that draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from draftproof.statistics import Estimate

Row = dict[str, Any]
Spec = dict[str, Any]

INTERVAL_COLUMNS = ("value", "low", "high", "n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure and the data that can be downloaded with it.

    Attributes:
        key: Its id on the page, and part of the name of its CSV file.
        title: What it shows, in a few words.
        note: Its n and how its intervals were made.
        columns: Columns of the CSV file, all of which each row has.
        rows: What is drawn; may have further keys, which only place the marks.
        spec: A Vega-Lite specification of one view without its data.
        keyed: Whether colours are explained by the key of the domains.
        reason: Why there is nothing to draw; else empty.
    """

    key: str
    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    spec: Spec
    keyed: bool = False
    reason: str = ""


def cells(estimate: Estimate) -> Row:
    """An estimate as `INTERVAL_COLUMNS`: rounded to what a figure can show; null where unknown."""
    return {
        "value": rounded(estimate.value),
        "low": rounded(estimate.low),
        "high": rounded(estimate.high),
        "n": estimate.n,
    }


def rounded(value: float, digits: int = 6) -> float | None:
    """The value to significant digits; None for NaN and infinity.

    Example:
        >>> rounded(0.123456789), rounded(1234567.8), rounded(float("nan"))
        (0.123457, 1234570.0, None)
    """
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def value_range(rows: Sequence[Row], *, floor: float | None = None) -> tuple[float, float]:
    """The ends of an axis that shows every value and interval, with a little room.

    Args:
        rows: What is drawn.
        floor: Where the axis begins instead, such as 0 for bars.
    """
    ends = [row[name] for row in rows for name in ("value", "low", "high")]
    known = [end for end in ends if end is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 0.1
    return (low - room if floor is None else min(floor, low), high + room)


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Places for labels of these values: as near to them as they can be, `gap` apart.

    Example:
        >>> spread([0.5, 0.51, 0.9], 0.1)
        [0.455, 0.555, 0.9]
    """
    order = sorted(range(len(values)), key=lambda i: values[i])
    groups: list[list[int]] = []
    for i in order:
        groups.append([i])
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], values, gap):
            groups[-2:] = [groups[-2] + groups[-1]]
    places = [0.0] * len(values)
    for group in groups:
        for place, i in zip(_places(group, values, gap), group, strict=True):
            places[i] = round(place, 9)
    return places


def _places(group: Sequence[int], values: Sequence[float], gap: float) -> list[float]:
    centre = sum(values[i] for i in group) / len(group)
    return [centre + gap * (k - (len(group) - 1) / 2) for k in range(len(group))]


def _overlap(
    below: Sequence[int], above: Sequence[int], values: Sequence[float], gap: float
) -> bool:
    distance = _places(above, values, gap)[0] - _places(below, values, gap)[-1]
    return distance < gap * (1 - 1e-9)
