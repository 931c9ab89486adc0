"""Every table of a report as rows of plain values: for CSV files, and as one JSON document."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from draftproof.errors import DraftproofError
from draftproof.files import write_text
from draftproof.report.labels import DEPTH_LABELS, METRIC_LABELS, OVERALL, VERDICT_LABELS
from draftproof.report.latency_table import latency_json
from draftproof.report.notes import prompt_counts, run_notes
from draftproof.report.page.figures import figures
from draftproof.report.page.source import PageSource
from draftproof.report.run_info import TOY_NOTICE
from draftproof.statistics import Estimate
from draftproof.statistics.counters import case_counters
from draftproof.trace import CaseRecord, DecodedOutput, Verdict

TABLES_VERSION = 1
"""Raised whenever a table or a column changes its name, its type or its meaning."""
KIND = "draftproof tables"
_INTERVAL = ("value", "low", "high", "n", "reason")

Value = str | int | float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A table of plain values; what is not known is None.

    Attributes:
        name: Its name, which is that of its CSV file.
        columns: Names of the columns.
        rows: The values of each row, in the columns' order.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    def as_objects(self) -> list[dict[str, Value]]:
        """A mapping a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def all_tables(source: PageSource) -> list[Rows]:
    """Every table of a report that has a row, in the order of the report.

    First those of the report itself (``figures``, ``depths``, ``verdicts``, ``prompts``,
    ``accuracy``, ``latency``, ``findings``, ``promises``, ``cases``), then what each chart of its
    page draws, under the name of its CSV file there (``chart-accepted-lengths`` …).
    """
    own = (
        _figures(source),
        _depths(source),
        _verdicts(source),
        _prompts(source),
        _accuracy(source),
        _latency(source),
        _findings(source),
        _promises(source),
        _cases(source.cases),
    )
    charts = (
        Rows(
            name=f"chart-{figure.key}",
            columns=tuple(name.replace(" ", "_") for name in figure.columns),
            rows=tuple(tuple(row.get(name) for name in figure.columns) for row in figure.rows),
        )
        for figure in figures(source)
        if not figure.reason
    )
    return [table for table in (*own, *charts) if table.rows]


def tables_document(source: PageSource) -> dict[str, Any]:
    """All tables as one JSON document, which `draftproof schema tables` describes."""
    run = source.run
    notes = run_notes(run, source.summary, source.cases, complete=source.complete)
    return {
        "schema_version": TABLES_VERSION,
        "kind": KIND,
        "run": {
            "name": run.name,
            "started": run.started,
            "fingerprint": run.fingerprint,
            "complete": source.complete,
            "target": _name(source, "target"),
            "draft": _name(source, "draft"),
            "engine": _name(source, "engine"),
            "versions": dict(run.versions),
            "hardware": dict(run.hardware),
            "notes": [*([TOY_NOTICE] if run.uses_builtin else []), *notes],
        },
        "tables": {table.name: table.as_objects() for table in all_tables(source)},
    }


def write_csv(folder: Path, source: PageSource) -> list[Path]:
    """Writes a CSV file a table (RFC 4180, UTF-8, a line of names first; unknown values empty).

    Args:
        folder: Made if it is not there; files of the same names are replaced.
        source: The run and its figures.

    Raises:
        DraftproofError: A file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DraftproofError(
            f"cannot make the folder {folder}: {error.strerror}; give another --csv"
        ) from error
    written = []
    for table in all_tables(source):
        path = folder / f"{table.name}.csv"
        write_text(path, csv_text(table))
        written.append(path)
    return written


def csv_text(table: Rows) -> str:
    """A table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(table.columns)
    writer.writerows(["" if value is None else value for value in row] for row in table.rows)
    # Text of others may hold halves of characters, which no file in UTF-8 can.
    return text.getvalue().encode("utf-8", "replace").decode("utf-8")


def _name(source: PageSource, role: str) -> str:
    return str(source.run.models.get(role, {}).get("name", source.run.config.get(role)))


def _figures(source: PageSource) -> Rows:
    by_domain, overall = source.costs
    rows: list[tuple[Value, ...]] = []
    for domain, group in {**source.summary.domains, OVERALL: source.summary.overall}.items():
        cost = overall if domain == OVERALL else by_domain.get(domain)
        estimates = {name: group.metrics[name] for name in METRIC_LABELS}
        if cost is not None:
            estimates |= {
                "plain_seconds_per_token": cost.plain,
                "speculative_seconds_per_token": cost.speculative,
                "speedup": cost.speedup,
            }
        for name, estimate in estimates.items():
            rows.append(
                (
                    domain,
                    name,
                    *_cells(estimate),
                    group.at_least.get(name),
                    _known(estimate.design_effect),
                    _known(estimate.effective_n),
                )
            )
    columns = ("domain", "figure", *_INTERVAL, "at_least", "design_effect", "effective_n")
    return Rows(name="figures", columns=columns, rows=tuple(rows))


