"""A comparison with an earlier run: for the terminal, and as Markdown for a pull request."""

from __future__ import annotations

import math
import textwrap

from draftproof.gate.comparison import Comparison
from draftproof.gate.exact import FirstDifference, StepTree
from draftproof.gate.expression import RATIOS, SPEEDUP
from draftproof.gate.judging import MOST_PROMPTS, Judgement, Outcome, unseen_kind
from draftproof.gate.planning import RARE
from draftproof.report import labels
from draftproof.report.labels import METRIC_LABELS, NOT_ESTIMABLE, Label
from draftproof.report.markdown import inline, markdown_table
from draftproof.report.tables import Cell, Table
from draftproof.report.terminal import WIDTH, terminal_table
from draftproof.report.tree_text import side_by_side, tree_lines
from draftproof.wording import counted

HEADLINES: dict[Outcome, str] = {
    Outcome.PASS: "GATE PASSED",
    Outcome.FAIL: "GATE FAILED",
    Outcome.INCONCLUSIVE: "GATE INCONCLUSIVE",
    Outcome.NO_VERDICT: "GATE WITHOUT A VERDICT",
}
_RISE = (
    "A figure rose beyond its margin: several faults accept more than they should. Where the rise "
    "is intended, save a new baseline."
)


def terminal_comparison(comparison: Comparison) -> str:
    """The comparison for a terminal: the outcome, a row a gate, and the first difference.

    Returns:
        Lines without a line end after the last.
    """
    blocks = [headline(comparison), terminal_table(gate_table(comparison))]
    if lines := [*remarks(comparison), *comparison.notes]:
        blocks.append("\n".join(_wrapped(line) for line in lines))
    blocks.append("\n".join(_wrapped(line) for line in difference_lines(comparison)))
    if comparison.first is not None and (trees := both_trees(comparison)):
        blocks.append(trees)
    return "\n\n".join(block for block in blocks if block)


def markdown_comparison(comparison: Comparison) -> str:
    """The comparison as Markdown: fit for a summary of a CI job or a comment."""
    blocks = [
        f"# {inline(headline(comparison))}",
        markdown_table(gate_table(comparison)),
        "\n".join(f"- {inline(line)}" for line in (*remarks(comparison), *comparison.notes)),
        "\n".join(f"- {inline(line)}" for line in difference_lines(comparison)),
    ]
    if comparison.first is not None and (trees := both_trees(comparison)):
        blocks.append(f"```\n{trees}\n```")
    return "\n\n".join(block for block in blocks if block) + "\n"


def headline(comparison: Comparison) -> str:
    """The outcome and what was compared, in one line."""
    outcome = comparison.outcome
    what = "COMPARISON" if outcome is None else HEADLINES[outcome]
    return f"{what}: {against(comparison)}"


def against(comparison: Comparison) -> str:
    """What was compared, in a few words."""
    cases = counted(len(comparison.compared), "case")
    if comparison.before is None:
        return f"{comparison.now.name}, {cases}"
    how = "measured in turn" if comparison.alternated else "paired by prompt"
    return f"{comparison.now.name} against {comparison.before.name}, {cases}, {how}"


def gate_table(comparison: Comparison) -> Table:
    """One row a gate and scope: both figures, the change with its interval, and the outcome."""
    columns = [
        Label("gate" if comparison.gated else "figure", "gate" if comparison.gated else "figure"),
        Label(labels.DOMAIN, labels.DOMAIN),
        Label(labels.PROMPTS, labels.PROMPTS),
        Label("before", "before"),
        Label("now", "now"),
        Label("change", "change"),
    ]
    if comparison.gated:
        columns.append(Label("outcome", "outcome"))
    return Table(
        columns=tuple(columns),
        rows=tuple(_row(judgement, comparison) for judgement in comparison.judgements),
    )


def judgement_line(judgement: Judgement, comparison: Comparison) -> str:
    """One judgement as a sentence: what was measured, and why it came to what it did."""
    name, scope, prompts, before, now, change, *_ = _row(judgement, comparison)
    figures = [] if judgement.gate.bound is not None else [f"{before.text} before"]
    figures.append(f"{now.text} now" + (f" ({now.interval.strip()})" if now.interval else ""))
    if judgement.gate.bound is None:
        figures.append(
            f"change {change.text}" + (f" ({change.interval})" if change.interval else "")
        )
    line = f"{name.text} ({scope.text}): {judgement.outcome}; {', '.join(figures)}; "
    line += "1 prompt" if prompts.text == "1" else f"{prompts.text} prompts"
    if judgement.outcome is Outcome.INCONCLUSIVE:
        return f"{line}; {_what_would_decide(judgement, comparison)}"
    return f"{line}; {judgement.reason}" if judgement.reason else line


def remarks(comparison: Comparison) -> list[str]:
    """What the table cannot say: how it was made, what would decide, why there is no verdict."""
    lines = []
    for judgement in comparison.judgements:
        where = f"{judgement.gate.text} ({judgement.scope})"
        if judgement.outcome is Outcome.INCONCLUSIVE and comparison.gated:
            lines.append(f"{where} is inconclusive: {_what_would_decide(judgement, comparison)}.")
        elif judgement.outcome is Outcome.NO_VERDICT:
            lines.append(f"Warning: {where} has no verdict: {judgement.reason}.")
    failed = [j for j in comparison.judgements if j.outcome is Outcome.FAIL]
    if any(j.rose and math.isfinite(j.gate.rise) and j.gate.needs_baseline for j in failed):
        lines.append(_RISE)
    if comparison.mismatches:
        facts = "; ".join(str(fact) for fact in comparison.mismatches)
        lines.append(f"Compared although the runs differ in more than the change: {facts}.")
    metrics = [judgement.gate for judgement in comparison.judgements]
    if any(gate.metric in RATIOS for gate in metrics):
        lines.append(
            "95% intervals: what is not rejected both by exchanging labels within prompts and by "
            "drawing the prompts anew."
        )
    if any(gate.metric == SPEEDUP for gate in metrics):
        lines.append("Speedup: the median over prompts, with intervals by the sign test.")
    if comparison.gated:
        lines.append(
            f"Fails beyond the margin or bound at level {comparison.alpha:g} over all gates "
            "(Holm), passes within it at that level."
        )
    lines += _few_prompts(comparison)
    return lines


