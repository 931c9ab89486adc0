"""The proposed tree: flat, immutable, parents before children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool

from draftproof.errors import DraftError
from draftproof.laws import ProposalLaw

ROOT = -1
"""Parent of a depth-1 node: the last committed token, which is not drafted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftTree:
    """A proposed tree of tokens as parallel flat arrays.

    Node ``i`` proposes ``token_ids[i]`` after the node ``parents[i]``, or after the root where
    ``parents[i]`` is `ROOT`. Parents come before their children, and siblings stand in the order
    in which they were proposed. A chain is a tree of width 1.

    Attributes:
        token_ids: ``[n]`` vocabulary ids.
        parents: ``[n]`` node indices, each below its own index, or `ROOT`.
        law: How siblings were chosen.
    """

    token_ids: tuple[int, ...]
    parents: tuple[int, ...]
    law: ProposalLaw

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def depths(self) -> tuple[int, ...]:
        """``[n]`` depth of each node; children of the root have depth 1."""
        return depths(self.parents)

    @property
    def depth(self) -> int:
        """The largest depth, 0 for an empty tree."""
        return max(self.depths, default=0)

    @property
    def sibling_ranks(self) -> tuple[int, ...]:
        """``[n]`` order of each node among its siblings, 0 = first proposed."""
        return sibling_ranks(self.parents)

    def children(self, parent: int) -> tuple[int, ...]:
        """The children of a node (or of `ROOT`) in proposal order."""
        return children(self.parents).get(parent, ())

    def path_to(self, node: int) -> tuple[int, ...]:
        """The nodes from depth 1 down to `node`, empty for `ROOT`."""
        return path_to(self.parents, node)

    def tokens(self, path: Sequence[int]) -> tuple[int, ...]:
        """The token ids of the nodes of a path."""
        return tuple(self.token_ids[node] for node in path)

    def check(self) -> None:
        """Verify the tree's invariants.

        Raises:
            DraftError: Names the first node that breaks a rule, and the rule.
        """
        if len(self.token_ids) != len(self.parents):
            raise DraftError(
                f"draft tree: {len(self.token_ids)} token ids but {len(self.parents)} parents"
            )
        for node, (token, parent) in enumerate(zip(self.token_ids, self.parents, strict=True)):
            if not ROOT <= parent < node:
                raise DraftError(
                    f"draft tree: node {node} has parent {parent}; a parent is {ROOT} (the root) "
                    "or a node before its child"
                )
            if token < 0:
                raise DraftError(f"draft tree: node {node} has the negative token id {token}")
        if self.law is ProposalLaw.INDEPENDENT:
            return
        for parent, siblings in children(self.parents).items():
            tokens = self.tokens(siblings)
            if len(set(tokens)) != len(tokens):
                raise DraftError(
                    f"draft tree: the children of node {parent} repeat a token ({tokens}); "
                    f"only the law '{ProposalLaw.INDEPENDENT}' allows that"
                )


# The shape of a tree is a pure function of `parents`, and drafters use few shapes: cached.


@lru_cache(maxsize=1024)
def depths(parents: tuple[int, ...]) -> tuple[int, ...]:
    """Depth of each node, 1 for children of the root.

    Example:
        >>> depths((-1, -1, 0, 2))
        (1, 1, 2, 3)
    """
    result: list[int] = []
    for parent in parents:
        result.append(1 if parent == ROOT else result[parent] + 1)
    return tuple(result)


@lru_cache(maxsize=1024)
def sibling_ranks(parents: tuple[int, ...]) -> tuple[int, ...]:
    """Order of each node among the nodes with its parent.

    Example:
        >>> sibling_ranks((-1, -1, 0, 0, 1))
        (0, 1, 0, 1, 0)
    """
    seen: dict[int, int] = {}
    result = []
    for parent in parents:
        result.append(seen.get(parent, 0))
        seen[parent] = result[-1] + 1
    return tuple(result)


@lru_cache(maxsize=1024)
def children(parents: tuple[int, ...]) -> dict[int, tuple[int, ...]]:
    """Children of each node that has any, in proposal order; the key `ROOT` is the root's.

    Example:
        >>> children((-1, -1, 0, 0))
        {-1: (0, 1), 0: (2, 3)}
    """
    result: dict[int, tuple[int, ...]] = {}
    for node, parent in enumerate(parents):
        result[parent] = (*result.get(parent, ()), node)
    return result


def path_to(parents: tuple[int, ...], node: int) -> tuple[int, ...]:
    """The nodes from depth 1 down to `node`, both included; empty for `ROOT`.

    Example:
        >>> path_to((-1, -1, 0, 2), 3)
        (0, 2, 3)
    """
    path: list[int] = []
    while node != ROOT:
        path.append(node)
        node = parents[node]
    return tuple(reversed(path))


@lru_cache(maxsize=1024)
def ancestor_mask(parents: tuple[int, ...]) -> Bool[np.ndarray, "n n"]:
    """Which nodes each node may attend to: itself and its ancestors.

    Returns:
        Read-only array; row ``i``, column ``j`` is true where ``j`` is ``i`` or an ancestor of it.

    Example:
        >>> ancestor_mask((-1, -1, 0)).astype(int).tolist()
        [[1, 0, 0], [0, 1, 0], [1, 0, 1]]
    """
    mask = np.eye(len(parents), dtype=bool)
    for node, parent in enumerate(parents):
        if parent != ROOT:
            mask[node] |= mask[parent]
    mask.setflags(write=False)
    return mask
