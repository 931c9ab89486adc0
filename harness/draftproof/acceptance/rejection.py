"""Rejection sampling of a chain: the rule that speculative decoding began with."""

from __future__ import annotations

from draftproof.acceptance.multi_round import ByRejection
from draftproof.acceptance.protocol import (
    Acceptance,
    Distributions,
    proposal_distribution,
    require_valid,
)
from draftproof.drafting.protocol import Draft
from draftproof.randomness import Purpose, Randomness


class RejectionRule(ByRejection):
    """Keeps each token of a sampled chain with probability min(1, p/q), up to the first rejection.

    After a rejection the correction token is drawn from norm(max(p − q, 0)), the residual; after a
    fully kept chain the bonus token is drawn from p.

    Source:
        Leviathan et al. 2023 (arXiv 2211.17192), Algorithm 1; Chen et al. 2023 (arXiv 2302.01318),
        Algorithm 2.
    """

    name = "rejection"

    def accept(self, draft: Draft, target: Distributions, randomness: Randomness) -> Acceptance:
        require_valid(self, draft)
        tree = draft.tree
        for node, token in enumerate(tree.token_ids):
            p, q = target[node], proposal_distribution(draft, node)
            if not randomness.bernoulli(self.keeps(p, q, token), Purpose.ACCEPT):
                return Acceptance(
                    path=tuple(range(node)),
                    extra_token=randomness.categorical(self.left(p, q, token), Purpose.CORRECTION),
                    reached=tuple(range(node + 1)),
                )
        nodes = tuple(range(len(tree)))
        bonus = randomness.categorical(target[len(tree)], Purpose.BONUS)
        return Acceptance(path=nodes, extra_token=bonus, reached=nodes)
