"""What a run prints when it ends: a table per question, short."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from draftproof.report import labels
from draftproof.report.context import (
    ACCURACY_LINE,
    coupling_lines,
    engine_lines,
    failure_lines,
    findings_lines,
    hardware_line,
    interval_line,
    law_lines,
    note_lines,
    plain_lines,
    reference_lines,
    settings_line,
    study_lines,
    versions_line,
)
from draftproof.report.latency_table import LATENCY_LINE, latency_table
from draftproof.report.notes import run_notes
from draftproof.report.promise_table import (
    PROMISE_LINE,
    JudgedPromise,
    promise_lines,
    promise_table,
)
from draftproof.report.run_info import TOY_NOTICE, RunInfo
from draftproof.report.server_lines import server_lines
from draftproof.report.tables import (
    Table,
    accuracy_table,
    depth_table,
    domain_table,
    has_design_effect,
    not_estimable,
    part_lines,
    prompt_mean_lines,
    sample_table,
    study_length_line,
)
from draftproof.statistics import Finding, RunSummary, Study
from draftproof.statistics.metrics import STUDY_LENGTH
from draftproof.trace import CaseRecord

WIDTH = 120
"""Columns that running text is wrapped at."""


def terminal_report(
    run: RunInfo,
    summary: RunSummary,
    cases: Sequence[CaseRecord],
    found: Study | None = None,
    *,
    promised: Sequence[JudgedPromise] = (),
    complete: bool = True,
) -> str:
    """The terminal's report: domains, depths, what was measured with what, and what went wrong.

    Args:
        run: What the run was.
        summary: Its figures.
        cases: Its records, for the ids of those that failed.
        found: What it says on the study's questions, or None to leave them out.
        promised: What its budget promised beside what was measured, if anything.
        complete: Whether the run ended.

    Returns:
        Lines without a line end after the last. Intervals stand under their values.
    """
    # A column more and the table would not fit: the study's own length has a line of its own.
    blocks = [terminal_table(domain_table(summary, left_out=(STUDY_LENGTH,)))]
    if line := study_length_line(summary):
        blocks[0] += f"\n{_wrapped(line)}"
    if summary.overall.depth_profile:
        blocks.append(terminal_table(depth_table(summary.overall)))
    if has_design_effect(summary):
        blocks.append(terminal_table(sample_table(summary)))
    if (scored := accuracy_table(summary)) is not None:
        blocks.append(terminal_table(scored) + "\n" + _wrapped(ACCURACY_LINE))
    if (waits := latency_table(cases)) is not None:
        blocks.append(terminal_table(waits) + "\n" + _wrapped(LATENCY_LINE))
    if promised:
        blocks.append(terminal_table(promise_table(promised)) + "\n" + _wrapped(PROMISE_LINE))
    if found is not None and (lines := study_lines(found)):
        blocks.append("\n".join(_wrapped(line) for line in lines))
    if found is not None and found.findings:
        blocks.append(terminal_findings(found.findings, run))
    notes = [
        *not_estimable(summary),
        *engine_lines(run),
        *prompt_mean_lines(summary),
        interval_line(summary),
        settings_line(run),
        *note_lines(run),
        f"hardware: {hardware_line(run)}",
        f"versions: {versions_line(run)}",
        *([TOY_NOTICE] if run.uses_builtin else []),
    ]
    blocks.append("\n".join(_wrapped(note) for note in notes))
    judged = [
        *run_notes(run, summary, cases, complete=complete),
        *promise_lines(run, promised),
        *coupling_lines(None if found is None else found.coupling),
        *law_lines(run),
        *reference_lines(run),
        *plain_lines(cases),
        *server_lines(run, cases),
        *failure_lines(cases),
    ]
    if judged:
        blocks.append("\n".join(_wrapped(line) for line in judged))
    return "\n\n".join(blocks)


def terminal_findings(findings: Sequence[Finding], run: RunInfo) -> str:
    """The study's findings: each with its verdict, and under it those of its parts, and why."""
    lines = ["The findings of the study (arXiv 2604.14682) in this run:"]
    for finding in findings:
        heading = f"{finding.number}. {finding.said.upper()}: {finding.claim}"
        lines.append(textwrap.fill(heading, WIDTH, subsequent_indent="   ", break_on_hyphens=False))
        lines += [
            textwrap.fill(
                text,
                WIDTH,
                initial_indent="   ",
                subsequent_indent="   ",
                break_on_hyphens=False,
            )
            for text in (*part_lines(finding), finding.evidence)
        ]
    lines += [_wrapped(line) for line in findings_lines(run)]
    return "\n".join(lines)


def terminal_table(table: Table) -> str:
    """A table for a terminal, intervals under their values."""
    from tabulate import tabulate

    headers = [label.header for label in table.columns]
    cells = [
        [cell.text + (f"\n{cell.interval}" if cell.interval else "") for cell in row]
        for row in table.rows
    ]
    widths = [
        max(len(line) for cell in column for line in cell.split("\n"))
        for column in zip(headers, *cells, strict=True)
    ]
    # As rows: tabulate would make a column two characters wider than its header.
    text = tabulate(
        [headers, ["-" * width for width in widths], *cells],
        tablefmt="plain",
        disable_numparse=True,
        colalign=["left", *(["right"] * (len(headers) - 2)), _last_alignment(table)],
    )
    return "\n".join(line.rstrip() for line in text.splitlines())


def _last_alignment(table: Table) -> str:
    return "left" if table.columns[-1].term == labels.VERDICTS else "right"


def _wrapped(line: str) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
