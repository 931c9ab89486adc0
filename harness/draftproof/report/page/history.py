"""The page of a history: a chart for each line, with intervals and change points."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from draftproof.files import write_asked
from draftproof.history.trend import Series, Trend
from draftproof.report.history_text import (
    commit_text,
    label_of,
    method_line,
    remarks,
    series_lines,
    series_title,
)
from draftproof.report.page import specs
from draftproof.report.page.document import script_json
from draftproof.report.page.figure import INTERVAL_COLUMNS, Figure, Row, rounded, value_range
from draftproof.report.page.library import compressed_library
from draftproof.report.page.specs import chart_data
from draftproof.report.page.templates import asset, render

DRAWN_RUNS = 400
"""Runs of a series that are drawn, the newest: more are no wider than their marks."""
DRAWN_SERIES = 12


def write_history_page(
    path: Path, found: Trend, notes: Sequence[str] = (), command: str = ""
) -> Path:
    """Writes the page, whole or not at all.

    Args:
        path: The file.
        found: The trend.
        notes: What must be said of the history.
        command: What made it.

    Raises:
        DraftproofError: It cannot be written, or the charting library is missing.
    """
    page = history_html(found, notes, command)
    write_asked(path, page.encode("utf-8", "replace").decode("utf-8"))
    return path


def history_html(found: Trend, notes: Sequence[str] = (), command: str = "") -> str:
    """The page: one HTML document that asks for nothing but itself."""
    label = label_of(found.metric)
    drawn = found.series[:DRAWN_SERIES]
    by_series = [_figures(series, index) for index, series in enumerate(drawn, start=1)]
    every = [figure for own in by_series for figure in own]
    runs = sum(len(series.runs) for series in found.series)
    return render(
        "history.html",
        term=label.term,
        run_line=f"{runs} runs · {len(found.series)} series · α {found.alpha:g}",
        notes=list(notes),
        shown=[
            {
                "short": series.branch or f"series {index}",
                "title": series_title(series, index, len(found.series)),
                "lines": series_lines(series, last=DRAWN_RUNS),
                "drawn": [figure.key for figure in own],
                "facts": sorted(series.facts.items()),
            }
            for index, (series, own) in enumerate(zip(drawn, by_series, strict=True), start=1)
        ],
        more=len(found.series) - len(drawn),
        figures={figure.key: figure for figure in every},
        method=method_line(found),
        command=command,
        scripts=[asset("theme.js"), asset("charts.js")],
        data=script_json(_data(found.metric, every)),
        library=base64.b64encode(compressed_library()).decode("ascii"),
    )


def _data(metric: str, shown: Sequence[Figure]) -> dict[str, Any]:
    return {
        "name": f"history-{metric}",
        "figures": chart_data(shown),
    }


def _figures(series: Series, index: int) -> list[Figure]:
    return [_figure(series, index, scope) for scope in series.scopes]


def _figure(series: Series, index: int, scope: str) -> Figure:
    label = label_of(series.metric)
    first = max(0, len(series.runs) - DRAWN_RUNS)
    tested = set(series.tested)
    rows: list[Row] = []
    for place, run in list(enumerate(series.runs))[first:]:
        figure = series.figure(run, scope)
        if figure is not None:
            rows.append(
                {
                    "run": place + 1,
                    "commit": commit_text(run),
                    "time": run.moment,
                    "value": rounded(figure.value),
                    "low": None if figure.low is None else rounded(figure.low),
                    "high": None if figure.high is None else rounded(figure.high),
                    "n": figure.n,
                    "tested": "yes" if place in tested else "no",
                    "remarks": ", ".join(remarks(run)),
                }
            )
    own = [place for place in series.places if place.scope == scope]
    levels = _levels(series, scope, first)
    kinds = sorted({str(row["tested"]) for row in rows})
    return Figure(
        key=f"series-{index}-{series.scopes.index(scope)}",
        title=f"{label.term[:1].upper()}{label.term[1:]}, {scope}",
        note=f"{len(rows)} runs in the order of their commits; 95% intervals over prompts.",
        columns=("run", "commit", "time", *INTERVAL_COLUMNS, "tested", "remarks"),
        rows=tuple(rows),
        spec=specs.trend(value_range(rows), label.term, levels, bool(own), kinds),
    )


def _levels(series: Series, scope: str, first: int) -> list[Row]:
    """From where to where the line had which level: medians between change points."""
    own = [place for place in series.places if place.scope == scope]
    if not own:
        return []
    starts = [series.runs.index(place.after) for place in own]
    ends = [first, *starts, len(series.runs)]
    values = [own[0].change.before, *(place.change.after for place in own)]
    return [
        {"from": max(a, first) + 0.5, "to": b + 0.5, "level": rounded(value)}
        for a, b, value in zip(ends, ends[1:], values, strict=False)
        if b > first
    ]
