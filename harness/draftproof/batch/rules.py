"""Acceptance rules on a batch: what every node's coin would be, and what would be left after it.

None of this depends on how a coin falls: a sibling is tried only once all before it were rejected,
so what it is tried against is known beforehand. So all rows and nodes are worked out at once on the
device, and the host needs to wait only once before it tosses the coins (`draftproof.batch.walks`).

The rules are those of `draftproof.acceptance`, which are the ones that are enumerated; tests hold
these to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64

from draftproof.batch.drafts import BatchDraft, sibling_ranks
from draftproof.laws import ProposalLaw


class Verified(NamedTuple):
    """What a rule makes of a batch of drafts before any coin is tossed.

    Attributes:
        keep: ``[B, n]`` the probability with which each node is kept once it is tried.
        left: ``[B, n + 1, vocabulary]`` what the extra token is drawn from where the walk ends at
            the root (index 0), or at node ``i`` (``i + 1``); of any total.
    """

    keep: Float[torch.Tensor, "B n"]
    left: Float[torch.Tensor, "B places vocabulary"]


BatchRule = Callable[[BatchDraft, torch.Tensor], Verified]
"""From the drafts and the target's distributions ``[B, n + 1, vocabulary]`` to what they mean."""


def greedy(draft: BatchDraft, target: Float[torch.Tensor, "B places vocabulary"]) -> Verified:
    """`draftproof.acceptance.GreedyRule`: certain coins, for the target's argmax."""
    best = target.argmax(-1)
    wanted = best.gather(1, draft.parents + 1)
    return Verified((wanted == draft.token_ids).to(target.dtype), target)


def point_mass(draft: BatchDraft, target: Float[torch.Tensor, "B places vocabulary"]) -> Verified:
    """`draftproof.acceptance.PointMassRule`: a child is kept with its share of what is left."""
    left = target.clone()
    keep = torch.zeros_like(draft.token_ids, dtype=target.dtype)
    for child, token in _rounds(draft):
        mass = left.gather(-1, token)
        share = mass / left.sum(-1, keepdim=True)
        keep = _told(keep, child, share[..., 0])
        left = torch.where(child[..., None] < 0, left, left.scatter(-1, token, 0.0))
    return Verified(keep, left)


def rejection(draft: BatchDraft, target: Float[torch.Tensor, "B places vocabulary"]) -> Verified:
    """Rejection sampling, one sibling after another.

    `draftproof.acceptance.RejectionRule` of a chain, `MultiRoundRule` of independent siblings, and
    `WithoutReplacementRule` of distinct ones.
    """
    p = target
    q = _proposals(draft, target)
    keep = torch.zeros_like(draft.token_ids, dtype=target.dtype)
    for child, token in _rounds(draft):
        ratio = _ratio(p, q, token)
        keep = _told(keep, child, ratio.clamp_max(1.0))
        tried = child[..., None] >= 0
        p = torch.where(tried, _residual(p, q), p)
        if draft.law is ProposalLaw.WITHOUT_REPLACEMENT:
            q = torch.where(tried, _without(q, token), q)
    return Verified(keep, p)


def traversal(draft: BatchDraft, target: Float[torch.Tensor, "B places vocabulary"]) -> Verified:
    """`draftproof.acceptance.TraversalRule`, which of a chain is `BlockRule`: leaves first.

    A node's coin is its weight once everything below it has failed.
    """
    p = target
    q = _proposals(draft, target)
    weight = torch.ones_like(target[..., 0])
    for level in _levels(draft):
        for child, token in _rounds(draft, level):
            tried = child >= 0
            ratio = _ratio(p, q, token)
            below = (weight * ratio).clamp_max(1.0)
            place = (child + 1).clamp_min(0)
            # Places that try no child write to the root's place, whose weight is 1.
            weight = weight.scatter(1, place, torch.where(tried, below, weight[:, :1]))
            rest, after = _remainder(p, q, weight)
            p = torch.where(tried[..., None], rest, p)
            weight = torch.where(tried, after, weight)
            if draft.law is ProposalLaw.WITHOUT_REPLACEMENT:
                q = torch.where(tried[..., None], _without(q, token), q)
    return Verified(weight[:, 1:], p)


RULES: Mapping[str, BatchRule] = {
    "greedy": greedy,
    "point-mass": point_mass,
    "rejection": rejection,
    "multi-round": rejection,
    "without-replacement": rejection,
    "block": traversal,
    "traversal": traversal,
}
"""By the name of the rule in `draftproof.laws.RULES`."""
LEAVES_FIRST = frozenset({"block", "traversal"})
"""Rules that try a node after everything below it."""


