"""Figures of other projects as lines of text."""

from __future__ import annotations

import math
from collections.abc import Mapping

from draftproof.statistics import PeerValue


def peer_lines(figures: Mapping[str, PeerValue]) -> list[str]:
    """One line a figure, names in one column.

    Example:
        >>> peer_lines({"draft_n": 8, "rate": 0.25, "by_position": (0.5, float("nan"))})
        ['  draft_n      8', '  rate         0.2500', '  by_position  0.5000, not available']
    """
    width = max((len(name) for name in figures), default=0)
    return [f"  {name:<{width}}  {_shown(value)}" for name, value in figures.items()]


def _shown(value: PeerValue) -> str:
    if isinstance(value, tuple):
        return ", ".join(_number(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_number(item)}" for key, item in value.items()) or "none"
    return _number(value)


def _number(value: float) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "not available"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
