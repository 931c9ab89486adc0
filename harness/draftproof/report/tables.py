"""The domain table and the depth table as rows of text, for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from draftproof.report import labels
from draftproof.report.labels import DEPTH_LABELS, METRIC_LABELS, NOT_ESTIMABLE, Label
from draftproof.statistics import Estimate, Finding, GroupSummary, RunSummary, Share, VerdictCounts
from draftproof.statistics.metrics import STUDY_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: Its value.
        interval: What stands under or beside it, or empty.
    """

    text: str
    interval: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of text.

    Attributes:
        columns: How each column is headed.
        rows: The cells, in the columns' order.
    """

    columns: tuple[Label, ...]
    rows: tuple[tuple[Cell, ...], ...]


def domain_table(summary: RunSummary, *, left_out: Container[str] = ()) -> Table:
    """One row a domain and one for all prompts: counts, metrics with their intervals, verdicts.

    Args:
        summary: The figures.
        left_out: Keys of metrics that a narrow table is without.
    """
    metrics = {name: label for name, label in METRIC_LABELS.items() if name not in left_out}
    columns = (
        _plain(labels.DOMAIN),
        _plain(labels.PROMPTS),
        _plain(labels.STEPS),
        _plain(labels.NODES),
        *metrics.values(),
        _plain(labels.VERDICTS),
    )
    groups = {**summary.domains, labels.OVERALL: summary.overall}
    return Table(
        columns=columns,
        rows=tuple(_group_row(name, group, metrics) for name, group in groups.items()),
    )


def study_length_line(summary: RunSummary) -> str:
    """The study's expected accepted length by domain, in a line; empty where there is none.

    Example: ``study's expected accepted length (Σ αᵈ to depth 3, …): code 1.64 [1.60–1.68], …``
    """
    decimals = METRIC_LABELS[STUDY_LENGTH].decimals
    figures = [
        f"{name} {number(found.value, decimals)} [{interval(found, decimals)}]"
        for name, group in {**summary.domains, labels.OVERALL: summary.overall}.items()
        if not math.isnan((found := group.metrics[STUDY_LENGTH]).value)
    ]
    if not figures:
        return ""
    depth = len(summary.overall.depth_profile)
    return (
        f"{METRIC_LABELS[STUDY_LENGTH].term} (Σ αᵈ to depth {depth}, α the acceptance probability "
        f"of a node): {', '.join(figures)}"
    )


def depth_table(group: GroupSummary) -> Table:
    """One row a depth: its nodes, and every depth metric with its interval."""
    return Table(
        columns=(_plain(labels.DEPTH), _plain(labels.NODES), *DEPTH_LABELS.values()),
        rows=tuple(
            (
                Cell(text=str(depth.depth)),
                Cell(text=_count(depth.nodes)),
                *(
                    estimate_cell(depth.metrics[name], label)
                    for name, label in DEPTH_LABELS.items()
                ),
            )
            for depth in group.depth_profile
        ),
    )


def sample_table(summary: RunSummary) -> Table:
    """One row a domain: how many independent nodes and steps the correlated ones are worth."""
    columns = [_plain(labels.DOMAIN)]
    for label in labels.SAMPLE_LABELS.values():
        columns += [label, labels.DESIGN_EFFECT, labels.EFFECTIVE]
    rows = []
    for name, group in {**summary.domains, labels.OVERALL: summary.overall}.items():
        cells = [Cell(text=name)]
        for metric in labels.SAMPLE_LABELS:
            estimate = group.metrics[metric]
            cells += [
                Cell(text=str(estimate.n)),
                Cell(text=number(estimate.design_effect, labels.DESIGN_EFFECT.decimals)),
                Cell(text=number(estimate.effective_n, labels.EFFECTIVE.decimals)),
            ]
        rows.append(tuple(cells))
    return Table(columns=tuple(columns), rows=tuple(rows))


def accuracy_table(summary: RunSummary) -> Table | None:
    """One row a domain with scored prompts, and one for all of them; None if none was scored."""
    if summary.overall.accuracy is None:
        return None
    rows = []
    for name, group in {**summary.domains, labels.OVERALL: summary.overall}.items():
        found = group.accuracy
        if found is not None:
            rows.append(
                (
                    Cell(text=name),
                    Cell(text=str(found.plain.prompts)),
                    _share(found.plain),
                    _share(found.speculative),
                    *(Cell(text=str(getattr(found, count))) for count in labels.ACCURACY_COUNTS),
                )
            )
    return Table(
        columns=(
            _plain(labels.DOMAIN),
            Label("scored prompts", "scored\nprompts", 0),
            *labels.ACCURACY_LABELS.values(),
            *labels.ACCURACY_COUNTS.values(),
        ),
        rows=tuple(rows),
    )


def has_design_effect(summary: RunSummary) -> bool:
    """Whether any figure of `sample_table` has a design effect to show."""
    groups = (*summary.domains.values(), summary.overall)
    return any(
        not math.isnan(group.metrics[metric].design_effect)
        for group in groups
        for metric in labels.SAMPLE_LABELS
    )


def prompt_mean_lines(summary: RunSummary) -> list[str]:
    """A line for each figure whose mean of prompts differs from the pooled one.

    They differ where the mean of prompts is outside the inner half of the pooled interval: prompts
    with many nodes, or steps, then weigh enough to move the figure.

    Example: ``mean of prompts differs: accepted length: code 1.31 (pooled 1.25)``
    """
    lines = []
    for metric, label in METRIC_LABELS.items():
        where = []
        for name, group in {**summary.domains, labels.OVERALL: summary.overall}.items():
            pooled, mean = group.metrics[metric], group.prompt_means.get(metric)
            if mean is None or math.isnan(pooled.low) or math.isnan(mean.value):
                continue
            if abs(mean.value - pooled.value) > (pooled.high - pooled.low) / 4:
                values = (number(value, label.decimals) for value in (mean.value, pooled.value))
                if len(set(shown := tuple(values))) > 1:
                    where.append(f"{name} {shown[0]} (pooled {shown[1]})")
        if where:
            lines.append(f"{labels.PROMPT_MEAN} differs: {label.term}: {', '.join(where)}")
    return lines


def findings_table(findings: Sequence[Finding]) -> Table:
    """One row a finding of the study: what it says, the run's verdict, and why."""
    return Table(
        columns=tuple(_plain(name) for name in ("finding", "verdict", "evidence")),
        rows=tuple(
            (
                Cell(text=f"{finding.number}. {finding.claim}"),
                Cell(text=finding.said),
                Cell(text="; ".join([*part_lines(finding), finding.evidence])),
            )
            for finding in findings
        ),
    )


