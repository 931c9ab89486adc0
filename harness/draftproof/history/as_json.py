"""A trend as JSON values, for programs."""

from __future__ import annotations

from typing import Any

from draftproof.history.entry import Figure, HistoryEntry
from draftproof.history.trend import Series, Trend

TREND_VERSION = 1
"""Raised whenever a field of `trend_json` changes its name, its type or its meaning."""


def trend_json(found: Trend, notes: tuple[str, ...] = ()) -> dict[str, Any]:
    """The trend as JSON values, every run of it; `draftproof schema trend` describes them."""
    return {
        "schema_version": TREND_VERSION,
        "metric": found.metric,
        "alpha": found.alpha,
        "lines_tested": found.lines,
        "notes": list(notes),
        "series": [_series(series) for series in found.series],
    }


def _series(series: Series) -> dict[str, Any]:
    return {
        "branch": series.branch,
        "facts": dict(series.facts),
        "scopes": list(series.scopes),
        "runs": [
            _run(series, run, is_tested=row in set(series.tested))
            for row, run in enumerate(series.runs)
        ],
        "change_points": [
            {
                "scope": place.scope,
                "before": place.change.before,
                "after": place.change.after,
                "p_value": place.change.p_value,
                "last_commit_before": place.before.provenance.commit,
                "first_commit_after": place.after.provenance.commit,
                "also_changed": list(place.also),
            }
            for place in series.places
        ],
        "runs_needed": series.too_few or None,
    }


def _run(series: Series, run: HistoryEntry, *, is_tested: bool) -> dict[str, Any]:
    return {
        "name": run.name,
        "started": run.started,
        "provenance": run.provenance.to_json(),
        "versions": dict(run.versions),
        "prompts_measured": run.measured,
        "prompts_missing": sum(run.missing.values()),
        "verdicts": dict(run.verdicts),
        "gates": run.gates or None,
        "is_tested": is_tested,
        "figures": {
            scope: _figure(figure)
            for scope in series.scopes
            if (figure := series.figure(run, scope)) is not None
        },
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}
