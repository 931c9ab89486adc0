"""Tree shapes as tables: where a walk down each of many trees goes at each sibling rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.errors import UsageError
from draftproof.shapes import ChainShape, KAryShape, StaticShape, TreeShape

Paths = tuple[tuple[int, ...], ...]
"""A tree by the sibling ranks that lead to each of its nodes."""

DEAD = 0
"""The state of a walk that has left its tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeTable:
    """Many trees of sibling ranks, as one table of transitions.

    Attributes:
        transitions: ``[states, ranks + 1]`` the state after a step down to a child of a rank, or
            `DEAD`; the last column stands for every rank that no tree has.
        roots: ``[trees]`` the state at each tree's root.
        nodes_to: ``[trees, depth + 1]`` nodes of depth 1 to d of each tree.
        expanded_at: ``[trees, depth]`` nodes with children at each level, the root's first: what a
            draft model scores in one forward pass.
        depths: ``[trees]``.
    """

    transitions: np.ndarray
    roots: np.ndarray
    nodes_to: np.ndarray
    expanded_at: np.ndarray
    depths: np.ndarray

    @property
    def ranks(self) -> int:
        """The most siblings of any of the trees."""
        return int(self.transitions.shape[1]) - 1


def tree_paths(shape: TreeShape) -> tuple[tuple[int, ...], ...]:
    """The sibling ranks that lead to each node of a shape whose drafts are always the same.

    A chain is what it is at temperature 0: the most probable token after another.

    Raises:
        UsageError: The shape depends on probabilities, which off the trajectory are not recorded.

    Example:
        >>> tree_paths(ChainShape(2))
        ((0,), (0, 0))
    """
    match shape:
        case ChainShape(length=length, stop_below=0.0, gain_below=0.0):
            return tuple((0,) * depth for depth in range(1, length + 1))
        case KAryShape() | StaticShape():
            return shape.paths
    raise UsageError(
        f"a recording does not decide the drafts of {shape}: their shape depends on what is drawn, "
        "or on probabilities where the target never was; replay a chain, a k-ary or a static tree "
        "(chain:5, 3x2, static:FILE.json)"
    )


def make_table(trees: Sequence[tuple[tuple[int, ...], ...]]) -> TreeTable:
    """The table of some trees, each given by the paths to its nodes.

    Every path's parent is a path of the tree too, as `draftproof.shapes.parse_tree` sees to.
    """
    ranks = max((path[-1] + 1 for paths in trees for path in paths), default=1)
    deepest = max((len(path) for paths in trees for path in paths), default=0)
    rows = [[DEAD] * (ranks + 1)]
    roots = []
    nodes_at = np.zeros((len(trees), deepest + 1), int)
    expanded = np.zeros((len(trees), max(deepest, 1)), int)
    for tree, paths in enumerate(trees):
        state: dict[tuple[int, ...], int] = {(): len(rows)}
        roots.append(len(rows))
        rows.append([DEAD] * (ranks + 1))
        for path in sorted(paths, key=len):
            state[path] = len(rows)
            rows.append([DEAD] * (ranks + 1))
            rows[state[path[:-1]]][path[-1]] = state[path]
            nodes_at[tree, len(path)] += 1
        for parent in {path[:-1] for path in paths}:
            expanded[tree, len(parent)] += 1
    return TreeTable(
        transitions=np.array(rows, np.int32),
        roots=np.array(roots, np.int32),
        nodes_to=nodes_at.cumsum(axis=1),
        expanded_at=expanded,
        depths=np.array([max(map(len, paths), default=0) for paths in trees]),
    )
