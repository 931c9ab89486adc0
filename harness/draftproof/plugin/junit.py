"""What a run says in the file of ``--junitxml``, where CI systems find it.

Figures are properties; each gate is a test case beside those of the prompts, so that a gate that
fails is a failed test where the tests of a pipeline are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

from draftproof.report import Report
from draftproof.report.labels import OVERALL, VERDICT_LABELS
from draftproof.report.notes import prompt_counts
from draftproof.report.run_info import TOY_NOTICE
from draftproof.statistics import Estimate, GroupSummary
from draftproof.statistics.counters import case_counters
from draftproof.trace import CaseRecord, Verdict

if TYPE_CHECKING:
    from draftproof.gate import Comparison
    from draftproof.gate.judging import Judgement

Properties = Iterator[tuple[str, str]]
Phase = Literal["setup", "call", "teardown"]
Result = Literal["passed", "failed", "skipped"]

PREFIX = "draftproof"
GATES = "draftproof gates"
"""The class that test cases of gates are of."""


def add_properties(config: pytest.Config, properties: Properties) -> None:
    """Add properties to the test suite of ``--junitxml``; nothing is done without it."""
    adders = [
        add
        for plugin in config.pluginmanager.get_plugins()
        if callable(add := getattr(plugin, "add_global_property", None))
    ]
    for name, value in properties if adders else ():
        for add in adders:
            add(name, value)


def add_gates(config: pytest.Config, comparison: Comparison | None, problem: str = "") -> None:
    """Add a test case for each gate to ``--junitxml``; nothing is done without it.

    A gate that fails is a failure with what was measured; one that is inconclusive or has no
    verdict is skipped, with what would decide; where nothing could be judged, one test case is an
    error.
    """
    from draftproof.report.comparison_text import judgement_line

    files = [
        plugin
        for plugin in config.pluginmanager.get_plugins()
        if hasattr(plugin, "add_global_property") and hasattr(plugin, "pytest_runtest_logreport")
    ]
    cases: list[tuple[str, Phase, Result, str]] = []
    if problem:
        cases.append(("gates", "setup", "failed", problem))
    if comparison is not None and comparison.outcome is not None:
        cases += [
            (
                _gate_name(judgement),
                "call",
                _AS_TEST[judgement.outcome],
                judgement_line(judgement, comparison),
            )
            for judgement in comparison.judgements
        ]
    for file in files:
        for name, when, outcome, line in cases:
            for report in _as_reports(name, when, outcome, line):
                file.pytest_runtest_logreport(report)


def gate_properties(comparison: Comparison | None, problem: str = "") -> Properties:
    """What the gates say, all together and one by one.

    Args:
        comparison: What was judged, or None.
        problem: Why nothing could be.

    Yields:
        ``draftproof.gates`` (pass, fail, inconclusive or no verdict), and for each gate and scope
        ``draftproof.gate.1`` (such as ``acceptance_rate:-0.02@code``) with ``.outcome``, ``.now``,
        ``.change``, ``.low``, ``.high`` and ``.reason``, as far as there are any.
    """
    if problem:
        yield f"{PREFIX}.gates", "error"
        yield f"{PREFIX}.gates.reason", problem
    if comparison is None or comparison.outcome is None:
        return
    yield f"{PREFIX}.gates", str(comparison.outcome)
    for index, judgement in enumerate(comparison.judgements, start=1):
        prefix = f"{PREFIX}.gate.{index}"
        yield prefix, _gate_name(judgement)
        yield f"{prefix}.outcome", str(judgement.outcome)
        figures = {"now": judgement.now}
        if judgement.gate.bound is None:
            change = judgement.change
            figures |= {"change": change.value, "low": change.low, "high": change.high}
        for name, value in figures.items():
            if math.isfinite(value):
                yield f"{prefix}.{name}", f"{value:.6g}"
        if judgement.reason:
            yield f"{prefix}.reason", judgement.reason


def suite_properties(report: Report) -> Properties:
    """What a run was, and the figures of each domain and of all prompts.

    Yields:
        Names such as ``draftproof.code.acceptance_probability`` (and ``.low``, ``.high``, ``.n`` of
        it; what cannot be estimated is left out), ``draftproof.code.identical``,
        ``draftproof.finding.1`` and ``draftproof.target``.
    """
    run = report.run
    yield f"{PREFIX}.name", run.name
    yield f"{PREFIX}.fingerprint", run.fingerprint
    for role in ("target", "draft"):
        yield f"{PREFIX}.{role}", str(run.models.get(role, {}).get("name", run.config.get(role)))
    engine = run.models.get("engine", {}).get("name", run.config.get("engine"))
    yield f"{PREFIX}.engine", str(engine)
    # Another engine need not have seen the others; what it says of its drafts is in the notes.
    for name in ("tree", "rule", "seed") if engine == "reference" else ("seed",):
        yield f"{PREFIX}.{name}", str(run.config.get(name))
    for name, value in {**run.versions, **run.hardware}.items():
        yield f"{PREFIX}.environment.{name}", str(value)
    notes = [*([TOY_NOTICE] if run.uses_builtin else []), *report.notes]
    for index, line in enumerate(notes, start=1):
        yield f"{PREFIX}.note.{index}", line
    for name, count in prompt_counts(run, report.cases).items():
        for key, number in count.to_json().items():
            yield f"{PREFIX}.{name}.prompts.{key}", str(number)
    for name, group in {**report.summary.domains, OVERALL: report.summary.overall}.items():
        yield from _group(f"{PREFIX}.{name}", group)
    if run.law_test is not None:
        yield f"{PREFIX}.law_test", str(run.law_test["verdict"])
    for finding in report.study.findings:
        yield f"{PREFIX}.finding.{finding.number}", finding.said


def case_properties(record: CaseRecord) -> Properties:
    """What a test measured: its verdict, counts and seconds; counts only where there are any."""
    yield f"{PREFIX}.verdict", str(record.verdict)
    if record.verdict is Verdict.ERROR or record.speculative is None:
        return
    for counters in case_counters([record]):
        yield f"{PREFIX}.steps", str(counters.steps)
        if counters.most_steps != counters.steps:
            yield f"{PREFIX}.most_steps", str(counters.most_steps)
        yield f"{PREFIX}.drafted", str(counters.drafted)
        yield f"{PREFIX}.accepted", str(counters.accepted)
    yield f"{PREFIX}.tokens", str(len(record.speculative.token_ids))
    yield f"{PREFIX}.speculative_seconds", f"{record.speculative.seconds:.6g}"
    if record.plain is not None:
        yield f"{PREFIX}.plain_seconds", f"{record.plain.seconds:.6g}"


_AS_TEST: dict[str, Result] = {
    "pass": "passed",
    "fail": "failed",
    "inconclusive": "skipped",
    "no verdict": "skipped",
}


def _gate_name(judgement: Judgement) -> str:
    text = judgement.gate.text
    return text if "@" in text else f"{text}@{judgement.scope}"


def _as_reports(name: str, when: Phase, outcome: Result, line: str) -> Iterator[pytest.TestReport]:
    """What pytest would report of a test: of the phase that tells, and of its end."""
    said = (GATES, 0, f"Skipped: {line}") if outcome == "skipped" else line
    phases: tuple[tuple[Phase, Result], ...] = ((when, outcome), ("teardown", "passed"))
    for phase, result in phases:
        yield pytest.TestReport(
            nodeid=f"{GATES}::{name}",
            location=(GATES, None, name),
            keywords={},
            outcome=result,
            longrepr=None if result == "passed" else said,
            when=phase,
        )


def _group(prefix: str, group: GroupSummary) -> Properties:
    yield f"{prefix}.prompts", str(group.prompts)
    yield f"{prefix}.steps", str(group.steps)
    if group.most_steps is not None:
        yield f"{prefix}.most_steps", str(group.most_steps)
        for name, value in group.at_least.items():
            yield f"{prefix}.{name}.at_least", f"{value:.6g}"
    yield f"{prefix}.nodes", str(group.nodes)
    for name, estimate in group.metrics.items():
        yield from _estimate(f"{prefix}.{name}", estimate)
    for verdict in VERDICT_LABELS:
        yield f"{prefix}.{verdict}", str(getattr(group.verdicts, verdict))


def _estimate(name: str, estimate: Estimate) -> Properties:
    figures = (("", estimate.value), (".low", estimate.low), (".high", estimate.high))
    for suffix, value in figures:
        if math.isfinite(value):
            yield f"{name}{suffix}", f"{value:.6g}"
    yield f"{name}.n", str(estimate.n)
