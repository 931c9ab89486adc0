"""A gate's change drawn on a strip: its interval, no change, and the margins, in percent of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from draftproof.gate.judging import Judgement

_PADDING = 0.06
"""Of the strip, left free at either end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Where the marks of one gate lie, each from 0 (left) to 100 (right).

    Attributes:
        zero: No change.
        value: The measured change.
        low: Lower end of its interval; the strip's own where none bounds it.
        high: Upper end, likewise.
        margins: The margins that are watched.
    """

    zero: float
    value: float
    low: float
    high: float
    margins: tuple[float, ...]


def strips(judgements: Sequence[Judgement], *, gated: bool) -> list[Strip | None]:
    """A strip a judgement, those of one gate on one scale; None where there is no change to draw.

    Args:
        judgements: In the order of the table.
        gated: Whether the margins mean anything.
    """
    return [
        _strip(judgement, _range(judgement, judgements, gated=gated), gated=gated)
        for judgement in judgements
    ]


def _range(
    judgement: Judgement, judgements: Sequence[Judgement], *, gated: bool
) -> tuple[float, float]:
    same = [other for other in judgements if other.gate.text == judgement.gate.text]
    marks = [0.0, *(_margins(judgement) if gated else ())]
    for other in same:
        marks += [other.change.value, other.change.low, other.change.high]
    known = [mark for mark in marks if math.isfinite(mark)]
    span = (max(known) - min(known)) or 1.0
    return min(known) - _PADDING * span, max(known) + _PADDING * span


def _strip(judgement: Judgement, ends: tuple[float, float], *, gated: bool) -> Strip | None:
    change = judgement.change
    if not math.isfinite(change.value) or not judgement.gate.needs_baseline:
        return None
    low, high = ends

    def place(mark: float) -> float:
        return round(100 * (min(max(mark, low), high) - low) / (high - low), 2)

    return Strip(
        zero=place(0.0),
        value=place(change.value),
        low=place(change.low),
        high=place(change.high),
        margins=tuple(place(margin) for margin in _margins(judgement)) if gated else (),
    )


def _margins(judgement: Judgement) -> list[float]:
    gate = judgement.gate
    return [margin for margin in (-gate.fall, gate.rise) if math.isfinite(margin)]