def _few_prompts(comparison: Comparison) -> list[str]:
    """What a sample so small may lack, where gates were decided on it."""
    decided = [
        judgement.prompts
        for judgement in comparison.judgements
        if judgement.gate.metric in RATIOS
        and judgement.outcome in (Outcome.PASS, Outcome.FAIL)
        and judgement.prompts
    ]
    if not comparison.gated or not decided or unseen_kind(min(decided)) <= RARE:
        return []
    return [
        f"Decided on {min(decided)} prompts, which may hold none of a kind that is "
        f"{unseen_kind(min(decided)):.0%} of a domain: of prompts that behave otherwise, this says "
        "nothing."
    ]


def difference_lines(comparison: Comparison) -> list[str]:
    """Whether the runs are the same step by step, and where they first are not."""
    changed = comparison.changed
    if changed is None:
        return []
    if not changed.first:
        return [f"Identical: every step of {counted(len(changed.compared), 'case')} is the same."]
    lines = [f"{len(changed.first)} of {len(changed.compared)} cases are not the same."]
    if comparison.first is not None:
        lines.append(_where(comparison.first))
    return [*lines, *comparison.clues]


def both_trees(comparison: Comparison) -> str:
    """The first differing step's trees side by side; empty where neither is known."""
    first = comparison.first
    if first is None or comparison.before is None:
        return ""
    if first.before is None and first.now is None:
        return ""
    before, now = (_tree(tree, first) for tree in (first.before, first.now))
    return side_by_side(before, now, (f"  {comparison.before.name}", f"  {comparison.now.name}"))


def _where(first: FirstDifference) -> str:
    node = "" if first.node is None else f", node {first.node}"
    detail = f" ({first.detail})" if first.detail else ""
    return (
        f"First difference: {first.case_id}, step {first.step}{node}: the {first.aspect} "
        f"changed{detail}."
    )


def _tree(tree: StepTree | None, first: FirstDifference) -> list[str]:
    if tree is None:
        return ["  (not known)"]
    return [
        *tree_lines(tree.nodes, tree.root_position, marked=first.node),
        f"  accepted length {tree.accepted_length}, committed {tree.committed_tokens}",
    ]


def _row(judgement: Judgement, comparison: Comparison) -> tuple[Cell, ...]:
    decimals = METRIC_LABELS[judgement.gate.metric].decimals + 1 if _is_ratio(judgement) else 3
    change = judgement.change
    signed = "{:+.1%}" if judgement.gate.relative else f"{{:+.{decimals}f}}"
    name = judgement.gate.text if comparison.gated else judgement.gate.metric
    cells = [
        Cell(text=name),
        Cell(text=judgement.scope),
        Cell(text=str(judgement.prompts)),
        Cell(text=_figure(judgement.before, decimals)),
        Cell(
            text=_figure(judgement.now, decimals),
            interval=""
            if judgement.interval_now is None
            else " to ".join(f"{end:.{decimals}f}" for end in judgement.interval_now),
        ),
        Cell(text=NOT_ESTIMABLE)
        if judgement.gate.bound is not None
        else Cell(
            text=signed.format(change.value) if math.isfinite(change.value) else NOT_ESTIMABLE,
            interval=f"{signed.format(change.low)} to {signed.format(change.high)}"
            if math.isfinite(change.low) and math.isfinite(change.high)
            else "",
        ),
    ]
    if comparison.gated:
        cells.append(Cell(text=str(judgement.outcome)))
    return tuple(cells)


def _is_ratio(judgement: Judgement) -> bool:
    return judgement.gate.metric in METRIC_LABELS


def _figure(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else NOT_ESTIMABLE


def _what_would_decide(judgement: Judgement, comparison: Comparison) -> str:
    if judgement.fewest is None:
        return (
            f"at level {comparison.alpha:g} over {len(comparison.judgements)} gates no number of "
            "prompts would decide; give fewer gates, or a larger level"
        )
    if judgement.reason and math.isnan(judgement.change.value):
        return judgement.reason
    if judgement.prompts and judgement.prompts < judgement.fewest:
        so_few = (
            "1 prompt decides" if judgement.prompts == 1 else f"{judgement.prompts} prompts decide"
        )
        return f"{so_few} nothing; give at least {judgement.fewest} (pytest --spec-limit)"
    if judgement.reason:
        return judgement.reason
    needed = judgement.prompts_to_decide
    what = "change" if judgement.gate.needs_baseline else "figure"
    other = "a wider margin" if judgement.gate.needs_baseline else "another bound"
    if needed is None and math.isnan(judgement.change.error):
        return f"give more prompts (pytest --spec-limit), or {other}"
    if needed is None:
        return (
            f"the change is so near its margin that not even {MOST_PROMPTS:,} prompts would "
            "decide; give another margin"
            if judgement.gate.needs_baseline
            else f"the figure is so near its bound that not even {MOST_PROMPTS:,} prompts would "
            "decide; give another bound"
        )
    return (
        f"if the {what} is as measured, about {needed:,} prompts would decide (there are "
        f"{judgement.prompts}); give more (pytest --spec-limit N), or {other}"
    )


def _wrapped(line: str) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
