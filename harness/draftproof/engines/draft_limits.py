"""How large the drafts of an engine are, as it says, and what its counters must be for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from draftproof.engines.protocol import Generation
from draftproof.errors import UsageError
from draftproof.shapes import parse_tree
from draftproof.statistics.count_identities import (
    check_accepted,
    check_counts,
    check_told_steps,
)
from draftproof.trace import Columns, Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftLimits:
    """The largest draft of an engine; None is what it does not say.

    Attributes:
        nodes: Its nodes.
        depth: Its depth: the most drafted tokens that a step can keep.
        bonus: Whether a step makes one token more where all of its draft is kept.
    """

    nodes: int | None = None
    depth: int | None = None
    bonus: bool = True


def draft_limits(described: Mapping[str, Any]) -> DraftLimits:
    """The largest draft by what an engine says of itself.

    Args:
        described: `Engine.describe`: ``tree``, a text as ``--spec-tree`` takes it, or
            ``draft_length``, the tokens of the longest draft; an engine may say neither.
            ``bonus_token`` is False of one that draws no token after a draft that is kept whole.

    Example:
        >>> draft_limits({"tree": "3x2"})
        DraftLimits(nodes=14, depth=3, bonus=True)
        >>> draft_limits({"draft_length": 5})
        DraftLimits(nodes=5, depth=5, bonus=True)
    """
    bonus = described.get("bonus_token") is not False
    try:
        shape = parse_tree(described["tree"])
    except (KeyError, AttributeError, TypeError, UsageError):
        length = described.get("draft_length")
        known = length if isinstance(length, int) and length > 0 else None
        return DraftLimits(nodes=known, depth=known, bonus=bonus)
    return DraftLimits(nodes=shape.most_nodes, depth=shape.deepest, bonus=bonus)


def limited(counts: Counts | None, limits: DraftLimits) -> Counts | None:
    """The counters with the longest draft that the engine says of itself, if they have none."""
    if counts is None or counts.longest_draft is not None:
        return counts
    return replace(counts, longest_draft=limits.depth)


def told_counts_problems(generation: Generation, limits: DraftLimits) -> list[str]:
    """Every way in which an engine's counters and the tokens it calls accepted cannot be.

    They are held to each other, to the output, to the engine's steps where it tells them, and to
    the largest draft that it says it makes; so are its steps.

    Args:
        generation: What the engine answered.
        limits: How large its drafts are.

    Returns:
        A line each; none where it tells neither.
    """
    beyond = [] if generation.steps is None else _beyond(generation.steps, limits)
    counts = limited(generation.counts, limits)
    if counts is None:
        return beyond
    by_text = generation.stop_reason == "stop_string"
    tokens = len(generation.token_ids)
    problems = []
    if limits.bonus or generation.steps is None:
        problems = check_counts(counts, tokens, by_text=by_text, most_nodes=limits.nodes)
    if generation.steps is not None:
        problems += check_told_steps(counts, generation.steps)
    if generation.accepted is not None:
        problems += check_accepted(generation.accepted, counts, generation.steps)
    return [*beyond, *(f"counters: {problem}" for problem in problems)]


def _beyond(steps: Columns, limits: DraftLimits) -> list[str]:
    """The first step whose draft is larger than the engine says that its drafts are."""
    lines = []
    for column, most, unit in (("nodes", limits.nodes, "nodes"), ("depth", limits.depth, "deep")):
        rows = [] if most is None else np.flatnonzero(steps[column] > most).tolist()
        if rows:
            more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
            drafted = int(steps[column][rows[0]])
            lines.append(
                f"step {rows[0]}: its draft has {drafted} nodes, and the largest draft {most}{more}"
                if unit == "nodes"
                else f"step {rows[0]}: its draft is {drafted} deep, and the deepest {most}{more}"
            )
    return lines
