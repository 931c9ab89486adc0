"""Replays deterministic trees: what each would have kept along the recorded trajectories.

A tree of fixed shape proposes the draft model's most probable tokens. Whatever the temperature, the
next emitted token is kept exactly if it is among the proposed children: at temperature 0 because
the trajectory is the target's argmax; above it because the point-mass rule keeps a child with the
target's own probability of it, so that the token it emits is a child exactly if it kept that child.
So the walk of the emitted tokens' sibling ranks down the tree is all there is to know.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from draftproof.replay.alignment import Alignment
from draftproof.replay.sums import ReplaySums
from draftproof.replay.trees import DEAD, Paths, TreeTable, make_table

_VALUES_AT_ONCE = 1 << 21


def replay_trees(alignment: Alignment, trees: Sequence[Paths]) -> ReplaySums:
    """What each of some trees would have kept of each case.

    Args:
        alignment: The cases, with ranks under a draft model.
        trees: Each by the paths to its nodes; one without nodes is plain decoding.

    Returns:
        Counts ``[trees, cases]``. Steps and committed tokens are those of a live run; accepted and
        drafted tokens too, where a tree reaches no further beyond an output's end than was
        recorded.
    """
    cases, tokens = alignment.ranks.shape
    at_once = max(1, _VALUES_AT_ONCE // max(1, cases * tokens))
    parts = []
    for start in range(0, len(trees), at_once):
        table = make_table(trees[start : start + at_once])
        lengths = accepted_lengths(alignment, table)
        parts.append(_walked(alignment, table, lengths))
    deepest = max((len(path) for tree in trees for path in tree), default=0)
    widened = [(*counts, _up_to(by_depth, deepest)) for *counts, by_depth in parts]
    stacked = [np.concatenate(columns) for columns in zip(*widened, strict=True)]
    if not stacked:
        stacked = [np.zeros((0, cases))] * 4 + [np.zeros((0, cases, deepest + 1))]
    return ReplaySums(
        steps=stacked[0],
        drafted=stacked[1],
        accepted=stacked[2],
        root_positions=stacked[3],
        committed=alignment.committed - 1,
        steps_by_depth=stacked[4] if (alignment.room < deepest).any() else None,
    )


def _up_to(by_depth: np.ndarray, deepest: int) -> np.ndarray:
    """Counts by depth, up to a greater depth."""
    return np.pad(by_depth, ((0, 0), (0, 0), (0, deepest + 1 - by_depth.shape[2])))


def accepted_lengths(alignment: Alignment, table: TreeTable) -> np.ndarray:
    """How many tokens a step would keep, at every position that might be its root.

    Returns:
        int16 ``[trees, cases, tokens]``.
    """
    cases, tokens = alignment.ranks.shape
    deepest = int(table.depths.max(initial=0))
    width = table.ranks + 1
    # Ranks that no tree has share the last column, which is DEAD in every row.
    ranks = np.full((cases, tokens + deepest), table.ranks, np.int32)
    ranks[:, :tokens] = np.minimum(alignment.ranks, table.ranks)
    flat = table.transitions.ravel()
    state = np.broadcast_to(table.roots[:, None, None], (len(table.roots), cases, tokens))
    lengths = np.zeros(state.shape, np.int16)
    for depth in range(1, deepest + 1):
        state = flat[state * width + ranks[:, depth : depth + tokens]]
        alive = state != DEAD
        lengths += alive & (alignment.room >= depth)
    return lengths


def _walked(
    alignment: Alignment, table: TreeTable, lengths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, drafted and accepted tokens and root positions, and steps by the drafts' depth.

    Returns:
        Four arrays ``[trees, cases]``, and one ``[trees, cases, depth + 1]``.
    """
    trees, cases, tokens = lengths.shape
    last = alignment.committed - 1
    flat, room = lengths.reshape(trees, -1), alignment.room.ravel()
    row = np.arange(cases) * tokens
    deepest = table.nodes_to.shape[1] - 1
    root = np.zeros((trees, cases), np.int64)
    sums = np.zeros((4, trees, cases), np.int64)
    by_depth = np.zeros((trees, cases, deepest + 1))
    every_tree, every_case = np.arange(trees)[:, None], np.arange(cases)
    is_cut = bool((room < deepest).any())
    while True:
        alive = root < last
        if not alive.any():
            steps, drafted, accepted, positions = sums.astype(float)
            return steps, drafted, accepted, positions, by_depth
        index = row + np.minimum(root, tokens - 1)
        kept = np.take_along_axis(flat, index, 1).astype(np.int64)
        depth = np.minimum(room[index], deepest)
        nodes = np.take_along_axis(table.nodes_to, depth, 1)
        if is_cut:
            by_depth[every_tree, every_case, np.minimum(depth, table.depths[:, None])] += alive
        sums[0] += alive
        sums[1] += np.where(alive, nodes, 0)
        sums[2] += np.where(alive, kept, 0)
        sums[3] += np.where(alive, alignment.prompt_tokens + root, 0)
        root += np.where(alive, kept + 1, 0)
