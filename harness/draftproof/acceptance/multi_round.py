"""Rejection sampling, one sibling after another: SpecInfer's and Sequoia's rules."""

from __future__ import annotations

from draftproof.acceptance.protocol import (
    Acceptance,
    Distribution,
    Distributions,
    proposal_distribution,
    require_valid,
)
from draftproof.drafting.protocol import Draft
from draftproof.errors import DraftError
from draftproof.randomness import Purpose, Randomness
from draftproof.tree import ROOT


class ByRejection:
    """What rejection sampling does with one drawn token; tests and faults override it."""

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
        """What is left of p once a token was rejected."""
        return residual(p, q)


class SiblingRejection(ByRejection):
    """Descends a sampled tree by rejection sampling of each kept node's children."""

    name: str

    def accept(
        self,
        draft: Draft,
        target: Distributions,
        randomness: Randomness,
    ) -> Acceptance:
        require_valid(self, draft)
        tree = draft.tree
        path: list[int] = []
        reached: list[int] = []
        node = ROOT
        while True:
            p = target[node + 1]
            children = tree.children(node)
            q = proposal_distribution(draft, children[0]) if children else p
            for child in children:
                reached.append(child)
                token = tree.token_ids[child]
                if randomness.bernoulli(self.keeps(p, q, token), Purpose.ACCEPT):
                    path.append(child)
                    node = child
                    break
                p, q = self.left(p, q, token), self.narrowed(q, token)
            else:
                purpose = Purpose.CORRECTION if children else Purpose.BONUS
                extra = randomness.categorical(p, purpose)
                return Acceptance(path=tuple(path), extra_token=extra, reached=tuple(reached))

    def narrowed(self, q: Distribution, token: int) -> Distribution:
        """What the sibling after this one was drawn from."""
        return q


class MultiRoundRule(SiblingRejection):
    """Tries siblings in turn; each rejection leaves the residual for the next.

    At each kept node p starts as the target's distribution. A sibling x is kept with probability
    min(1, p(x)/q(x)); a rejection replaces p by norm(max(p − q, 0)). If all are rejected, the
    correction token is drawn from the p that is left.

    Source:
        SpecInfer, Miao et al. 2024 (arXiv 2305.09781), Algorithm 2 (multi-step speculative
        sampling). Siblings share one q; SpecInfer's may come from several draft models.
    """

    name = "multi-round"


class WithoutReplacementRule(SiblingRejection):
    """Tries siblings in turn, where none can repeat an earlier one.

    As `MultiRoundRule`, but a sibling was drawn from what its earlier siblings left of q, so each
    rejection also removes the rejected token from q and renormalises it.

    Source:
        Sequoia, Chen et al. 2024 (arXiv 2402.12374), Algorithm 2; recursive rejection sampling,
        Jeon et al. 2024 (arXiv 2402.14160), Algorithm 1.
    """

    name = "without-replacement"

    def narrowed(self, q: Distribution, token: int) -> Distribution:
        return without(q, token)


def acceptance_probability(p: Distribution, q: Distribution, token: int) -> float:
    """min(1, p/q) of a token that was drawn from q.

    Raises:
        DraftError: The token has probability 0 under q, so it cannot have been drawn from it.
    """
    return min(1.0, likelihood_ratio(p, q, token))


def likelihood_ratio(p: Distribution, q: Distribution, token: int) -> float:
    """p/q of a token that was drawn from q.

    Raises:
        DraftError: The token has probability 0 under q, so it cannot have been drawn from it.
    """
    proposed = float(q[token])
    if proposed <= 0:
        raise DraftError(
            f"token {token} was drafted, and has probability {proposed:g} under the distribution "
            "that it is said to be drawn from; the drafter must report the one it draws from"
        )
    return float(p[token]) / proposed


def residual(p: Distribution, q: Distribution) -> Distribution:
    """norm(max(p − q, 0)): what is left of p after a token drawn from q was rejected.

    Where nothing is left, a rejection had probability 0 in exact arithmetic and came from rounding;
    then p itself is returned.
    """
    left = (p - q).clamp_min(0)
    total = float(left.sum())
    return left / total if total > 0 else p


def without(q: Distribution, token: int) -> Distribution:
    """Q with one token removed, renormalised; all zeros where nothing else is left."""
    left = q.clone()
    left[token] = 0
    total = float(left.sum())
    return left / total if total > 0 else left
