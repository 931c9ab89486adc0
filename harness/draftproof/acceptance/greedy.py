"""Keep the path that the target's argmax takes."""

from __future__ import annotations

from draftproof.acceptance.protocol import Acceptance, Distributions
from draftproof.drafting.protocol import Draft
from draftproof.randomness import Randomness
from draftproof.tree import ROOT


class GreedyRule:
    """Follows the target's argmax down the tree; the argmax that no child has is the extra token.

    Lossless at temperature 0, for drafts of any proposal law.
    """

    name = "greedy"

    def accept(self, draft: Draft, target: Distributions, randomness: Randomness) -> Acceptance:
        tree = draft.tree
        best: list[int] = target.argmax(-1).tolist()
        path: list[int] = []
        reached: list[int] = []
        node = ROOT
        while True:
            wanted = best[node + 1]
            for child in tree.children(node):
                reached.append(child)
                if tree.token_ids[child] == wanted:
                    path.append(child)
                    node = child
                    break
            else:
                return Acceptance(path=tuple(path), extra_token=wanted, reached=tuple(reached))
