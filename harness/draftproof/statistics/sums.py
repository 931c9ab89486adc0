"""Per-prompt sums: everything that estimates and their intervals need from a trace.

One pass over the columns; what is kept does not grow with the number of steps or nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from draftproof.errors import TraceError
from draftproof.statistics.batches import BATCH_ROWS, Batch, batches
from draftproof.statistics.count_identities import (
    check_counts,
    committed_tokens,
    longest_told,
    step_bounds,
)
from draftproof.trace import CaseRecord, Verdict

TOTALS = (
    "steps",
    "drafted",
    "accepted_of_drafted",
    "accepted",
    "committed_tokens",
    "path_steps",
    "path_length",
    "reached",
    "accepted_nodes",
    "known_nodes",
    "acceptance_probability",
    "ranked_nodes",
    "greedy_matches",
    "accepted_squares",
    "committed_squares",
    "path_squares",
    "acceptance_probability_squares",
    "acceptance_log_likelihood",
    "entropy_nodes",
    "draft_entropy",
    "draft_entropy_squares",
)
"""Sums over a prompt: steps; drafted tokens, and how many of them were accepted; accepted and
committed tokens of the steps (the two differ where one is told without the other); steps whose
first-child path is known, and the expected accepted length along it; nodes that were reached, and
that were accepted, by the nodes; nodes of known acceptance probability, and its sum; nodes of
known target rank, and those that are greedy matches; squares of the accepted and committed tokens
of a step, of its expected accepted length, and of acceptance probabilities; Σ y ln y + (1−y)
ln(1−y) over acceptance probabilities y, the log-likelihood that no model of them can exceed; nodes
of known draft entropy, and the sums of it and of its square."""

DEPTH_TOTALS = (
    "nodes",
    "known_nodes",
    "acceptance_probability",
    "acceptance_probability_squares",
    "ranked_nodes",
    "greedy_matches",
    "steps_at_least",
    "steps_at_least_previous",
)
"""Sums over a prompt at one depth: as in `TOTALS`; and steps whose accepted length is at least the
depth, or at least the depth before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSums:
    """The sums of every measured prompt.

    Attributes:
        case_ids: ``[prompts]``.
        domains: ``[prompts]``.
        totals: `TOTALS`, each float64 ``[prompts]``.
        by_depth: `DEPTH_TOTALS`, each float64 ``[prompts, depths]``; column 0 is depth 1.
        most_steps: ``[prompts]`` float64: the most steps there can have been. More than ``steps``
            only where an engine tells its counters and no steps
            (`draftproof.statistics.count_identities.step_bounds`): ``steps`` are then the fewest.
        told_deepest: The longest draft of an engine that counts no steps, as it tells or as is
            assumed (`draftproof.statistics.count_identities.longest_told`); 0 where there is none.
        ceilings: What some figures cannot be above, by name in
            `draftproof.statistics.metrics.METRICS`: the most of any drafted tree.
        ceilings_by_depth: Likewise of `DEPTH_METRICS`, each ``[depths]``.
    """

    case_ids: tuple[str, ...]
    domains: tuple[str, ...]
    totals: Mapping[str, np.ndarray]
    by_depth: Mapping[str, np.ndarray]
    most_steps: np.ndarray
    told_deepest: float = 0.0
    ceilings: Mapping[str, float] = field(default_factory=dict)
    ceilings_by_depth: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def depths(self) -> int:
        """The largest depth of any draft."""
        return int(self.by_depth["nodes"].shape[1])

    @property
    def deepest(self) -> float:
        """What no accepted length is above: the largest depth of any draft."""
        return max(float(self.depths), self.told_deepest)


