"""A chain: one token after another, each drawn from the draft model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from draftproof.drafting.confidence import goes_on
from draftproof.drafting.draft_model import DraftModel
from draftproof.drafting.protocol import Draft
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Purpose, Randomness
from draftproof.sampling import TokenLaw, measured_distributions
from draftproof.shapes import ChainShape
from draftproof.tree import DraftTree


class ChainDrafter:
    """Draws a chain of tokens from the draft model's distribution (the argmax at temperature 0).

    With a threshold the chain ends before the first token at which the draft model's largest
    probability, or the chance that all its tokens are kept, is below it (at temperature 0 by the
    unscaled softmax; see `draftproof.drafting.confidence`). That is known before the token is
    drawn, so what is proposed does not depend on what was drawn there, and the output stays
    lossless; dropping a token that was drawn would not.

    Args:
        model: The draft model.
        shape: Length and thresholds.

    Source:
        Leviathan et al. 2023, Algorithm 1; Chen et al. 2023, Algorithm 2.
    """

    law = ChainShape.law

    def __init__(self, model: CausalLM, shape: ChainShape) -> None:
        self._draft_model = DraftModel(model)
        self._shape = shape

    def start(self, prompt: Sequence[int]) -> None:
        self._draft_model.start(prompt)

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        length = min(self._shape.length, room, self._draft_model.room(sequence))
        tokens: list[int] = []
        logits: list[torch.Tensor] = []
        probabilities: list[torch.Tensor] = []
        path_chance: torch.Tensor | None = None
        while len(tokens) < length:
            after = (
                self._draft_model.score([len(tokens) - 1], tokens[-1:], [len(tokens) - 2])[0]
                if tokens
                else self._draft_model.catch_up(sequence)
            )
            q = law.distributions(after[None], lambda: [[*sequence, *tokens]])[0]
            if not self._shape.is_fixed:
                seen = measured_distributions(after[None]) if law.sampling.greedy else q[None]
                before = seen.new_ones(1) if path_chance is None else path_chance
                going, path_chance = goes_on(seen, self._shape, before)
                if not going:
                    break
            logits.append(after)
            probabilities.append(q)
            tokens.append(randomness.categorical(q, Purpose.DRAFT))
        if not tokens:
            return Draft.empty(self.law)
        return Draft(
            tree=DraftTree(
                token_ids=tuple(tokens), parents=tuple(range(-1, len(tokens) - 1)), law=self.law
            ),
            rows=tuple(range(len(tokens))),
            logits=torch.stack(logits),
            probabilities=torch.stack(probabilities),
        )

    def commit(self, path: Sequence[int]) -> None:
        self._draft_model.commit(path)
