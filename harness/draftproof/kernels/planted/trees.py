"""Faults of tree verifiers."""

from __future__ import annotations

import torch

from draftproof.kernels.planted.parts import (
    Planted,
    PointMassTree,
    VectorTree,
    WithoutReplacementTree,
)


class _NotNarrowed(WithoutReplacementTree):
    narrows = False


class _NarrowedWrongly(VectorTree):
    narrows = True


class _NotRenormalised(WithoutReplacementTree):
    def narrowed(self, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return q.scatter(1, token[:, None], 0.0)


class _SameLawForSiblings(VectorTree):
    def left(
        self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return p, q


class _StaleAfterSibling(VectorTree):
    def entered(self, target: torch.Tensor, p: torch.Tensor, node: int) -> torch.Tensor:
        """The law after the second child of the root is what its sibling left of the root's."""
        return p if node == 1 else target[:, node + 1]


class _OneCoinForSiblings(VectorTree):
    def coin(self, coins: torch.Tensor, node: int) -> torch.Tensor:
        return coins[:, 0]


class _PreviousNodeIsParent(VectorTree):
    def is_child(self, parent: torch.Tensor, at: torch.Tensor, node: int) -> torch.Tensor:
        return super().is_child(parent, at, node) | ((at == node) & (at > 0))


class _FirstChildOnly(VectorTree):
    def is_child(self, parent: torch.Tensor, at: torch.Tensor, node: int) -> torch.Tensor:
        return super().is_child(parent, at, node) & (parent + 1 == node)


class _RootsLaw(VectorTree):
    def entered(self, target: torch.Tensor, p: torch.Tensor, node: int) -> torch.Tensor:
        return target[:, 0]


class _SoftSiblings(PointMassTree):
    def keeps(
        self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor, law: torch.Tensor
    ) -> torch.Tensor:
        return coin < p


class _KeptMass(PointMassTree):
    def left(
        self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return p, q


_TREE = {"shape": "tree", "rule": "multi-round"}
_NARROW = {"shape": "tree", "rule": "without-replacement"}
_POINT = {"shape": "tree", "rule": "point-mass"}

PLANTED = (
    Planted(
        id="tree-not-narrowed",
        title="later siblings keep the whole q",
        make=_NotNarrowed,
        facts=_NARROW,
        source="EAGLE issue 74",
    ),
    Planted(
        id="tree-narrowed",
        title="independent siblings are narrowed",
        make=_NarrowedWrongly,
        facts=_TREE,
    ),
    Planted(
        id="tree-not-renormalised",
        title="the narrowed q is not renormalised",
        make=_NotRenormalised,
        facts=_NARROW,
    ),
    Planted(
        id="tree-no-residual",
        title="siblings are all judged by p",
        make=_SameLawForSiblings,
        facts=_TREE,
    ),
    Planted(
        id="tree-stale",
        title="after a second sibling the residual stays",
        make=_StaleAfterSibling,
        facts=_TREE,
        source="EAGLE 2f982e2",
    ),
    Planted(
        id="tree-one-coin", title="one uniform for all nodes", make=_OneCoinForSiblings, facts=_TREE
    ),
    Planted(
        id="tree-parent",
        title="the node before counts as parent",
        make=_PreviousNodeIsParent,
        facts=_TREE,
    ),
    Planted(
        id="tree-first-child",
        title="only first children are looked at",
        make=_FirstChildOnly,
        facts=_TREE,
    ),
    Planted(
        id="tree-roots-law", title="every node reads the root's law", make=_RootsLaw, facts=_TREE
    ),
    Planted(
        id="tree-not-conditional",
        title="one-hot siblings: the coin is p, not what is left",
        make=_SoftSiblings,
        facts=_POINT,
        source="EAGLE",
    ),
    Planted(
        id="tree-kept-mass",
        title="one-hot siblings: rejected ones keep their mass",
        make=_KeptMass,
        facts=_POINT,
    ),
)
"""The faults."""
