"""Typical acceptance: lossy."""

from __future__ import annotations

import math

import torch

from draftproof.acceptance.protocol import Acceptance, Distributions
from draftproof.drafting.protocol import Draft
from draftproof.randomness import Purpose, Randomness
from draftproof.tree import ROOT


class TypicalRule:
    """LOSSY: keeps every token that the target finds typical enough, and changes the output's law.

    A node is typical if p(x) > min(ε, δ · exp(−H(p))), with the entropy H of the target's
    distribution after its parent. The deepest path of typical nodes is kept, the first of several;
    the extra token is drawn from p after it.

    Args:
        epsilon: Probability above which any token is typical.
        delta: Share of exp(−H) above which a token is typical.

    Source:
        Medusa, Cai et al. 2024 (arXiv 2401.10774), section 2.3.1, with its defaults ε = 0.09 and
        δ = 0.3. Medusa always keeps the first greedy token; here that is the extra token.
    """

    name = "typical"

    def __init__(self, epsilon: float = 0.09, delta: float = 0.3) -> None:
        self._epsilon = epsilon
        self._delta = delta

    def accept(self, draft: Draft, target: Distributions, randomness: Randomness) -> Acceptance:
        tree = draft.tree
        entropies: list[float] = torch.special.entr(target).sum(-1).tolist()
        typical = {ROOT}
        reached = []
        for node, (token, parent) in enumerate(zip(tree.token_ids, tree.parents, strict=True)):
            if parent in typical:
                reached.append(node)
                threshold = min(self._epsilon, self._delta * math.exp(-entropies[parent + 1]))
                if float(target[parent + 1, token]) > threshold:
                    typical.add(node)
        path = max((tree.path_to(node) for node in sorted(typical)), key=len)
        last = path[-1] if path else ROOT
        purpose = Purpose.CORRECTION if tree.children(last) else Purpose.BONUS
        extra = randomness.categorical(target[last + 1], purpose)
        return Acceptance(path=path, extra_token=extra, reached=tuple(reached))
