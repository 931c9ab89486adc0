"""Verification of deterministic drafts: each proposed token is a point mass, q = 1."""

from __future__ import annotations

from draftproof.acceptance.protocol import Acceptance, Distributions, require_valid
from draftproof.drafting.protocol import Draft
from draftproof.randomness import Purpose, Randomness
from draftproof.tree import ROOT


class PointMassRule:
    """Keeps each proposed child with its probability under what the target has left.

    Siblings are tried in proposal order. A rejected sibling's mass is removed and the rest
    renormalised, so that a level keeps child ``x`` with probability ``p(x)`` in total; if none is
    kept, the correction token is drawn from what is left.

    Source:
        Verification in EAGLE-2 (Li et al. 2024, arXiv 2406.16858) with q = 1; the residual of
        Leviathan et al. 2023 for a one-hot q. Exact for any deterministic siblings.
    """

    name = "point-mass"

    def accept(self, draft: Draft, target: Distributions, randomness: Randomness) -> Acceptance:
        require_valid(self, draft)
        tree = draft.tree
        path: list[int] = []
        reached: list[int] = []
        node = ROOT
        while True:
            weights = target[node + 1].clone()
            children = tree.children(node)
            for child in children:
                reached.append(child)
                token = tree.token_ids[child]
                share = float(weights[token] / weights.sum())
                if randomness.bernoulli(share, Purpose.ACCEPT):
                    path.append(child)
                    node = child
                    break
                weights[token] = 0
            else:
                purpose = Purpose.CORRECTION if children else Purpose.BONUS
                extra = randomness.categorical(weights, purpose)
                return Acceptance(path=tuple(path), extra_token=extra, reached=tuple(reached))
