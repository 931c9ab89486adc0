"""Replays drafts whose length varies: prompt lookup, and chains that end early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.replay.costs import CostModel
from draftproof.replay.pricing import Price, Workload
from draftproof.replay.recorded import RecordedCase
from draftproof.replay.sums import ReplaySums


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableSums:
    """Per-prompt sums where steps differ in what they score.

    Attributes:
        sums: As for other drafts.
        steps_by_nodes: ``[configurations, cases, longest + 1]`` steps with each number of nodes.
        passes: ``[configurations, cases]`` forward passes of the draft model, one token each.
    """

    sums: ReplaySums
    steps_by_nodes: np.ndarray
    passes: np.ndarray

    def price(self, workload: Workload, costs: CostModel, draft: str | None) -> Price:
        """What each prompt takes under each configuration."""
        steps = self.sums.steps
        context = self.sums.root_positions / np.maximum(steps, 1)
        total = costs.prompt(workload.prompt_tokens, draft) + steps * costs.step_ms
        total = total + self.sums.drafted * costs.node_ms
        for nodes in range(self.steps_by_nodes.shape[2]):
            often = self.steps_by_nodes[:, :, nodes]
            if often.any():
                total = total + often * costs.target.of(nodes + 1, context)
        drafting = np.zeros(steps.shape)
        if draft is not None:
            drafting = self.passes * costs.of_draft(draft).of(1, context)
            total = total + self.passes * costs.level_ms
        return Price(np.asarray(total + drafting) / 1000, drafting / 1000)


def walk(
    cases: Sequence[RecordedCase],
    proposed: Sequence[np.ndarray],
    kept: Sequence[np.ndarray],
    longest: int,
    passes: Sequence[np.ndarray] | None = None,
) -> VariableSums:
    """Add up steps from root to root.

    Args:
        cases: Of the recording.
        proposed: Of each case ``[configurations, tokens]``, tokens that a step at each root drafts.
        kept: Likewise, how many of them it keeps.
        longest: The most tokens that are drafted.
        passes: Likewise, forward passes of the draft model; as many as tokens by default.
    """
    passes = proposed if passes is None else passes
    configurations = len(proposed[0]) if proposed else 0
    shape = (configurations, len(cases))
    steps, drafted, accepted, positions, run = np.zeros((5, *shape))
    by_nodes = np.zeros((*shape, longest + 1))
    rows = np.arange(configurations)
    for number, case in enumerate(cases):
        root = np.zeros(configurations, int)
        last = case.committed - 1
        while (alive := root < last).any():
            at = np.minimum(root, last)
            nodes, keeps = proposed[number][rows, at], kept[number][rows, at]
            steps[:, number] += alive
            drafted[:, number] += alive * nodes
            accepted[:, number] += alive * keeps
            positions[:, number] += alive * (len(case.prompt_token_ids) + root)
            run[:, number] += alive * passes[number][rows, at]
            by_nodes[rows, number, nodes] += alive
            root = root + alive * (keeps + 1)
    sums = ReplaySums(
        steps=steps,
        drafted=drafted,
        accepted=accepted,
        root_positions=positions,
        committed=np.array([case.committed - 1 for case in cases]),
    )
    return VariableSums(sums=sums, steps_by_nodes=by_nodes, passes=run)
