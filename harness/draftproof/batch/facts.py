"""What is recorded of the nodes of a batch: worked out on the device, copied once a sequence."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64

from draftproof.batch.decoding import BatchStep
from draftproof.batch.drafts import BatchDraft
from draftproof.batch.laws import Before
from draftproof.sampling import measured_distributions, promoted
from draftproof.transfer import sent


class NodeFacts(NamedTuple):
    """What both models say of every place of a batch; each ``[B, n]``, NaN where it is not known.

    Attributes:
        target_probability: Of the node's token under the target.
        draft_probability: Under the draft model.
        overlap: Σ min(p, q) of the two distributions that the node was chosen from.
        target_entropy: Of the target's distribution after the parent, in nats.
        draft_entropy: Of the draft model's.
        target_rank: How many tokens come before the node's under the target.
        draft_rank: Under the draft model; −1 without one.
    """

    target_probability: torch.Tensor
    draft_probability: torch.Tensor
    overlap: torch.Tensor
    target_entropy: torch.Tensor
    draft_entropy: torch.Tensor
    target_rank: torch.Tensor
    draft_rank: torch.Tensor


def node_facts(step: BatchStep) -> Float[torch.Tensor, "B n facts"]:
    """`NodeFacts` of every place, stacked in float32; what is not valid means nothing.

    Facts are stated in the distributions that tokens are drawn from, and for a row at temperature 0
    in the unscaled softmax.
    """
    draft = step.draft
    token_ids = draft.token_ids.clamp_min(0)
    above = draft.parents + 1
    p = _stated(step, step.target_logits, step.target_probabilities)
    target = _seen_as(step.target_logits, p, above, token_ids)
    unknown = torch.full_like(target[0], torch.nan)
    proposed, overlap = (unknown, unknown, unknown.nan_to_num(nan=-1.0)), unknown
    if draft.logits is not None and draft.rows is not None:
        q = _stated(step, draft.logits, _proposal(step, draft, draft.logits))
        proposed = _seen_as(draft.logits, q, draft.rows, token_ids)
        overlap = _overlaps(p, q, above, draft.rows)
    return torch.stack(
        [
            value.float()
            for value in NodeFacts(
                target[0], proposed[0], overlap, target[1], proposed[1], target[2], proposed[2]
            )
        ],
        -1,
    )


def _stated(
    step: BatchStep,
    logits: Float[torch.Tensor, "B m vocabulary"],
    drawn_from: Float[torch.Tensor, "B m vocabulary"],
) -> torch.Tensor:
    """The distributions in which facts are stated, by row."""
    greedy = [law.sampling.greedy for law in step.law.laws]
    if not any(greedy):
        return drawn_from
    measured = measured_distributions(logits)
    if all(greedy):
        return measured
    where = sent(greedy, logits.device)[:, None, None]
    return torch.where(where, measured, drawn_from)


def _proposal(
    step: BatchStep, draft: BatchDraft, logits: Float[torch.Tensor, "B m vocabulary"]
) -> torch.Tensor:
    """The distributions after each row of a draft's logits.

    Drafters that draw carry them; for the others they are made here, as the target's are.
    """
    if draft.probabilities is not None:
        return draft.probabilities

    def before() -> Before:
        if step.past is None or draft.rows is None:
            raise AssertionError("a law that looks back needs the past")
        # The place whose successors each row of logits tells of: that of any node chosen from it.
        place = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device)
        place = place.scatter(1, draft.rows, torch.where(draft.valid, draft.parents + 1, 0))
        every = step.past.before(draft.token_ids, draft.parents)
        index = place[..., None].expand(-1, -1, every.seen.shape[-1])
        return Before(every.seen.gather(1, index), every.new_tokens.gather(1, place))

    return step.law.distributions(logits, before)


def _seen_as(
    logits: Float[torch.Tensor, "B m vocabulary"],
    probabilities: Float[torch.Tensor, "B m vocabulary"],
    rows: Int64[torch.Tensor, "B n"],
    token_ids: Int64[torch.Tensor, "B n"],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Probability, entropy of the alternatives and rank of every node's token, each ``[B, n]``."""
    size = logits.shape[-1]
    entropy = torch.special.entr(probabilities).sum(-1).gather(1, rows)
    wide = rows[..., None].expand(-1, -1, size)
    token = token_ids[..., None]
    probability = probabilities.gather(1, wide).gather(-1, token)[..., 0]
    among = promoted(logits).gather(1, wide)
    chosen = among.gather(-1, token)
    earlier = torch.arange(size, device=logits.device) < token
    rank = ((among > chosen) | ((among == chosen) & earlier)).sum(-1)
    return probability, entropy, rank


def _overlaps(
    p: Float[torch.Tensor, "B places vocabulary"],
    q: Float[torch.Tensor, "B m vocabulary"],
    p_rows: Int64[torch.Tensor, "B n"],
    q_rows: Int64[torch.Tensor, "B n"],
) -> torch.Tensor:
    size = p.shape[-1]
    both = torch.minimum(
        p.gather(1, p_rows[..., None].expand(-1, -1, size)),
        q.gather(1, q_rows[..., None].expand(-1, -1, size)),
    )
    return both.sum(-1)
