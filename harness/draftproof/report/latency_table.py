"""How long users wait, as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from draftproof.report.labels import NOT_ESTIMABLE, Label
from draftproof.report.tables import Cell, Table
from draftproof.statistics.latency import PERCENTILES, Latency, Percentiles, latencies
from draftproof.trace import CaseRecord

FIGURES = {
    "time_to_first_token": ("time to first token, ms", 1000.0),
    "inter_token": ("inter-token latency, ms", 1000.0),
    "tokens_a_second": ("tokens a second of a request", 1.0),
    "server_time_to_first_token": ("time to first token by the server's clock, ms", 1000.0),
    "server_tokens_a_second": ("tokens a second by the server's clock", 1.0),
}
"""Each figure's name in tables, and by what its values are multiplied there."""

LATENCY_LINE = (
    "Times as the client sees them, where the server's clock is not named, under the load of this "
    "run. Inter-token latency: time between two pieces ÷ the tokens of the second, once a token. "
    "p99 of fewer than 100 values is the largest."
)


def latency_table(cases: Sequence[CaseRecord]) -> Table | None:
    """One row a side and figure; None where no answer told more than seconds."""
    rows = [
        (
            Cell(text=side),
            Cell(text=term),
            *(latency_cell(value * scale) for value in getattr(latency, name).values),
            Cell(text=str(getattr(latency, name).n)),
        )
        for side, latency in latencies(cases).items()
        for name, (term, scale) in FIGURES.items()
        if is_told(latency, name)
    ]
    if not rows:
        return None
    names = ("outputs", "figure", *(f"p{percent}" for percent in PERCENTILES), "n")
    return Table(columns=tuple(Label(name, name, 0) for name in names), rows=tuple(rows))


def latency_json(cases: Sequence[CaseRecord]) -> dict[str, Any]:
    """By side and figure: its percentiles, in seconds or tokens a second, and ``n``.

    What servers' own clocks say is there where one of them says anything.
    """
    return {
        side: {name: _json(getattr(latency, name)) for name in FIGURES if is_told(latency, name)}
        for side, latency in latencies(cases).items()
    }


def is_told(latency: Latency, name: str) -> bool:
    """Whether a figure has a row: of what servers' own clocks say, where one of them says it."""
    return not name.startswith("server_") or getattr(latency, name).n > 0


def latency_cell(value: float) -> Cell:
    """A time or a rate; a dash where it was not observed."""
    return Cell(text=NOT_ESTIMABLE if math.isnan(value) else f"{value:.1f}")


def _json(found: Percentiles) -> dict[str, Any]:
    values = {
        f"p{percent}": None if math.isnan(value) else value
        for percent, value in zip(PERCENTILES, found.values, strict=True)
    }
    return {**values, "n": found.n}