def _rounds(
    draft: BatchDraft, level: torch.Tensor | None = None
) -> list[tuple[Int64[torch.Tensor, "B places"], Int64[torch.Tensor, "B places 1"]]]:
    """For each sibling rank: the child of that rank after every place, −1 for none, and its token.

    Args:
        draft: The proposals.
        level: ``[B, n]`` which nodes count as children at all; None for all of them.
    """
    batch, n = draft.token_ids.shape
    device = draft.token_ids.device
    valid = draft.valid if level is None else draft.valid & level
    ranks = sibling_ranks(draft.parents, draft.valid)
    nodes = torch.arange(n, device=device).expand(batch, n)
    rounds = []
    for rank in range(_most_siblings(draft)):
        chosen = valid & (ranks == rank)
        # What is not chosen goes to a column of its own, which is cut off.
        place = torch.where(chosen, draft.parents + 1, n + 1)
        child = torch.full((batch, n + 2), -1, dtype=torch.int64, device=device)
        child = child.scatter(1, place, nodes)[:, : n + 1]
        token = draft.token_ids.gather(1, child.clamp_min(0)) if n else child
        rounds.append((child, token.clamp_min(0)[..., None]))
    return rounds


def _most_siblings(draft: BatchDraft) -> int:
    if draft.frame is not None:
        return max((draft.frame.count(parent) for parent in set(draft.frame)), default=0)
    return draft.places


def _levels(draft: BatchDraft) -> list[torch.Tensor]:
    """For each depth from 1, which nodes ``[B, n]`` are at it."""
    depth = torch.zeros_like(draft.parents)
    for place in range(draft.places):
        parent = draft.parents[:, place]
        above = depth.gather(1, parent.clamp_min(0)[:, None])[:, 0]
        depth[:, place] = torch.where(parent < 0, 0, above) + 1
    deepest = _depth(draft.frame) if draft.frame is not None else draft.places
    return [depth == level for level in range(1, deepest + 1)]


def _depth(frame: tuple[int, ...]) -> int:
    depths: list[int] = []
    for parent in frame:
        depths.append(1 if parent < 0 else depths[parent] + 1)
    return max(depths, default=0)


def _told(
    keep: Float[torch.Tensor, "B n"],
    child: Int64[torch.Tensor, "B places"],
    value: Float[torch.Tensor, "B places"],
) -> torch.Tensor:
    """`keep` with the values of some places' children."""
    n = keep.shape[1]
    wider = torch.cat([keep, keep.new_zeros(len(keep), 1)], 1)
    return wider.scatter(1, torch.where(child < 0, n, child), value)[:, :n]


def _proposals(
    draft: BatchDraft, target: Float[torch.Tensor, "B places vocabulary"]
) -> Float[torch.Tensor, "B places vocabulary"]:
    """What the first child of every place was drawn from; the target's where it has none."""
    if draft.probabilities is None or draft.rows is None:
        raise AssertionError("a sampled draft must carry the distributions that it was drawn from")
    q = target.clone()
    batch, n, size = draft.token_ids.shape[0], draft.places, target.shape[-1]
    if not n:
        return q
    given = draft.probabilities.gather(1, draft.rows[..., None].expand(batch, n, size))
    # Siblings share one; what is not valid goes to a place of its own, which is cut off.
    place = torch.where(draft.valid, draft.parents + 1, n + 1)
    wider = torch.cat([q, q.new_zeros(batch, 1, size)], 1)
    return wider.scatter(1, place[..., None].expand(batch, n, size), given)[:, : n + 1]


def _ratio(
    p: Float[torch.Tensor, "B places vocabulary"],
    q: Float[torch.Tensor, "B places vocabulary"],
    token: Int64[torch.Tensor, "B places 1"],
) -> Float[torch.Tensor, "B places"]:
    """p/q of a drawn token; NaN where it cannot have been drawn from q."""
    proposed = q.gather(-1, token)[..., 0]
    ratio = p.gather(-1, token)[..., 0] / proposed
    return torch.where(proposed > 0, ratio, torch.nan)


def _residual(
    p: Float[torch.Tensor, "B places vocabulary"], q: Float[torch.Tensor, "B places vocabulary"]
) -> torch.Tensor:
    """norm(max(p − q, 0)), and p where nothing is left: see `draftproof.acceptance.multi_round`."""
    left = (p - q).clamp_min(0)
    total = left.sum(-1, keepdim=True)
    return torch.where(total > 0, left / total, p)


def _without(
    q: Float[torch.Tensor, "B places vocabulary"], token: Int64[torch.Tensor, "B places 1"]
) -> torch.Tensor:
    """Q with one token removed, renormalised; all zeros where nothing else is left."""
    left = q.scatter(-1, token, 0.0)
    total = left.sum(-1, keepdim=True)
    return torch.where(total > 0, left / total, left)


def _remainder(
    p: Float[torch.Tensor, "B places vocabulary"],
    q: Float[torch.Tensor, "B places vocabulary"],
    weight: Float[torch.Tensor, "B places"],
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a place is left with when a child failed: see `draftproof.acceptance.traversal`."""
    left = (weight[..., None] * p - q).clamp_min(0)
    total = left.sum(-1)
    nothing = total == 0
    rest = torch.where(nothing[..., None], p, left / total[..., None])
    after = torch.where(nothing, (weight == 1).to(weight.dtype), total / (total + (1 - weight)))
    return rest, after
