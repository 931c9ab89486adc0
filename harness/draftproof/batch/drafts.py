"""The drafts of a batch: a proposed tree a row, in the places of one common frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64

from draftproof.laws import ProposalLaw
from draftproof.tree import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDraft:
    """What was proposed for every row.

    All rows share one number of places, in which parents stand before their children and siblings
    in the order of proposal. A row's own nodes are its valid places, in that order.

    Attributes:
        law: How siblings were chosen.
        token_ids: ``[B, n]`` the proposed tokens; any id where a place is not valid.
        parents: ``[B, n]`` the place of each node's parent, or `ROOT`.
        valid: ``[B, n]`` whether a place holds a node of the row.
        frame: ``[n]`` the parents, where they are the same in every row and known beforehand; else
            None.
        rows: ``[B, n]`` for each node, the row of `logits` and `probabilities` that its parent has.
        logits: ``[B, m, vocabulary]`` the draft model's logits after the root and after each place
            that was scored, or None for a drafter without a model.
        probabilities: ``[B, m, vocabulary]`` the distributions that sampled nodes were drawn from,
            or None where nothing was drawn.
        scored: ``[B, n]`` the place's index among the draft model's pending nodes, −1 where it was
            not scored; None without a model.
        draws: ``[B]`` how many numbers each row used, or None where nothing was drawn.
    """

    law: ProposalLaw
    token_ids: Int64[torch.Tensor, "B n"]
    parents: Int64[torch.Tensor, "B n"]
    valid: Bool[torch.Tensor, "B n"]
    frame: tuple[int, ...] | None = None
    rows: Int64[torch.Tensor, "B n"] | None = None
    logits: Float[torch.Tensor, "B m vocabulary"] | None = None
    probabilities: Float[torch.Tensor, "B m vocabulary"] | None = None
    scored: Int64[torch.Tensor, "B n"] | None = None
    draws: Int64[torch.Tensor, " B"] | None = None

    @property
    def places(self) -> int:
        """Nodes that a row can have."""
        return self.token_ids.shape[1]


def sibling_ranks(
    parents: Int64[torch.Tensor, "B n"], valid: Bool[torch.Tensor, "B n"]
) -> Int64[torch.Tensor, "B n"]:
    """Order of each node among the valid nodes with its parent; −1 where a place is not valid.

    Example:
        >>> sibling_ranks(torch.tensor([[-1, -1, 0]]), torch.tensor([[True, True, False]])).tolist()
        [[0, 1, -1]]
    """
    same = (parents[:, :, None] == parents[:, None, :]) & valid[:, None, :]
    earlier = torch.ones_like(same[0]).tril(-1)
    ranks = (same & earlier).sum(-1)
    return torch.where(valid, ranks, ROOT)


def ancestors(parents: Int64[torch.Tensor, "B n"]) -> Bool[torch.Tensor, "B n n"]:
    """Whether place ``j`` is place ``i`` or above it, for row ``i`` and column ``j``.

    Example:
        >>> ancestors(torch.tensor([[-1, -1, 0]])).int().tolist()
        [[[1, 0, 0], [0, 1, 0], [1, 0, 1]]]
    """
    batch, places = parents.shape
    above = torch.eye(places, dtype=torch.bool, device=parents.device).repeat(batch, 1, 1)
    for place in range(1, places):
        parent = parents[:, place]
        inherited = above.gather(1, parent.clamp_min(0)[:, None, None].expand(-1, 1, places))[:, 0]
        above[:, place] |= inherited & (parent >= 0)[:, None]
    return above
