"""Turns the steps of a batch into the trace columns of each of its rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from draftproof.acceptance.protocol import Acceptance
from draftproof.batch.decoding import BatchStep
from draftproof.batch.facts import NodeFacts, node_facts
from draftproof.decoding import Step
from draftproof.drafting.protocol import Draft
from draftproof.recording import StepSeconds, acceptance_probability, step_facts, tree_facts
from draftproof.trace import NODE_COLUMNS, STEP_COLUMNS, Columns, columns_from, empty_columns
from draftproof.tree import DraftTree


@dataclass(frozen=True, slots=True)
class _RowStep:
    """What is kept of a step of one row.

    Attributes:
        tree: What was proposed.
        acceptance: What was kept of it.
        root_position: Position of the root in the sequence.
        committed: Tokens that were added to the output.
        facts: `NodeFacts` of the row's places, on the device.
        places: ``[nodes]`` which of these are the row's nodes.
    """

    tree: DraftTree
    acceptance: Acceptance
    root_position: int
    committed: int
    facts: Float[torch.Tensor, "n facts"]
    places: tuple[int, ...]


class BatchRecorder:
    """An observer for `speculate_all` that keeps every step and node of every row.

    What the models say of nodes is worked out on the device in one pass a step, and copied to the
    host once a row, when it has ended.
    """

    def __init__(self) -> None:
        self._steps: dict[int, list[_RowStep]] = defaultdict(list)

    def __call__(self, step: BatchStep) -> None:
        """Take note of a step."""
        facts = node_facts(step)
        for row, tree, places, kept, committed, own in zip(
            step.rows,
            step.trees,
            step.places,
            step.acceptances,
            step.committed,
            facts,
            strict=True,
        ):
            root_position = len(row.sequence) - len(committed) - 1
            self._steps[row.index].append(
                _RowStep(tree, kept, root_position, len(committed), own, places)
            )

    def take(self, row: int, seconds: Sequence[StepSeconds]) -> tuple[Columns, Columns]:
        """`STEP_COLUMNS` and `NODE_COLUMNS` of a row that has ended, which is forgotten here.

        Args:
            row: Its index among the jobs.
            seconds: Of each of its steps.
        """
        kept = self._steps.pop(row, [])
        rows = [
            {
                **step_facts(index, s.tree, s.acceptance, s.root_position, s.committed),
                "draft_seconds": spent.draft,
                "verify_seconds": spent.verify,
            }
            for index, (s, spent) in enumerate(zip(kept, seconds, strict=True))
        ]
        steps = columns_from(STEP_COLUMNS, {name: [r[name] for r in rows] for name in STEP_COLUMNS})
        with_nodes = [(index, s) for index, s in enumerate(kept) if len(s.tree)]
        if not with_nodes:
            return steps, empty_columns(NODE_COLUMNS)
        trees = [
            tree_facts(index, s.tree, s.acceptance, s.root_position) for index, s in with_nodes
        ]
        columns = {name: np.concatenate([tree[name] for tree in trees]) for name in trees[0]}
        facts = _model_facts([s for _, s in with_nodes])
        return steps, columns_from(NODE_COLUMNS, {**columns, **facts})


def _model_facts(steps: Sequence[_RowStep]) -> dict[str, np.ndarray]:
    """What both models say of the nodes of some steps, each ``[nodes]``, in one copy."""
    widths = np.array([len(step.facts) for step in steps])
    places = np.concatenate([np.array(step.places) for step in steps])
    first = np.repeat(np.cumsum(widths) - widths, [len(step.places) for step in steps])
    table = torch.cat([step.facts for step in steps]).cpu().numpy()[first + places]
    facts = dict(zip(NodeFacts._fields, table.astype(np.float64).T, strict=True))
    p, q = facts["target_probability"], facts["draft_probability"]
    return {**facts, "acceptance_probability": acceptance_probability(p, q)}


def step_of(step: BatchStep, number: int) -> Step:
    """One row's step, as an observer of a single sequence sees it.

    Args:
        step: Of the batch.
        number: The row's place in it.
    """
    row, tree, places = step.rows[number], step.trees[number], list(step.places[number])
    draft, acceptance = step.draft, step.acceptances[number]
    rows = () if draft.rows is None else tuple(draft.rows[number, places].tolist())
    before = len(row.sequence) - len(step.committed[number])
    kept = [0, *(place + 1 for place in places)]
    return Step(
        sequence=tuple(row.sequence[:before]),
        law=row.law,
        draft=Draft(
            tree=tree,
            rows=rows,
            logits=None if draft.logits is None else draft.logits[number],
            probabilities=None if draft.probabilities is None else draft.probabilities[number],
        ),
        target_logits=step.target_logits[number, kept],
        target_probabilities=step.target_probabilities[number, kept],
        acceptance=acceptance,
    )
