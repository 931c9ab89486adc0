"""Traversal verification: a sampled tree is judged from its leaves to its root."""

from __future__ import annotations

from draftproof.acceptance.multi_round import likelihood_ratio, without
from draftproof.acceptance.protocol import (
    Acceptance,
    Distribution,
    Distributions,
    proposal_distribution,
    require_valid,
)
from draftproof.drafting.protocol import Draft
from draftproof.laws import ProposalLaw
from draftproof.randomness import Purpose, Randomness
from draftproof.tree import ROOT


class TraversalRule:
    """Keeps the first path, leaves before their parents, that passes its own coin.

    Each node has a weight: w(child) = min(1, w · p(x)/q(x)), w(root) = 1. Paths are tried depth
    first, a leaf before its parent. When a child and all below it have failed, its parent goes on
    with the p and w that are left, r = Σ max(w p − q, 0), p ← norm(max(w p − q, 0)),
    w ← r / (r + 1 − w), and its next child is tried; when it has no more, it is itself kept with
    probability w. The extra token is drawn from the p that the kept node has left.

    Source:
        Weng et al. 2025 (arXiv 2505.12398), Algorithm 1, for siblings without replacement; with
        replacement q stays as it is. On a chain it is block verification.
    """

    name = "traversal"

    def accept(self, draft: Draft, target: Distributions, randomness: Randomness) -> Acceptance:
        require_valid(self, draft)
        reached: list[int] = []
        kept = _visit(ROOT, 1.0, draft, target, randomness, reached)
        if kept is None:
            raise AssertionError("the root is always kept")
        node, extra = kept
        return Acceptance(
            path=draft.tree.path_to(node), extra_token=extra, reached=tuple(sorted(reached))
        )


def _visit(
    node: int,
    weight: float,
    draft: Draft,
    target: Distributions,
    randomness: Randomness,
    reached: list[int],
) -> tuple[int, int] | None:
    """The node that is kept in a subtree with its extra token, or None: kept with `weight`."""
    tree = draft.tree
    p = target[node + 1]
    children = tree.children(node)
    q = proposal_distribution(draft, children[0]) if children else p
    for child in children:
        reached.append(child)
        token = tree.token_ids[child]
        child_weight = min(1.0, weight * likelihood_ratio(p, q, token))
        kept = _visit(child, child_weight, draft, target, randomness, reached)
        if kept is not None:
            return kept
        weight, p = remainder(p, q, weight)
        if draft.tree.law is ProposalLaw.WITHOUT_REPLACEMENT:
            q = without(q, token)
    # The root's weight stays 1 in exact arithmetic: there is nothing above it to fall back to.
    if node != ROOT and not randomness.bernoulli(weight, Purpose.ACCEPT):
        return None
    return node, randomness.categorical(p, Purpose.CORRECTION if children else Purpose.BONUS)


def remainder(p: Distribution, q: Distribution, weight: float) -> tuple[float, Distribution]:
    """What a node is left with when a child drawn from q, and all below it, has failed.

    Args:
        p: The target's distribution after the node, or what earlier children left of it.
        q: The distribution that the child was drawn from.
        weight: The node's weight before, in [0, 1].

    Returns:
        The new weight r / (r + 1 − weight) and the distribution norm(max(weight · p − q, 0)), with
        r = Σ max(weight · p − q, 0). Where nothing is left, weight 0 (1 if it was 1) and p: then
        the failure had probability 0 in exact arithmetic, or no such token is ever drawn.
    """
    left = (weight * p - q).clamp_min(0)
    total = float(left.sum())
    if total == 0:
        return (1.0 if weight == 1 else 0.0), p
    # `1 - weight` first: beside 1, a total that is mere rounding would vanish, and divide by 0.
    return total / (total + (1 - weight)), left / total
