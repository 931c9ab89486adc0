"""From what a tree keeps and what passes cost to seconds: the price of a configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from draftproof.replay.costs import CostModel
from draftproof.replay.sums import ReplaySums
from draftproof.replay.trees import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The prompts that are priced.

    Attributes:
        prompt_tokens: ``[cases]``.
        committed: ``[cases]`` tokens of each output, the first included.
    """

    prompt_tokens: np.ndarray
    committed: np.ndarray

    def plain_seconds(self, costs: CostModel) -> np.ndarray:
        """``[cases]`` seconds of plain decoding, prefill included."""
        context = self.prompt_tokens + self.committed / 2
        tokens = self.committed - 1
        prompt = costs.prompt(self.prompt_tokens, None)
        return np.asarray((prompt + tokens * costs.plain(context)) / 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """What each step of a configuration scores.

    Attributes:
        nodes: Tokens proposed, which the target scores together with the root.
        levels: Tokens that the draft model scores in each of its forward passes; none for a drafter
            without a model.
    """

    nodes: int
    levels: tuple[int, ...]

    @classmethod
    def of_tree(cls, paths: Sequence[tuple[int, ...]]) -> Widths:
        """Of a tree, by the paths to its nodes.

        Example:
            >>> Widths.of_tree(((0,), (1,), (0, 0), (1, 0), (1, 1)))
            Widths(nodes=5, levels=(1, 2))
        """
        parents = {path[:-1] for path in paths}
        depths = [len(parent) for parent in parents]
        return cls(
            nodes=len(paths),
            levels=tuple(depths.count(depth) for depth in range(max(depths, default=-1) + 1)),
        )


def within_costs(widths: Widths, costs: CostModel, draft: str | None) -> bool:
    """Whether there are costs of every pass of a step, the target's and the draft model's."""
    if widths.nodes + 1 > costs.target.widths[-1]:
        return False
    return draft is None or max(widths.levels, default=0) <= costs.of_draft(draft).widths[-1]


class StepCost(NamedTuple):
    """Milliseconds of one step.

    Attributes:
        target: Of verifying, with what a step takes beside forward passes.
        draft: Of the draft model's forward passes; what the engine adds to each is in `target`.
    """

    target: np.ndarray
    draft: np.ndarray


def step_cost(
    widths: Widths, costs: CostModel, draft: str | None, context: np.ndarray | float
) -> StepCost:
    """What one step costs, of the shape of `context`.

    Args:
        widths: What the step scores.
        costs: Of the models.
        draft: Name of the draft model; None for a drafter without one.
        context: Tokens before the root.
    """
    target = costs.target.of(widths.nodes + 1, context) + costs.step_ms
    target = target + widths.nodes * costs.node_ms
    passes = np.zeros(np.shape(context))
    if draft is not None:
        own = costs.of_draft(draft)
        for level in widths.levels:
            passes = passes + own.of(level, context)
        target = target + len(widths.levels) * costs.level_ms
    return StepCost(np.asarray(target), np.asarray(passes))


class Price(NamedTuple):
    """Seconds of each prompt under each configuration, prefill included.

    Attributes:
        seconds: ``[configurations, cases]``.
        draft_seconds: Of these, the draft model's forward passes while decoding.
    """

    seconds: np.ndarray
    draft_seconds: np.ndarray


def price(
    sums: ReplaySums,
    trees: Sequence[Paths],
    workload: Workload,
    costs: CostModel,
    draft: str | None,
) -> Price:
    """What prompts take under each configuration.

    A step is priced at the mean context of a prompt's steps, and as deep as its draft can be where
    a model's context ends.

    Args:
        sums: What is priced.
        trees: Of each configuration; a chain is a tree too, and one without nodes plain decoding.
        workload: The prompts.
        costs: Of the models.
        draft: Name of the draft model; None for a drafter without one.
    """
    prompt = costs.prompt(workload.prompt_tokens, draft)
    seconds, drafting = np.zeros((2, *sums.steps.shape))
    for row, (tree, steps) in enumerate(zip(trees, sums.steps, strict=True)):
        context = sums.root_positions[row] / np.maximum(steps, 1)
        if not tree:
            seconds[row] = workload.plain_seconds(costs)
            continue
        verifying = np.zeros(len(steps))
        for count, paths in _by_depth(sums, row, tree):
            step = step_cost(Widths.of_tree(paths), costs, draft, context)
            drafting[row] += count * step.draft / 1000
            verifying += count * step.target / 1000
        seconds[row] = prompt / 1000 + verifying + drafting[row]
    return Price(seconds, drafting)


def _by_depth(sums: ReplaySums, row: int, tree: Paths) -> Iterator[tuple[np.ndarray, Paths]]:
    """How many steps of each prompt have which part of a tree as their draft."""
    if sums.steps_by_depth is None:
        yield sums.steps[row], tree
        return
    for depth in range(max(map(len, tree)) + 1):
        count = sums.steps_by_depth[row, :, depth]
        if count.any():
            yield count, tuple(path for path in tree if len(path) <= depth)
