"""Faults of tree verifiers that small trees of one form hide: width, depth, order, and parents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from draftproof.kernels.contract import TreeCall
from draftproof.kernels.planted.parts import (
    OWN_DRAWS,
    Planted,
    PointMassTree,
    VectorTree,
    WithoutReplacementTree,
    both_ways,
)


class _FirstRowsTree(VectorTree):
    def __call__(self, call: TreeCall, /) -> Any:
        return super().__call__(replace(call, parents=call.parents[:1].expand_as(call.parents)))


class _NeighboursInOrder(VectorTree):
    """A node's next sibling is taken to be the node after it."""

    def __call__(self, call: TreeCall, /) -> Any:
        parents = call.parents.clone()
        for node in range(1, parents.shape[1]):
            earlier = (call.parents[:, :node] == call.parents[:, node, None]).any(1)
            apart = earlier & (call.parents[:, node] != call.parents[:, node - 1])
            # Not beside a sibling: it is never found.
            parents[apart, node] = -9
        return super().__call__(replace(call, parents=parents))


class _ThreeSiblings(VectorTree):
    most = 3

    def __call__(self, call: TreeCall, /) -> Any:
        parents = call.parents.clone()
        for node in range(parents.shape[1]):
            earlier = (call.parents[:, :node] == call.parents[:, node, None]).sum(1)
            parents[earlier >= self.most, node] = -9
        return super().__call__(replace(call, parents=parents))


class _TwoSiblings(PointMassTree):
    def __call__(self, call: TreeCall, /) -> Any:
        parents = call.parents.clone()
        for node in range(parents.shape[1]):
            earlier = (call.parents[:, :node] == call.parents[:, node, None]).sum(1)
            parents[earlier >= 3, node] = -9
        return super().__call__(replace(call, parents=parents))


class _DepthOfThree(VectorTree):
    def __call__(self, call: TreeCall, /) -> Any:
        depth = torch.zeros_like(call.parents)
        for node in range(call.parents.shape[1]):
            above = call.parents[:, node]
            before = depth.gather(1, above.clamp_min(0)[:, None])[:, 0]
            depth[:, node] = torch.where(above >= 0, before + 1, 1)
        return super().__call__(replace(call, parents=torch.where(depth > 3, -9, call.parents)))


class _LastLeafsLaw(VectorTree):
    """Beside the last leaf, the bonus of a leaf reads the law of the node before it."""

    def entered(self, target: torch.Tensor, p: torch.Tensor, node: int) -> torch.Tensor:
        return target[:, node] if node >= 4 else target[:, node + 1]


class _RootsDraft(VectorTree):
    """Deep children are judged by the law that the root's children were drawn from."""

    def __call__(self, call: TreeCall, /) -> Any:
        assert call.draft_probabilities is not None
        first = call.draft_probabilities[:, :1].expand_as(call.draft_probabilities)
        return super().__call__(replace(call, draft_probabilities=first))


