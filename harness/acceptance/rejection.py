"""Rejection sampling of a chain: the rule that speculative decoding began with."""

from __future__ import annotations

import torch
from jaxtyping import Float

from harness.acceptance.protocol import Acceptance, require_law
from harness.drafting.protocol import Draft
from harness.errors import DraftError
from harness.randomness import Purpose, Randomness
from harness.tree import ProposalLaw


class RejectionRule:
    """Keeps each token of a sampled chain with probability min(1, p/q), up to the first rejection.

    After a rejection the correction token is drawn from norm(max(p − q, 0)), the residual; after a
    fully kept chain the bonus token is drawn from p.

    Source:
        Leviathan et al. 2023 (arXiv 2211.17192), Algorithm 1 and Appendix A.1; Chen et al. 2023
        (arXiv 2302.01318), Algorithm 2. No deviation, but that a residual of total 0 (p = q up to
        rounding, where a rejection has probability 0 in exact arithmetic) is replaced by p.
    """

    name = "rejection"
    laws = frozenset({ProposalLaw.INDEPENDENT, ProposalLaw.WITHOUT_REPLACEMENT})
    lossless = True

    def accept(
        self,
        draft: Draft,
        target: Float[torch.Tensor, "nodes_and_root vocabulary"],
        randomness: Randomness,
    ) -> Acceptance:
        tree = draft.tree
        require_law(self, draft, "--spec-rule auto, or point-mass for a deterministic draft")
        if tree.parents != tuple(range(-1, len(tree) - 1)):
            raise DraftError(
                "the acceptance rule 'rejection' keeps chains only; use --spec-tree chain:N"
            )
        for node, token in enumerate(tree.token_ids):
            p = target[node]
            q = _distribution(draft, node)
            ratio = float(p[token]) / float(q[token])
            if not randomness.bernoulli(min(1.0, ratio), Purpose.ACCEPT):
                return Acceptance(
                    path=tuple(range(node)),
                    extra_token=randomness.categorical(residual(p, q), Purpose.CORRECTION),
                    reached=tuple(range(node + 1)),
                )
        nodes = tuple(range(len(tree)))
        bonus = randomness.categorical(target[len(tree)], Purpose.BONUS)
        return Acceptance(path=nodes, extra_token=bonus, reached=nodes)


def residual(
    p: Float[torch.Tensor, " vocabulary"], q: Float[torch.Tensor, " vocabulary"]
) -> Float[torch.Tensor, " vocabulary"]:
    """What of p is left to draw from after a token drawn from q was rejected: max(p − q, 0).

    Returns:
        Unnormalised weights; p itself where nothing is left.
    """
    left = (p - q).clamp_min(0)
    return left if float(left.sum()) > 0 else p


def _distribution(draft: Draft, node: int) -> Float[torch.Tensor, " vocabulary"]:
    if draft.probabilities is None:
        raise DraftError("a sampled draft must carry the distributions it was drawn from")
    return draft.probabilities[draft.rows[node]]
