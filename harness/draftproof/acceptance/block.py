"""Block verification: a chain is judged as a whole, and never keeps less than rejection does."""

from __future__ import annotations

from draftproof.acceptance.multi_round import likelihood_ratio
from draftproof.acceptance.protocol import (
    Acceptance,
    Distributions,
    proposal_distribution,
    require_valid,
)
from draftproof.acceptance.traversal import remainder
from draftproof.drafting.protocol import Draft
from draftproof.randomness import Purpose, Randomness


class BlockRule:
    """Keeps the longest prefix of a sampled chain that passes its own coin.

    The weight of a prefix is w_i = min(1, w_{i−1} · p(x_i)/q(x_i)), with w_0 = 1. A prefix shorter
    than the chain is kept with probability r / (r + 1 − w_i), where r = Σ max(w_i p − q, 0) after
    it; the whole chain with its weight. The longest prefix that is kept wins. After a shorter one
    the correction token is drawn from norm(max(w_i p − q, 0)), after the whole chain from p.

    Source:
        Sun et al. 2024 (arXiv 2403.10444), Algorithm 2. Optimal among rules that know only the
        drafted chain (Theorem 2). The coins are tossed from the longest prefix to the shortest and
        end with the first success, which decides the same with fewer draws.
    """

    name = "block"

    def accept(self, draft: Draft, target: Distributions, randomness: Randomness) -> Acceptance:
        require_valid(self, draft)
        tokens = draft.tree.token_ids
        length = len(tokens)
        weights = [1.0]
        for node, token in enumerate(tokens):
            q = proposal_distribution(draft, node)
            ratio = likelihood_ratio(target[node], q, token)
            weights.append(min(1.0, weights[-1] * ratio))
        nodes = tuple(range(length))
        if not length or randomness.bernoulli(weights[length], Purpose.ACCEPT):
            bonus = randomness.categorical(target[length], Purpose.BONUS)
            return Acceptance(path=nodes, extra_token=bonus, reached=nodes)
        for kept in reversed(range(length)):
            weight, left = remainder(
                target[kept], proposal_distribution(draft, kept), weights[kept]
            )
            # The empty prefix is always kept.
            if kept == 0 or randomness.bernoulli(weight, Purpose.ACCEPT):
                break
        extra = randomness.categorical(left, Purpose.CORRECTION)
        return Acceptance(path=nodes[:kept], extra_token=extra, reached=nodes)
