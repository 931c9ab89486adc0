"""``summary.md``: a report fit for a comment on a pull request. Prompts' texts are not in it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from draftproof.report.context import (
    ACCURACY_LINE,
    coupling_lines,
    engine_lines,
    fact_name,
    fact_text,
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
    Cell,
    Table,
    accuracy_table,
    depth_table,
    domain_table,
    findings_table,
    has_design_effect,
    not_estimable,
    prompt_mean_lines,
    sample_table,
    verdict_lines,
)
from draftproof.statistics import RunSummary, Study
from draftproof.trace import CaseRecord
from draftproof.wording import counted


def markdown_report(
    run: RunInfo,
    summary: RunSummary,
    cases: Sequence[CaseRecord],
    found: Study | None = None,
    *,
    promised: Sequence[JudgedPromise] = (),
    complete: bool = True,
) -> str:
    """The text of ``summary.md``: what decides first, the rest folded away.

    Args:
        run: What the run was.
        summary: Its figures.
        cases: Its records, for the ids of those that failed.
        found: What it says on the study's questions, or None to leave them out.
        promised: What its budget promised beside what was measured, if anything.
        complete: Whether the run ended.
    """
    verdicts = verdict_lines(summary.overall.verdicts)
    blocks = [
        f"# draftproof: {inline(run.name)}",
        f"{inline(settings_line(run))}, started {inline(run.started)}.",
        "\n".join(f"- {inline(line)}" for line in note_lines(run)),
        *([f"**{TOY_NOTICE}**"] if run.uses_builtin else []),
        "## Verdicts",
        f"{counted(summary.overall.verdicts.cases, 'case')}: {', '.join(verdicts) or 'none'}.",
        "\n".join(
            f"- {inline(line)}"
            for line in [
                *run_notes(run, summary, cases, complete=complete),
                *promise_lines(run, promised),
                *coupling_lines(None if found is None else found.coupling),
                *law_lines(run),
                *reference_lines(run),
                *plain_lines(cases),
                *server_lines(run, cases),
                *failure_lines(cases),
            ]
        ),
        "## By domain",
        markdown_table(domain_table(summary)),
        "\n".join(
            f"- {inline(line)}"
            for line in [
                *not_estimable(summary),
                *engine_lines(run),
                *prompt_mean_lines(summary),
            ]
        ),
        interval_line(summary),
    ]
    if (scored := accuracy_table(summary)) is not None:
        blocks += ["## Accuracy", markdown_table(scored), ACCURACY_LINE]
    if (waits := latency_table(cases)) is not None:
        blocks += ["## Latency", markdown_table(waits), LATENCY_LINE]
    if promised:
        blocks += [
            "## Promised and measured",
            markdown_table(promise_table(promised)),
            PROMISE_LINE,
        ]
    if found is not None and (lines := study_lines(found)):
        blocks += ["\n".join(f"- {inline(line)}" for line in lines)]
    if found is not None and found.findings:
        blocks += [
            "## Findings of the study",
            markdown_table(findings_table(found.findings)),
            "\n".join(f"- {inline(line)}" for line in findings_lines(run)),
        ]
    if summary.overall.depth_profile:
        blocks += _folded("By depth", markdown_table(depth_table(summary.overall)))
    if has_design_effect(summary):
        blocks += _folded("Effective sample size", markdown_table(sample_table(summary)))
    blocks += _folded("Environment", _environment(run))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _folded(title: str, text: str) -> list[str]:
    """A section that opens on a click; blank lines around its text let Markdown render it."""
    return [f"<details><summary>{title}</summary>", text, "</details>"]


def markdown_table(table: Table) -> str:
    """A pipe table, intervals in brackets beside their values."""
    alignments = [":---" if _is_text(table, i) else "---:" for i in range(len(table.columns))]
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    lines = [[label.header.replace("\n", " ") for label in table.columns], alignments, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _is_text(table: Table, column: int) -> bool:
    return column == 0 or any(row[column].text[:1].isalpha() for row in table.rows)


def _cell(cell: Cell) -> str:
    text = inline(", ".join(cell.text.splitlines()))
    return f"{text} [{cell.interval}]" if cell.interval else text


def _environment(run: RunInfo) -> str:
    lines = [f"- {role}: {_facts(facts)}" for role, facts in run.models.items()]
    lines += [
        f"- hardware: {hardware_line(run)}",
        f"- versions: {versions_line(run)}",
        f"- fingerprint: {run.fingerprint}",
        f"- command: {_code(shlex.join(run.command))}",
    ]
    return "\n".join(line if line.startswith("- command") else inline(line) for line in lines)


def _facts(facts: Mapping[str, Any]) -> str:
    told = []
    for key, value in facts.items():
        name, text = fact_name(key), fact_text(value)
        told.append(f"{name} ({text})" if isinstance(value, list | tuple) else f"{name} {text}")
    return ", ".join(told) or "not recorded"


def inline(text: str) -> str:
    """Text that cannot end a table cell or a line, nor start markup that hides it."""
    text = " ".join(text.split())
    for mark in ("\\", "|", "<", "*", "`"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _code(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        return "not recorded"
    fence = "`" * (1 + max((len(run) for run in _backtick_runs(text)), default=0))
    padding = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def _backtick_runs(text: str) -> list[str]:
    return [run for run in "".join(c if c == "`" else " " for c in text).split() if run]