def part_lines(finding: Finding) -> list[str]:
    """A line for each thing that a finding states, with its own verdict.

    Those that do not decide say so: they are about the figures of the study's own pair.

    Example: ``confirmed: negative in every domain``
    """
    return [
        f"{part.verdict}: {part.claim}" + ("" if part.decides else " (does not decide)")
        for part in finding.parts
    ]


def not_estimable(summary: RunSummary) -> list[str]:
    """A line for each reason for which a figure or an interval is missing, with where it is.

    Example: ``– in code, chat: greedy match of a node (share): no node has a target rank``
    """
    terms: dict[tuple[str, str], list[str]] = {}
    for name, group in {**summary.domains, labels.OVERALL: summary.overall}.items():
        for metric, label in METRIC_LABELS.items():
            if reason := group.metrics[metric].reason:
                terms.setdefault((name, reason), []).append(label.term)
    for depth in summary.overall.depth_profile:
        for metric, label in DEPTH_LABELS.items():
            if reason := depth.metrics[metric].reason:
                name = f"{labels.DEPTH} {depth.depth}"
                terms.setdefault((name, reason), []).append(label.term)
    names: dict[tuple[str, str], list[str]] = {}
    for (name, reason), missing in terms.items():
        all_of_a_row = len(missing) in (len(METRIC_LABELS), len(DEPTH_LABELS))
        what = "every figure" if all_of_a_row else ", ".join(missing)
        names.setdefault((what, reason), []).append(name)
    return [
        f"{NOT_ESTIMABLE} in {', '.join(where)}: {what}: {reason}"
        for (what, reason), where in names.items()
    ]


