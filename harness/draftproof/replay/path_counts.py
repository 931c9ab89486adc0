"""How often each path of sibling ranks is what the target says: a tree of counts, from data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from draftproof.replay.alignment import Alignment
from draftproof.replay.trees import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCounts:
    """The share of roots after which a path is the target's own continuation.

    The shares are of whole paths, so that how acceptance at one depth depends on that above it is
    taken from the data, and not from a product.

    Attributes:
        paths: ``[n]`` parents before children; with every path its elder siblings.
        shares: ``[n]`` of the roots.
        parents: ``[n]`` index of each path's parent, −1 for the root.
    """

    paths: Paths
    shares: np.ndarray
    parents: np.ndarray


def count_paths(
    alignment: Alignment, weights: np.ndarray, *, depth: int, ranks: int, most: int
) -> PathCounts:
    """Count the paths after the roots of some cases.

    Args:
        alignment: The cases.
        weights: ``[cases, tokens]`` of each position as a root: how often a step begins there.
        depth: Deepest path.
        ranks: Siblings looked at: ranks below this.
        most: Paths to keep, the most frequent ones; their elder siblings are added.
    """
    cases, tokens = alignment.ranks.shape
    padded = np.full((cases, tokens + depth), ranks, np.int64)
    padded[:, :tokens] = np.minimum(alignment.ranks, ranks)
    total = weights.sum()
    found: dict[tuple[int, ...], float] = {}
    codes = np.zeros((cases, tokens), np.int64)
    alive = weights > 0
    for level in range(1, depth + 1):
        rank = padded[:, level : level + tokens]
        alive = alive & (rank < ranks) & (alignment.room >= level)
        codes = codes * ranks + np.where(alive, rank, 0)
        if not alive.any():
            break
        values, inverse = np.unique(codes[alive], return_inverse=True)
        shares = np.bincount(inverse, weights[alive]) / total
        kept = np.argsort(-shares, kind="stable")[:most]
        for code, share in zip(values[kept].tolist(), shares[kept].tolist(), strict=True):
            found[_decoded(code, level, ranks)] = share
    frequent = sorted(found, key=lambda path: (-found[path], len(path), path))[:most]
    closed: set[tuple[int, ...]] = set()
    for path in frequent:
        for length in range(1, len(path) + 1):
            elder = path[: length - 1]
            closed.update((*elder, rank) for rank in range(path[length - 1] + 1))
    paths = tuple(sorted(closed, key=lambda path: (len(path), path)))
    index = {path: node for node, path in enumerate(paths)}
    return PathCounts(
        paths=paths,
        shares=np.array([found.get(path, 0.0) for path in paths]),
        parents=np.array([index.get(path[:-1], -1) for path in paths], int),
    )


def _decoded(code: int, level: int, ranks: int) -> tuple[int, ...]:
    path = []
    for _ in range(level):
        code, rank = divmod(code, ranks)
        path.append(rank)
    return tuple(reversed(path))
