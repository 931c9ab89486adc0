"""Rejection sampling of a chain: the rule that speculative decoding began with."""

from __future__ import annotations

from harness.acceptance.multi_round import acceptance_probability, residual
from harness.acceptance.protocol import (
    Acceptance,
    Distribution,
    Distributions,
    proposal_distribution,
    require_valid,
)
from harness.drafting.protocol import Draft
from harness.randomness import Purpose, Randomness


class RejectionRule:
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

    def keeps(
        self,
        p: Distribution,
        q: Distribution,
        token: int,
    ) -> float:
        """The probability with which a drawn token is kept."""
        return acceptance_probability(p, q, token)

    def left(
        self,
        p: Distribution,
        q: Distribution,
        token: int,
    ) -> Distribution:
        """What the correction token is drawn from once a token was rejected."""
        return residual(p, q)