class _NotRenormalisedBetween(VectorTree):
    def left(
        self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rest = (p - q).clamp_min(0)
        return torch.where(rest.sum(-1, keepdim=True) > 0, rest, p), q


class _GoesBack(VectorTree):
    """After a kept node whose children were rejected, its later siblings are tried."""

    def is_child(self, parent: torch.Tensor, at: torch.Tensor, node: int) -> torch.Tensor:
        return super().is_child(parent, at, node) | ((parent == -1) & (at > 0) & (at != node))


class _SkipsDuplicates(VectorTree):
    def __call__(self, call: TreeCall, /) -> Any:
        parents = call.parents.clone()
        for node in range(parents.shape[1]):
            for earlier in range(node):
                same = (call.parents[:, earlier] == call.parents[:, node]) & (
                    call.tokens[:, earlier] == call.tokens[:, node]
                )
                parents[same, node] = -9
        return super().__call__(replace(call, parents=parents))


class _LikeliestFirst(VectorTree):
    """The root's first two children are tried in the order of the target's probabilities."""

    def __call__(self, call: TreeCall, /) -> Any:
        if call.parents.shape[1] < 2 or bool((call.parents[0] >= 0).any()):
            return super().__call__(call)
        first = call.target_probabilities[:, 0].gather(1, call.tokens)
        order = first.argsort(dim=1, descending=True, stable=True)
        return super().__call__(replace(call, tokens=call.tokens.gather(1, order)))


class _LastRemovedOnly(PointMassTree):
    """Of the rejected siblings, the last one alone is taken out of the law."""

    def __call__(self, call: TreeCall, /) -> Any:
        self._target = call.target_probabilities
        return super().__call__(call)

    def left(
        self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        gone = (p == 0).sum(-1, keepdim=True)
        rest = torch.where(gone > 1, self._target[:, 0], p)
        return rest.scatter(1, token[:, None], 0.0), q


class _NotReset(PointMassTree):
    """The mass of rejected siblings is not forgotten when a node is kept."""

    def entered(self, target: torch.Tensor, p: torch.Tensor, node: int) -> torch.Tensor:
        own = target[:, node + 1]
        return own * p.sum(-1, keepdim=True).clamp_min(1e-6)

    def keeps(
        self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor, law: torch.Tensor
    ) -> torch.Tensor:
        return coin < p


class _ShortIds(VectorTree):
    """Ids are kept in 16 bits while siblings are tried."""

    def left(
        self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rest, narrowed = super().left(p, q, token)
        if p.shape[-1] < 32_768:
            return rest, narrowed
        return torch.where(torch.arange(p.shape[-1]) < 32_768, rest, 0), narrowed


class _ShortIdsWithout(WithoutReplacementTree):
    def narrowed(self, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        if q.shape[-1] < 32_000:
            return super().narrowed(q, token)
        return q


class _HalfSiblings(VectorTree):
    """Only where probabilities have 16 bits, a second sibling is judged by the whole law."""

    def left(
        self, p: torch.Tensor, q: torch.Tensor, token: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return (p, q) if p.dtype in (torch.bfloat16, torch.float16) else super().left(p, q, token)


class _StopsWithFirst(VectorTree):
    """The walk ends for all rows when the first row's does."""

    def __call__(self, call: TreeCall, /) -> Any:
        out = super().__call__(call)
        length = int((out[0] >= 0).sum())
        if len(out) < 2:
            return out
        extra = out.clone()
        cut = (out >= 0).sum(1) > length
        extra[cut, length:] = -1
        return extra


class _AllAlike(VectorTree):
    """Where all rows keep a whole path, the extra token is the argmax."""

    def __call__(self, call: TreeCall, /) -> Any:
        out = super().__call__(call)
        counts = (out >= 0).sum(1)
        if bool((counts == counts.max()).all()) and int(counts.max()) > 1:
            every = torch.arange(len(out))
            path = out[every, counts - 2]
            for node in range(call.tokens.shape[1]):
                here = call.tokens[:, node] == path
                best = call.target_probabilities[:, node + 1].argmax(-1)
                out[every[here], counts[here] - 1] = best[here]
        return out


class _SharedNodes(VectorTree):
    """Rows draw one uniform for each node, and not one each."""

    def coins(self, call: TreeCall) -> torch.Tensor:
        nodes = call.tokens.shape[1]
        coins = torch.rand((len(call.tokens), nodes + 1), generator=call.generator)
        coins[:, :nodes] = coins[:1, :nodes]
        return coins


class _ReusedSibling(VectorTree):
    """The first sibling's uniform is the second's, too."""

    def coin(self, coins: torch.Tensor, node: int) -> torch.Tensor:
        return coins[:, 0] if node == 1 else coins[:, node]


class _Backwards(WithoutReplacementTree):
    """What later siblings were drawn from lacks the last sibling, not the rejected one."""

    def narrowed(self, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return super().narrowed(q, token.roll(1, 0))


class _DeepNotNarrowed(WithoutReplacementTree):
    """Below the root, later siblings keep the whole q."""

    def __call__(self, call: TreeCall, /) -> Any:
        self._root = True
        return super().__call__(call)

    def entered(self, target: torch.Tensor, p: torch.Tensor, node: int) -> torch.Tensor:
        self._root = node < 2
        return super().entered(target, p, node)

    def narrowed(self, q: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return super().narrowed(q, token) if self._root else q


class _ByToken(VectorTree):
    """A node's parent is told by its token: siblings' children of one name are confused."""

    def __call__(self, call: TreeCall, /) -> Any:
        parents = call.parents.clone()
        for node in range(parents.shape[1]):
            above = call.parents[:, node]
            name = call.tokens.gather(1, above.clamp_min(0)[:, None])
            first = (call.tokens == name).long().argmax(1)
            parents[:, node] = torch.where(above >= 0, torch.minimum(first, above), above)
        return super().__call__(replace(call, parents=parents))


class _LastPath(PointMassTree):
    """The extra token after the last leaf comes from the law of the leaf before it."""

    def __call__(self, call: TreeCall, /) -> Any:
        nodes = call.tokens.shape[1]
        target = call.target_probabilities.clone()
        if nodes > 2:
            target[:, nodes] = target[:, nodes - 1]
        return super().__call__(replace(call, target_probabilities=target))


_TREE = {"shape": "tree", "rule": "multi-round"}
_NARROW = {"shape": "tree", "rule": "without-replacement"}
_POINT = {"shape": "tree", "rule": "point-mass"}

PLANTED = (
    *both_ways(
        Planted(
            id="tree-first-rows",
            title="all rows have the first row's tree",
            make=_FirstRowsTree,
            facts=_TREE,
        )
    ),
    Planted(
        id="tree-in-order",
        title="siblings that do not stand side by side are lost",
        make=_NeighboursInOrder,
        facts=_TREE,
    ),
    *both_ways(
        Planted(
            id="tree-three-siblings",
            title="a fourth sibling is lost",
            make=_ThreeSiblings,
            facts=_TREE,
        )
    ),
    *both_ways(
        Planted(
            id="tree-point-siblings",
            title="a fourth one-hot sibling is lost",
            make=_TwoSiblings,
            facts=_POINT,
        )
    ),
    Planted(
        id="tree-depth-three",
        title="nothing is kept below depth three",
        make=_DepthOfThree,
        facts=_TREE,
    ),
    *both_ways(
        Planted(
            id="tree-wrong-row",
            title="from the fifth node on the row before is read",
            make=_LastLeafsLaw,
            facts=_TREE,
        )
    ),
    Planted(
        id="tree-roots-draft", title="every node reads the root's q", make=_RootsDraft, facts=_TREE
    ),
    Planted(
        id="tree-unnormalised",
        title="the residual is not normalised between siblings",
        make=_NotRenormalisedBetween,
        facts=_TREE,
    ),
    Planted(
        id="tree-goes-back",
        title="the root's siblings are tried below a kept node",
        make=_GoesBack,
        facts=_TREE,
    ),
    Planted(
        id="tree-duplicates",
        title="a sibling of the same token is skipped",
        make=_SkipsDuplicates,
        facts=_TREE,
    ),
    Planted(
        id="tree-likeliest",
        title="siblings are tried by the target's order",
        make=_LikeliestFirst,
        facts=_TREE,
    ),
    Planted(
        id="tree-last-removed",
        title="one-hot: the last rejected sibling alone loses its mass",
        make=_LastRemovedOnly,
        facts=_POINT,
    ),
    *both_ways(
        Planted(
            id="tree-not-reset",
            title="one-hot: rejected mass is kept for deeper nodes",
            make=_NotReset,
            facts=_POINT,
        )
    ),
    Planted(
        id="tree-short-ids",
        title="ids above 32,767 are lost after a rejection",
        make=_ShortIds,
        facts=_TREE,
    ),
    Planted(
        id="tree-short-ids-own",
        title="ids above 32,767 are lost, own draws",
        make=_ShortIds,
        facts=_TREE | OWN_DRAWS,
    ),
    Planted(
        id="tree-wide-narrow",
        title="with 32,000 ids or more q is not narrowed",
        make=_ShortIdsWithout,
        facts=_NARROW,
    ),
    *both_ways(
        Planted(
            id="tree-half",
            title="in half precision siblings are judged by p",
            make=_HalfSiblings,
            facts=_TREE,
        )
    ),
    Planted(
        id="tree-stops",
        title="all rows end where the first does",
        make=_StopsWithFirst,
        facts=_TREE,
    ),
    *both_ways(
        Planted(
            id="tree-all-alike",
            title="where all rows keep as much, the argmax ends them",
            make=_AllAlike,
            facts=_TREE,
        )
    ),
    Planted(
        id="tree-shared",
        title="rows share their nodes' uniforms",
        make=_SharedNodes,
        facts=_TREE | OWN_DRAWS,
    ),
    Planted(
        id="tree-reused",
        title="a second sibling reuses the first one's draw",
        make=_ReusedSibling,
        facts=_TREE | OWN_DRAWS,
    ),
    Planted(
        id="tree-neighbours-token",
        title="q is narrowed by the row before's token",
        make=_Backwards,
        facts=_NARROW | OWN_DRAWS,
    ),
    Planted(
        id="tree-deep-narrow",
        title="below the root q is not narrowed",
        make=_DeepNotNarrowed,
        facts=_NARROW,
    ),
    Planted(
        id="tree-by-token", title="parents are told by their token", make=_ByToken, facts=_TREE
    ),
    Planted(
        id="tree-last-path",
        title="one-hot: the last leaf reads the law of the leaf before",
        make=_LastPath,
        facts=_POINT,
    ),
    Planted(
        id="tree-last-path-own",
        title="one-hot: the last leaf reads the law before, own draws",
        make=_LastPath,
        facts=_POINT | OWN_DRAWS,
    ),
)
"""The faults."""