def _depths(source: PageSource) -> Rows:
    groups = {**source.summary.domains, OVERALL: source.summary.overall}
    return Rows(
        name="depths",
        columns=("domain", "depth", "nodes", "figure", *_INTERVAL),
        rows=tuple(
            (domain, depth.depth, depth.nodes, name, *_cells(depth.metrics[name]))
            for domain, group in groups.items()
            for depth in group.depth_profile
            for name in DEPTH_LABELS
        ),
    )


def _verdicts(source: PageSource) -> Rows:
    groups = {**source.summary.domains, OVERALL: source.summary.overall}
    return Rows(
        name="verdicts",
        columns=("domain", "verdict", "cases"),
        rows=tuple(
            (domain, verdict, getattr(group.verdicts, verdict))
            for domain, group in groups.items()
            for verdict in VERDICT_LABELS
        ),
    )


def _prompts(source: PageSource) -> Rows:
    return Rows(
        name="prompts",
        columns=("domain", "measured", "errors", "not_run", "given", "of_data"),
        rows=tuple(
            (domain, count.measured, count.errors, count.not_run, count.given, count.of_data)
            for domain, count in prompt_counts(source.run, source.cases).items()
        ),
    )


def _accuracy(source: PageSource) -> Rows:
    rows: list[tuple[Value, ...]] = []
    for domain, group in {**source.summary.domains, OVERALL: source.summary.overall}.items():
        if (found := group.accuracy) is not None:
            for side, share in (("plain", found.plain), ("speculative", found.speculative)):
                counts = (found.gained, found.lost, found.cut)
                rows.append(
                    (domain, side, share.value, share.low, share.high, share.prompts, *counts)
                )
    columns = ("domain", "outputs", "value", "low", "high", "n", "gained", "lost", "cut")
    return Rows(name="accuracy", columns=columns, rows=tuple(rows))


def _latency(source: PageSource) -> Rows:
    found = latency_json(source.cases)
    names = ("p50", "p90", "p99", "n")
    return Rows(
        name="latency",
        columns=("outputs", "figure", *names),
        rows=tuple(
            (side, figure, *(values[name] for name in names))
            for side, by_figure in found.items()
            for figure, values in by_figure.items()
        ),
    )


def _findings(source: PageSource) -> Rows:
    return Rows(
        name="findings",
        columns=("number", "claim", "verdict", "said", "evidence"),
        rows=tuple(
            (each.number, each.claim, str(each.verdict), each.said, each.evidence)
            for each in source.study.findings
        ),
    )


def _promises(source: PageSource) -> Rows:
    ends = ("value", "low", "high")
    return Rows(
        name="promises",
        columns=(
            "domain",
            "figure",
            *(f"promised_{end}" for end in ends),
            *(f"measured_{end}" for end in ends),
        ),
        rows=tuple(
            (
                each.domain,
                each.figure,
                *(_known(getattr(each.promised, end)) for end in ends),
                *(_known(getattr(each.measured, end)) for end in ends),
            )
            for each in source.promised
        ),
    )


def _cases(cases: Sequence[CaseRecord]) -> Rows:
    return Rows(
        name="cases",
        columns=(
            "case_id",
            "domain",
            "verdict",
            "prompt_tokens",
            "steps",
            "drafted",
            "accepted",
            "plain_tokens",
            "plain_seconds",
            "speculative_tokens",
            "speculative_seconds",
        ),
        rows=tuple(
            (
                case.case_id,
                case.domain,
                str(case.verdict),
                case.prompt_tokens,
                *_counts(case),
                *_output(case.plain),
                *_output(case.speculative),
            )
            for case in sorted(cases, key=lambda case: case.case_id)
        ),
    )


def _counts(case: CaseRecord) -> tuple[int | None, int | None, int | None]:
    """Steps, drafted and accepted tokens; None where they are not told or contradict themselves."""
    if case.verdict is Verdict.ERROR or not (found := case_counters([case])):
        return None, None, None
    return found[0].steps, found[0].drafted, found[0].accepted


def _output(output: DecodedOutput | None) -> Iterator[Value]:
    yield None if output is None else len(output.token_ids)
    yield None if output is None else _known(output.seconds)


def _cells(estimate: Estimate) -> tuple[Value, ...]:
    ends = (estimate.value, estimate.low, estimate.high)
    return (*map(_known, ends), estimate.n, estimate.reason or None)


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
