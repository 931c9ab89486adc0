"""Runs beside each other by how many requests were in flight: verdicts, acceptance and time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from draftproof.engines.names import AT_ONCE
from draftproof.report.labels import METRIC_LABELS, VERDICT_LABELS, Label
from draftproof.report.latency_table import FIGURES, is_told, latency_cell, latency_json
from draftproof.report.run_info import RunInfo
from draftproof.report.tables import Cell, Table, estimate_cell, verdict_lines
from draftproof.statistics import Estimate, RunSummary
from draftproof.statistics.latency import PERCENTILES, SIDES, latencies
from draftproof.trace import CaseRecord

METRICS = ("acceptance_rate_drafted", "accepted_length", "block_efficiency")

CONCURRENCY_LINE = (
    "Each row is a run of its own. Intervals are 95% intervals over prompts; two runs of the same "
    "prompts are compared by `draftproof compare`, which pairs them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRun:
    """A run, with what is shown of it.

    Attributes:
        run: What it was.
        summary: Its figures.
        cases: Its records.
        complete: Whether it came to its end.
    """

    run: RunInfo
    summary: RunSummary
    cases: Sequence[CaseRecord]
    complete: bool = True

    @property
    def in_flight(self) -> int:
        """Requests that were in flight at once; of runs in batches, prompts decoded at once."""
        at_once = self.run.models.get("engine", {}).get(AT_ONCE)
        return int(self.run.config.get("concurrency") or 1) if at_once is None else int(at_once)


def by_concurrency(runs: Sequence[LoadedRun]) -> list[LoadedRun]:
    """The runs in the order of their requests in flight; equal ones as they were given."""
    return sorted(runs, key=lambda run: run.in_flight)


def concurrency_table(runs: Sequence[LoadedRun]) -> Table:
    """One row a run: its cases by verdict, and acceptance with intervals."""
    rows = []
    for loaded in by_concurrency(runs):
        overall = loaded.summary.overall
        rows.append(
            (
                Cell(text=str(loaded.in_flight)),
                Cell(text=str(len(loaded.cases))),
                *(
                    estimate_cell(
                        overall.metrics[name],
                        METRIC_LABELS[name],
                        "≤" if name in overall.at_least else "",
                    )
                    for name in METRICS
                ),
                Cell(text=", ".join(verdict_lines(overall.verdicts))),
            )
        )
    before, after = ("in flight", "cases"), "verdicts"
    return Table(
        columns=(
            *(Label(name, name, 0) for name in before),
            *(METRIC_LABELS[name] for name in METRICS),
            Label(after, after, 0),
        ),
        rows=tuple(rows),
    )


def concurrency_times(runs: Sequence[LoadedRun]) -> Table | None:
    """One row a figure, side and run; None where no run was told when its tokens arrived."""
    ordered = [(loaded.in_flight, latencies(loaded.cases)) for loaded in by_concurrency(runs)]
    rows = [
        (
            Cell(text=str(in_flight)),
            Cell(text=side),
            Cell(text=term),
            *(latency_cell(value * scale) for value in getattr(found[side], name).values),
            Cell(text=str(getattr(found[side], name).n)),
        )
        for name, (term, scale) in FIGURES.items()
        for side in SIDES
        for in_flight, found in ordered
        if side in found and is_told(found[side], name)
    ]
    if not rows:
        return None
    percents = (f"p{percent}" for percent in PERCENTILES)
    names = ("in flight", "outputs", "figure", *percents, "n")
    return Table(columns=tuple(Label(name, name, 0) for name in names), rows=tuple(rows))


def concurrency_notes(runs: Sequence[LoadedRun]) -> list[str]:
    """What else differs between the runs, and which of them did not come to their end."""
    notes = [
        f"{loaded.run.name} did not come to its end: its row is of the cases that it came to"
        for loaded in runs
        if not loaded.complete
    ]
    first = runs[0].run
    for other in (loaded.run for loaded in runs[1:]):
        unlike = [
            key
            for key in sorted(first.config.keys() | other.config.keys())
            if key not in ("concurrency", "batch")
            and first.config.get(key) != other.config.get(key)
        ]
        for what, one, two in (
            ("the prompts", first.prompts, other.prompts),
            ("the machine", first.hardware, other.hardware),
            ("the models", _loaded(first), _loaded(other)),
        ):
            if one != two:
                unlike.append(what)
        if unlike:
            notes.append(
                f"{other.name} differs from {first.name} in more than the load: {', '.join(unlike)}"
            )
    return notes


def concurrency_json(runs: Sequence[LoadedRun]) -> list[dict[str, Any]]:
    """A run each: its requests in flight, cases by verdict, acceptance and times."""
    return [
        {
            "run": loaded.run.name,
            "in_flight": loaded.in_flight,
            "complete": loaded.complete,
            "cases": len(loaded.cases),
            "verdicts": {
                name: getattr(loaded.summary.overall.verdicts, name) for name in VERDICT_LABELS
            },
            "metrics": {
                name: _estimate_json(loaded.summary.overall.metrics[name]) for name in METRICS
            },
            "latency": latency_json(loaded.cases),
        }
        for loaded in by_concurrency(runs)
    ]


def _loaded(run: RunInfo) -> dict[str, Any]:
    return {role: run.models.get(role, {}).get("sha256") for role in ("target", "draft")}


def _estimate_json(found: Estimate) -> dict[str, Any]:
    def told(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {"value": told(found.value), "low": told(found.low), "high": told(found.high)}