def prompt_sums(cases: Sequence[CaseRecord]) -> PromptSums:
    """The sums of every case that was measured; one that ended in an error is left out.

    Args:
        cases: The records, in any order; their ids are distinct.

    Returns:
        The sums, ordered by case id, so that nothing derived from them depends on the order in
        which cases ended.

    Raises:
        TraceError: A case's columns are not a trace, or an id occurs twice.
    """
    measured = [case for case in cases if case.verdict is not Verdict.ERROR]
    # Read in the order in which they lie, which may be on disk, and put in order afterwards.
    order = sorted(range(len(measured)), key=lambda row: measured[row].case_id)
    for before, after in pairwise(order):
        if measured[before].case_id == measured[after].case_id:
            raise TraceError(
                f"case {measured[after].case_id} occurs twice; its prompt would count twice"
            )
    flat: list[dict[str, np.ndarray]] = []
    deep: list[dict[str, np.ndarray]] = []
    most: list[tuple[float, np.ndarray]] = []
    for batch in batches(measured, BATCH_ROWS):
        flat.append(_totals(batch))
        deep.append(_depth_totals(batch))
        most.append((_most_accepted(batch), _most_matches(batch)))
    totals = {
        name: np.concatenate([np.empty(0), *(sums[name] for sums in flat)]) for name in TOTALS
    }
    by_depth = _of_all_depths(deep, totals["steps"])
    most_steps, told_deepest = _add_counts(totals, measured)
    return PromptSums(
        case_ids=tuple(measured[row].case_id for row in order),
        domains=tuple(measured[row].domain for row in order),
        totals={name: column[order] for name, column in totals.items()},
        by_depth={name: column[order] for name, column in by_depth.items()},
        most_steps=most_steps[order],
        told_deepest=told_deepest,
        **_ceilings(most, by_depth["nodes"].shape[1], totals),
    )


