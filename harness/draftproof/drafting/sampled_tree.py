"""A tree of drawn tokens: several after every node, with or without replacement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float

from draftproof.drafting.draft_model import DraftModel
from draftproof.drafting.protocol import Draft
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Purpose, Randomness
from draftproof.sampling import TokenLaw
from draftproof.shapes import SampledShape
from draftproof.tree import ROOT, DraftTree


class SampledTreeDrafter:
    """Draws `branching` tokens from the draft model's distribution after every node.

    Without replacement a node has fewer children where the distribution has fewer tokens.

    Args:
        model: The draft model.
        shape: Depth, branching, and whether siblings are distinct.

    Source:
        SpecInfer (Miao et al. 2024, arXiv 2305.09781) with replacement; Sequoia (Chen et al. 2024,
        arXiv 2402.12374) without.
    """

    def __init__(self, model: CausalLM, shape: SampledShape) -> None:
        self._draft_model = DraftModel(model)
        self._shape = shape
        self.law = shape.law

    def start(self, prompt: Sequence[int]) -> None:
        self._draft_model.start(prompt)

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        depth = min(self._shape.depth, room, self._draft_model.room(sequence))
        if depth < 1:
            return Draft.empty(self.law)
        tokens: list[int] = []
        parents: list[int] = []
        rows: list[int] = []
        logits = [self._draft_model.catch_up(sequence)[None]]
        probabilities = []
        frontier = {ROOT: tuple(sequence)}
        first_row = 0
        for level in range(1, depth + 1):
            probabilities.append(law.distributions(logits[-1], partial(tuple, frontier.values())))
            grown = {}
            for row, (parent, context) in enumerate(frontier.items()):
                for token in self._siblings(probabilities[-1][row], randomness):
                    grown[len(tokens)] = (*context, token)
                    tokens.append(token)
                    parents.append(parent)
                    rows.append(first_row + row)
            first_row += len(frontier)
            frontier = grown
            if level < depth:
                nodes = list(frontier)
                logits.append(
                    self._draft_model.score(
                        nodes, [tokens[n] for n in nodes], [parents[n] for n in nodes]
                    )
                )
        return Draft(
            tree=DraftTree(token_ids=tuple(tokens), parents=tuple(parents), law=self.law),
            rows=tuple(rows),
            logits=torch.cat(logits),
            probabilities=torch.cat(probabilities),
        )

    def commit(self, path: Sequence[int]) -> None:
        self._draft_model.commit(path)

    def _siblings(self, q: Float[torch.Tensor, " vocabulary"], randomness: Randomness) -> list[int]:
        """The tokens drawn after one node, in the order in which they were drawn."""
        drawn: list[int] = []
        left = q.clone()
        while len(drawn) < self._shape.branching and bool((left > 0).any()):
            drawn.append(randomness.categorical(left, Purpose.DRAFT))
            if self._shape.distinct:
                left[drawn[-1]] = 0
        return drawn
