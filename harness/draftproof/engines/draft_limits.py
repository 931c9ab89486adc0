"""How large the drafts of an engine are, as it says, and what its counters must be for that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from draftproof.engines.protocol import Generation
from draftproof.errors import UsageError
from draftproof.shapes import parse_tree
from draftproof.statistics.count_identities import (
    check_accepted,
    check_counts,
    check_told_steps,
)
from draftproof.trace import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftLimits:
    """The largest draft of an engine; None is what it does not say.

    Attributes:
        nodes: Its nodes.
        depth: Its depth: the most drafted tokens that a step can keep.
    """

    nodes: int | None = None
    depth: int | None = None


def draft_limits(described: Mapping[str, Any]) -> DraftLimits:
    """The largest draft by what an engine says of itself.

    Args:
        described: `Engine.describe`: ``tree``, a text as ``--spec-tree`` takes it, or
            ``draft_length``, the tokens of the longest draft; an engine may say neither.

    Example:
        >>> draft_limits({"tree": "3x2"})
        DraftLimits(nodes=14, depth=3)
        >>> draft_limits({"draft_length": 5})
        DraftLimits(nodes=None, depth=5)
    """
    try:
        shape = parse_tree(described["tree"])
    except (KeyError, AttributeError, TypeError, UsageError):
        length = described.get("draft_length")
        return DraftLimits(depth=length if isinstance(length, int) and length > 0 else None)
    return DraftLimits(nodes=shape.most_nodes, depth=shape.deepest)


def limited(counts: Counts | None, limits: DraftLimits) -> Counts | None:
    """The counters with the longest draft that the engine says of itself, if they have none."""
    if counts is None or counts.longest_draft is not None:
        return counts
    return replace(counts, longest_draft=limits.depth)


def told_counts_problems(generation: Generation, limits: DraftLimits) -> list[str]:
    """Every way in which an engine's counters and the tokens it calls accepted cannot be.

    They are held to each other, to the output, to the engine's steps where it tells them, and to
    the largest draft that it says it makes.

    Args:
        generation: What the engine answered.
        limits: How large its drafts are.

    Returns:
        A line each; none where it tells no counters.
    """
    counts = limited(generation.counts, limits)
    if counts is None:
        return []
    by_text = generation.stop_reason == "stop_string"
    tokens = len(generation.token_ids)
    problems = check_counts(counts, tokens, by_text=by_text, most_nodes=limits.nodes)
    if generation.steps is not None:
        problems += check_told_steps(counts, generation.steps)
    if generation.accepted is not None:
        problems += check_accepted(generation.accepted, counts, generation.steps)
    return [f"counters: {problem}" for problem in problems]