def first_child_path(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The expected accepted length of each step along its first-child path.

    That path follows sibling rank 0 from the root; the length is Σ over its depths of the product
    of the acceptance probabilities down to that depth, so a path that ends early adds 0 below.

    Returns:
        ``[steps]`` the lengths, and ``[steps]`` whether they are known: not where a node on the
        path has no acceptance probability, nor where the drafted nodes were not stored.
    """
    length = np.zeros(len(batch.case_of_step))
    known = batch.steps["nodes"] == 0
    first = batch.nodes["sibling_rank"] == 0
    below_node = np.flatnonzero(first & (batch.parent_row >= 0))
    first_child = np.full(len(batch.parent_row), -1)
    first_child[batch.parent_row[below_node]] = below_node
    rows = np.flatnonzero(first & (batch.parent_row < 0))
    known[batch.step_of_node[rows]] = True
    product = np.ones(len(rows))
    while len(rows):
        product = product * batch.nodes["acceptance_probability"][rows]
        length[batch.step_of_node[rows]] += product
        rows = first_child[rows]
        product, rows = product[rows >= 0], rows[rows >= 0]
    known &= ~np.isnan(length)
    return np.where(known, length, 0.0), known


def _ceilings(
    most: Sequence[tuple[float, np.ndarray]], depths: int, totals: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """`PromptSums.ceilings` and `PromptSums.ceilings_by_depth`, from those of the batches.

    Args:
        most: Of each batch, what `_most_accepted` and `_most_matches` say.
        depths: The largest depth of all.
        totals: `TOTALS`; where an engine tells no steps, accepted ÷ drafted is bounded by 1 alone.
    """
    matches = np.zeros(1 + depths)
    for _, found in most:
        matches[: len(found)] = np.maximum(matches[: len(found)], found)
    accepted = max((found for found, _ in most), default=0.0)
    if np.isnan(totals["accepted_squares"]).any():
        accepted = 1.0
    matches[matches == 0] = 1.0
    return {
        "ceilings": {
            "acceptance_rate_drafted": accepted or 1.0,
            "greedy_match": float(matches[0]),
        },
        "ceilings_by_depth": {"greedy_match": matches[1:]},
    }


def _most_accepted(batch: Batch) -> float:
    """The largest depth ÷ nodes of any draft: what no accepted ÷ drafted is above; 0 of none."""
    nodes = batch.steps["nodes"]
    drafted = nodes > 0
    return float((batch.steps["depth"][drafted] / nodes[drafted]).max(initial=0.0))


def _most_matches(batch: Batch) -> np.ndarray:
    """The largest share of greedy matches that any draft can have, 0 where there is none.

    Siblings are different tokens, of which one at most is the target's most probable one: so it is
    the share of families. Where more of a draft's nodes are matches, siblings are drawn with
    replacement and may all be the same token: then it is 1.

    Returns:
        ``[1 + depths of the batch]``: in a whole draft, and at each depth.
    """
    steps, depths = len(batch.case_of_step), int(batch.nodes["depth"].max(initial=0))
    cell = batch.step_of_node * depths + batch.nodes["depth"] - 1

    def by_step_and_depth(which: np.ndarray) -> np.ndarray:
        return _counted(cell, which, steps * depths).reshape(steps, depths)

    nodes, families, matches = (
        by_step_and_depth(which)
        for which in (
            np.ones(len(cell)),
            batch.nodes["sibling_rank"] == 0,
            batch.nodes["target_rank"] == 0,
        )
    )
    repeat = bool((matches > families).any())
    most = np.zeros(1 + depths)
    for column, above, below in (
        (slice(0, 1), families.sum(axis=1, keepdims=True), nodes.sum(axis=1, keepdims=True)),
        (slice(1, None), families, nodes),
    ):
        share = np.divide(above, below, out=np.zeros(below.shape), where=below > 0)
        most[column] = share.max(axis=0, initial=0.0)
    return np.where(most > 0, 1.0, 0.0) if repeat else most


def _add_counts(
    totals: dict[str, np.ndarray], cases: Sequence[CaseRecord]
) -> tuple[np.ndarray, float]:
    """Add the totals of cases whose engine tells its counters and no steps.

    Counters that contradict themselves or the output are in no total: no figure made of them would
    be true. Squares of steps are not known, so a design effect over them is not either. The
    output's first token, which prefill decides, is in no step.

    Returns:
        ``[cases]`` the most steps there can have been; and the longest draft of such engines.

    Mutates:
        `totals`.
    """
    most_steps = totals["steps"].copy()
    longest = 0
    for row, case in enumerate(cases):
        counts, output = case.counts, case.speculative
        if counts is None or output is None:
            continue
        tokens, by_text = output.length, output.by_text
        if case.contradictions or check_counts(counts, tokens, by_text=by_text):
            continue
        longest = max(longest, longest_told(counts))
        if counts.drafted is not None:
            totals["drafted"][row] = counts.drafted
            totals["accepted_of_drafted"][row] = counts.accepted
        bounds = step_bounds(counts, tokens, by_text=by_text)
        committed = committed_tokens(counts, tokens)
        if bounds is not None and committed is not None:
            totals["steps"][row], most_steps[row] = bounds
            totals["accepted"][row] = counts.accepted
            # An engine that drafts with the prompt has no token of prefill's alone.
            totals["committed_tokens"][row] = max(committed, bounds.fewest)
        for name in ("accepted_squares", "committed_squares"):
            totals[name][row] = np.nan
    return most_steps, longest


def _totals(batch: Batch) -> dict[str, np.ndarray]:
    from scipy.special import entr  # takes a while to import

    def by_step(values: np.ndarray | None = None) -> np.ndarray:
        return _counted(batch.case_of_step, values, batch.cases)

    def by_node(values: np.ndarray) -> np.ndarray:
        return _counted(batch.case_of_node, values, batch.cases)

    accepted = batch.steps["accepted_length"].astype(np.float64)
    committed = batch.steps["committed_tokens"].astype(np.float64)
    entropy = batch.nodes["draft_entropy"].astype(np.float64)
    entropy_known = ~np.isnan(entropy)
    entropy = np.where(entropy_known, entropy, 0.0)
    path_length, path_known = first_child_path(batch)
    probability, known = _known_probability(batch)
    return {
        "steps": by_step(),
        "drafted": by_step(batch.steps["nodes"]),
        "accepted_of_drafted": by_step(batch.steps["accepted_length"]),
        "accepted": by_step(batch.steps["accepted_length"]),
        "committed_tokens": by_step(batch.steps["committed_tokens"]),
        "path_steps": by_step(path_known),
        "path_length": by_step(path_length),
        "reached": by_node(batch.nodes["reached"]),
        "accepted_nodes": by_node(batch.nodes["accepted"]),
        "known_nodes": by_node(known),
        "acceptance_probability": by_node(probability),
        "ranked_nodes": by_node(batch.nodes["target_rank"] >= 0),
        "greedy_matches": by_node(batch.nodes["target_rank"] == 0),
        "accepted_squares": by_step(accepted**2),
        "committed_squares": by_step(committed**2),
        "path_squares": by_step(path_length**2),
        "acceptance_probability_squares": by_node(probability**2),
        "acceptance_log_likelihood": by_node(-entr(probability) - entr(1 - probability)),
        "entropy_nodes": by_node(entropy_known),
        "draft_entropy": by_node(entropy),
        "draft_entropy_squares": by_node(entropy**2),
    }


def _depth_totals(batch: Batch) -> dict[str, np.ndarray]:
    """`DEPTH_TOTALS` of a batch down to its own largest depth, but the one that others give."""
    lengths = batch.steps["accepted_length"]
    deepest = (batch.nodes["depth"], batch.steps["depth"], lengths)
    depths = max(int(column.max(initial=0)) for column in deepest)
    cell = batch.case_of_node * depths + batch.nodes["depth"] - 1
    probability, known = _known_probability(batch)

    def by_depth(values: np.ndarray | None = None) -> np.ndarray:
        return _counted(cell, values, batch.cases * depths).reshape(batch.cases, depths)

    cell_of_step = batch.case_of_step * (depths + 1) + lengths
    exactly = _counted(cell_of_step, None, batch.cases * (depths + 1))
    exactly = exactly.reshape(batch.cases, depths + 1)
    return {
        "nodes": by_depth(),
        "known_nodes": by_depth(known),
        "acceptance_probability": by_depth(probability),
        "acceptance_probability_squares": by_depth(probability**2),
        "ranked_nodes": by_depth(batch.nodes["target_rank"] >= 0),
        "greedy_matches": by_depth(batch.nodes["target_rank"] == 0),
        "steps_at_least": np.cumsum(exactly[:, ::-1], axis=1)[:, ::-1][:, 1:],
    }


def _of_all_depths(parts: Sequence[dict[str, np.ndarray]], steps: np.ndarray) -> dict[str, Any]:
    """`DEPTH_TOTALS`, each ``[cases, depths]``, of batches that end at depths of their own."""
    depths = max((part["nodes"].shape[1] for part in parts), default=0)
    found = {
        name: np.concatenate(
            [
                np.empty((0, depths)),
                *(
                    np.pad(part[name], ((0, 0), (0, depths - part[name].shape[1])))
                    for part in parts
                ),
            ]
        )
        for name in DEPTH_TOTALS
        if name != "steps_at_least_previous"
    }
    at_least = np.hstack([steps[:, None], found["steps_at_least"]])
    found["steps_at_least_previous"] = at_least[:, :-1]
    return found


def _known_probability(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    probability = batch.nodes["acceptance_probability"].astype(np.float64)
    known = ~np.isnan(probability)
    return np.where(known, probability, 0.0), known


def _counted(cells: np.ndarray, values: np.ndarray | None, size: int) -> np.ndarray:
    return np.bincount(cells, weights=values, minlength=size).astype(np.float64)