def verdict_lines(verdicts: VerdictCounts) -> list[str]:
    """How many cases ended in each verdict, for those with any.

    Example:
        >>> verdict_lines(VerdictCounts(identical=48, algorithmic=2))
        ['48 identical', '2 algorithmic']
    """
    counts = {name: getattr(verdicts, name) for name in labels.VERDICT_LABELS}
    return [
        f"{counts[name]} {word}" for name, word in labels.VERDICT_LABELS.items() if counts[name]
    ]


def number(value: float, decimals: int) -> str:
    """A value with a fixed number of decimals; a fraction without its leading 0.

    Example:
        >>> number(0.5649, 3), number(1.0, 3), number(0.981, 2), number(float("nan"), 2)
        ('.565', '1.000', '.98', '–')
    """
    if math.isnan(value):
        return NOT_ESTIMABLE
    text = f"{value:.{decimals}f}"
    return text[1:] if text.startswith("0.") else text


def share_text(value: float) -> str:
    """A share in percent that never rounds to a certainty it is not.

    Example:
        >>> share_text(0.728), share_text(0.0002), share_text(0.99995), share_text(1.0)
        ('72.8%', '< 0.1%', '> 99.9%', '100%')
    """
    if 0 < value < 0.001:
        return "< 0.1%"
    if 0.999 < value < 1:
        return "> 99.9%"
    return f"{value:.0%}" if value in (0, 1) else f"{value:.1%}"


def interval(estimate: Estimate, decimals: int) -> str:
    """The interval of an estimate, low–high; one dash where there is none."""
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return NOT_ESTIMABLE
    return f"{number(estimate.low, decimals)}–{number(estimate.high, decimals)}"


def _group_row(name: str, group: GroupSummary, metrics: Mapping[str, Label]) -> tuple[Cell, ...]:
    verdicts = verdict_lines(group.verdicts)
    return (
        Cell(text=name),
        Cell(text=str(group.prompts)),
        Cell(text=_bounded(_count(group.steps), "≥" if group.at_least else "")),
        Cell(text=_count(group.nodes)),
        *(
            estimate_cell(group.metrics[metric], label, "≤" if metric in group.at_least else "")
            for metric, label in metrics.items()
        ),
        Cell(text="\n".join(verdicts)),
    )


def estimate_cell(estimate: Estimate, label: Label, sign: str = "") -> Cell:
    """An estimate with its interval; a dash where there is none.

    Args:
        estimate: The value and its interval.
        label: Says how many decimals are shown.
        sign: Before the value, of one that is a bound.
    """
    if math.isnan(estimate.value):
        return Cell(text=NOT_ESTIMABLE)
    return Cell(
        text=_bounded(number(estimate.value, label.decimals), sign),
        interval=interval(estimate, label.decimals),
    )


def _bounded(text: str, sign: str) -> str:
    """A number that is the most, or the least, that it can be: the rest is not told."""
    return f"{sign} {text}" if sign and text != NOT_ESTIMABLE else text


def _count(value: int) -> str:
    """A number of steps or nodes; a dash for none, as an engine that does not tell has none."""
    return str(value) if value else NOT_ESTIMABLE


def _share(share: Share) -> Cell:
    low, high = (number(end, 3) for end in (share.low, share.high))
    return Cell(text=number(share.value, 3), interval=f"{low}–{high}")


def _plain(term: str) -> Label:
    return Label(term, term, 0)
