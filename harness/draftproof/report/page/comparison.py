"""``comparison.html``: a run beside an earlier one, with both trees of the first difference."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from draftproof.errors import UsageError
from draftproof.files import write_asked
from draftproof.gate.comparison import Comparison
from draftproof.gate.exact import FirstDifference, StepTree
from draftproof.gate.identity import described
from draftproof.gate.judging import Outcome
from draftproof.gate.measured import MeasuredRun
from draftproof.report.comparison_text import HEADLINES, difference_lines, gate_table, remarks
from draftproof.report.page import facts
from draftproof.report.page.outline import Row, node_facts, outline, shown_token
from draftproof.report.page.strip import strips
from draftproof.report.page.templates import asset, render
from draftproof.report.run_info import TOY_NOTICE

COMPARISON_PAGE = "comparison.html"
SHOWN_TOKENS = 60
"""Tokens of the output before the first difference that the page shows."""
_NO_OUTCOME = "Comparison"
_ABSENT = "not recorded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One run's tree of the first step that differs.

    Attributes:
        name: The run.
        root: Text and place of the root, as far as they are known.
        rows: The tree's nodes; None where it is not known.
        deepest: Its greatest depth.
        accepted_length: Drafted tokens kept; None where it is not known.
        committed_tokens: Tokens added to the output; likewise.
        why: Why the tree is not known; else empty.
    """

    name: str
    root: str = ""
    rows: tuple[Row, ...] | None = None
    deepest: int = 0
    accepted_length: int | None = None
    committed_tokens: int | None = None
    why: str = ""


def write_comparison_page(path: Path, comparison: Comparison) -> Path:
    """Writes the page, whole or not at all.

    Raises:
        UsageError: There is no earlier run.
        DraftproofError: It cannot be written.
    """
    # Half of a surrogate pair, which a token can be, has no UTF-8.
    html = comparison_html(comparison).encode("utf-8", "replace").decode("utf-8")
    write_asked(path, html)
    return path


def comparison_html(comparison: Comparison) -> str:
    """The page: one HTML document without a script, that asks for nothing but itself.

    Raises:
        UsageError: There is no earlier run.
    """
    outcome, first = comparison.outcome, comparison.first
    before, now = comparison.before, comparison.now
    if before is None:
        raise UsageError(
            "the page of a comparison shows two runs, and there is only one; leave the page out, "
            "or give an earlier run"
        )
    differing, same = _facts_of_both(comparison, before)
    # The two share a tokenizer, or their steps would not have been compared.
    texts = {**before.texts.tokens, **now.texts.tokens}
    return render(
        "comparison.html",
        comparison=comparison,
        own_style=asset("comparison.css"),
        headline=_NO_OUTCOME if outcome is None else HEADLINES[outcome].capitalize(),
        outcome="open" if outcome is None else _css_name(outcome),
        marks={str(name): _css_name(name) for name in Outcome},
        toy_notice=TOY_NOTICE if now.run.uses_builtin else "",
        table=gate_table(comparison),
        strips=strips(comparison.judgements, gated=comparison.gated),
        remarks=remarks(comparison),
        differences=difference_lines(comparison),
        sides=() if first is None else _sides(before, now, first, texts),
        output=[] if first is None else _output_before(comparison, first, texts),
        node_facts=_first_node_facts(first, texts),
        differing=differing,
        same=same,
        commands=[(run.name, shlex.join(run.run.command)) for run in (before, now)],
        run_line=facts.run_line(now.run),
    )


def _css_name(outcome: Outcome) -> str:
    return str(outcome).replace(" ", "-")


def _sides(
    before: MeasuredRun, now: MeasuredRun, first: FirstDifference, texts: Mapping[int, str]
) -> tuple[Side, Side]:
    return _side(before, first.before, first, texts), _side(now, first.now, first, texts)


def _side(
    run: MeasuredRun, tree: StepTree | None, first: FirstDifference, texts: Mapping[int, str]
) -> Side:
    if tree is None:
        kept = first.case_id in run.traces
        return Side(
            name=run.name,
            why="the case has no such step in this run"
            if kept
            else "this run's traces were not kept; pytest --spec-save-traces keeps them",
        )
    rows = tuple(outline(tree, texts, marked=first.node))
    token_id = _root_token(run, first)
    text = "" if token_id is None else f"{shown_token(token_id, texts)} "
    return Side(
        name=run.name,
        root=f"{text}at position {tree.root_position}",
        rows=rows,
        deepest=max((len(row.guides) for row in rows), default=0),
        accepted_length=tree.accepted_length,
        committed_tokens=tree.committed_tokens,
    )


def _root_token(run: MeasuredRun, first: FirstDifference) -> int | None:
    """The last token of the output before the step."""
    tokens = _tokens_before(run, first)
    return tokens[-1] if tokens else None


def _tokens_before(run: MeasuredRun, first: FirstDifference) -> list[int]:
    """The output up to the root of the step; prefill's token comes before the first step."""
    case = run.traces.get(first.case_id)
    if case is None or case.speculative is None:
        return []
    committed = 1 + int(case.steps["committed_tokens"][: first.step].sum())
    return [int(token) for token in case.speculative.token_ids[:committed]]


def _output_before(
    comparison: Comparison, first: FirstDifference, texts: Mapping[int, str]
) -> list[str]:
    """The last tokens up to the root, as text, the root's white space visible.

    Up to here, both runs have the same.
    """
    tokens = _tokens_before(comparison.now, first)
    shown = [texts.get(token, f"⟨{token}⟩") for token in tokens[-SHOWN_TOKENS:]]
    shown[-1:] = [shown_token(token, texts) for token in tokens[-1:]]
    return ["…", *shown] if len(tokens) > SHOWN_TOKENS else shown


def _first_node_facts(
    first: FirstDifference | None, texts: Mapping[int, str]
) -> list[tuple[str, str, str]]:
    if first is None or first.node is None or first.before is None or first.now is None:
        return []
    return node_facts(first.before, first.now, first.node, texts)


def _facts_of_both(
    comparison: Comparison, earlier_run: MeasuredRun
) -> tuple[list[tuple[str, str, str, bool]], list[tuple[str, str]]]:
    """Facts that differ, each with whether it must not; and those that are the same."""
    before, now = described(earlier_run.run), described(comparison.now.run)
    forbidden = {fact.fact: fact for fact in comparison.mismatches}
    differing: list[tuple[str, str, str, bool]] = [
        (fact.fact, fact.before, fact.now, True)
        for fact in comparison.mismatches
        if fact.fact not in before
    ]
    same = []
    for name in dict.fromkeys([*before, *now]):
        earlier, later = _shown(before.get(name)), _shown(now.get(name))
        if earlier == later:
            same.append((name, earlier))
        else:
            differing.append((name, earlier, later, name in forbidden))
    differing.sort(key=lambda row: not row[3])
    return differing, same


def _shown(value: Any) -> str:
    if value is None:
        return _ABSENT
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
