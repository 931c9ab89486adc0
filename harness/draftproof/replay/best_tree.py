"""The tree that keeps the most for its number of nodes, by dynamic programming.

A tree's expected accepted length is the sum over its nodes of the chance that the path to the node
is what the target says. So the best tree of n nodes and a given depth is a knapsack over the tree
of paths, in which a node needs its parent and its elder siblings.

Source:
    Sequoia, Chen et al. 2024 (arXiv 2402.12374), section 4.1. There the chance of a node is a
    product of positional acceptances that are the same at every depth; here it is counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from draftproof.replay.path_counts import PathCounts
from draftproof.replay.trees import Paths

_NEVER = -np.inf


def best_trees(counts: PathCounts, *, depth: int, most_nodes: int) -> Iterator[tuple[Paths, float]]:
    """The best tree of each number of nodes, none deeper than `depth`.

    Args:
        counts: Chances of paths.
        depth: Deepest node.
        most_nodes: Of the largest tree.

    Yields:
        Trees of 1, 2, … nodes, as far as there are paths for them, each with its expected accepted
        length.

    Example:
        >>> counts = PathCounts(
        ...     paths=((0,), (1,), (0, 0)),
        ...     shares=np.array([0.6, 0.2, 0.5]),
        ...     parents=np.array([-1, -1, 0]),
        ... )
        >>> [tree for tree, _ in best_trees(counts, depth=2, most_nodes=2)]
        [((0,),), ((0,), (0, 0))]
    """
    nodes = [node for node, path in enumerate(counts.paths) if len(path) <= depth]
    index = {counts.paths[node]: node for node in nodes}
    table: dict[int, np.ndarray] = {}
    split: dict[int, np.ndarray] = {}
    nothing = np.zeros(1)
    # From the last path to the first: children and younger siblings come after a node.
    for node in reversed(nodes):
        path = counts.paths[node]
        child = table.get(index.get((*path, 0), -1), nothing)
        younger = table.get(index.get((*path[:-1], path[-1] + 1), -1), nothing)
        joined, taken = _joined(child, younger, most_nodes - 1)
        table[node] = np.concatenate([[0.0], counts.shares[node] + joined])
        split[node] = taken
    root = index.get((0,))
    if root is None:
        return
    for size in range(1, min(most_nodes, len(table[root]) - 1) + 1):
        yield _chosen(counts, index, split, root, size), float(table[root][size])


def _joined(left: np.ndarray, right: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The most that two parts give together with n nodes, and how many of them the left has."""
    size = min(len(left) + len(right) - 2, most) + 1
    best, taken = np.full(size, _NEVER), np.zeros(size, int)
    for count, value in enumerate(left[:size]):
        stop = min(size, count + len(right))
        sums = value + right[: stop - count]
        better = sums > best[count:stop]
        best[count:stop] = np.where(better, sums, best[count:stop])
        taken[count:stop] = np.where(better, count, taken[count:stop])
    return best, taken


def _chosen(
    counts: PathCounts,
    index: dict[tuple[int, ...], int],
    split: dict[int, np.ndarray],
    root: int,
    size: int,
) -> Paths:
    """The nodes behind an entry of the table."""
    found: list[tuple[int, ...]] = []
    open_parts = [(root, size)]
    while open_parts:
        node, left = open_parts.pop()
        if not left:
            continue
        path = counts.paths[node]
        found.append(path)
        below = int(split[node][left - 1])
        open_parts.append((index.get((*path, 0), -1), below))
        open_parts.append((index.get((*path[:-1], path[-1] + 1), -1), left - 1 - below))
    return tuple(sorted(found, key=lambda path: (len(path), path)))


def neighbours(tree: Paths, *, ranks: int, depth: int) -> list[Paths]:
    """The trees that have one node more or one less.

    Args:
        tree: With every node its parent and its elder siblings.
        ranks: Siblings at most.
        depth: Levels at most.

    Example:
        >>> neighbours(((0,),), ranks=2, depth=2)
        [((0,), (1,)), ((0,), (0, 0))]
    """
    nodes = set(tree)
    grown = [_ordered(nodes | {path}) for path in _addable(nodes, ranks, depth)]
    return grown + [_ordered(nodes - {path}) for path in _removable(nodes) if len(nodes) > 1]


def moves(
    tree: Paths, shares: Mapping[tuple[int, ...], float], *, ranks: int, depth: int, most: int
) -> list[Paths]:
    """The trees in which one node stands elsewhere, the most promising ones.

    Where a wider pass costs a jump, or no more nodes are allowed, no neighbour is faster than a
    tree that a move betters.

    Args:
        tree: With every node its parent and its elder siblings.
        shares: How often each path is what the target says; 0 where it is not there.
        ranks: Siblings at most.
        depth: Levels at most.
        most: Trees to return: those that gain the most share, or lose the least.

    Example:
        >>> moves(((0,), (1,)), {(0,): 0.6, (1,): 0.2, (0, 0): 0.4}, ranks=2, depth=2, most=1)
        [((0,), (0, 0))]
    """
    nodes = set(tree)
    found = [
        (shares.get(path, 0.0) - shares.get(gone, 0.0), (nodes - {gone}) | {path})
        for gone in _removable(nodes)
        for path in _addable(nodes - {gone}, ranks, depth)
        if path != gone
    ]
    found.sort(key=lambda pair: -pair[0])
    return [_ordered(paths) for _, paths in found[:most]]


def transplants(tree: Paths) -> list[Paths]:
    """The trees in which two nodes of a level have each other's descendants.

    All passes stay as wide as they were, so that only what is kept changes; moving one node at a
    time would lead over trees that cost the same and keep less.

    Args:
        tree: With every node its parent and its elder siblings.

    Example:
        >>> transplants(((0,), (1,), (0, 0)))
        [((0,), (1,), (1, 0))]
    """
    nodes = set(tree)
    found = []
    for first, second in itertools.combinations(_ordered(nodes), 2):
        if len(first) != len(second):
            continue
        below, other = _below(nodes, first), _below(nodes, second)
        if below or other:
            moved = {second + path for path in below} | {first + path for path in other}
            stay = nodes - {first + path for path in below} - {second + path for path in other}
            found.append(_ordered(stay | moved))
    return [each for each in found if each != tree]


def _below(nodes: set[tuple[int, ...]], node: tuple[int, ...]) -> set[tuple[int, ...]]:
    """The paths from a node to its descendants."""
    length = len(node)
    return {path[length:] for path in nodes if len(path) > length and path[:length] == node}


def _removable(nodes: set[tuple[int, ...]]) -> Paths:
    """The nodes that no other needs."""
    return _ordered(
        {p for p in nodes if (*p, 0) not in nodes and (*p[:-1], p[-1] + 1) not in nodes}
    )


def _addable(nodes: set[tuple[int, ...]], ranks: int, depth: int) -> Paths:
    """The paths whose parent and elder siblings are there."""
    younger = {(*path[:-1], path[-1] + 1) for path in nodes if path[-1] + 1 < ranks}
    deeper = {(*path, 0) for path in nodes if len(path) < depth}
    return _ordered((younger | deeper | {(0,)}) - nodes)


def _ordered(paths: set[tuple[int, ...]]) -> Paths:
    return tuple(sorted(paths, key=lambda path: (len(path), path)))
