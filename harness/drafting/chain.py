"""A chain: one token after another, each drawn from the draft model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.config import Sampling
from harness.drafting.draft_model import DraftModel
from harness.drafting.protocol import Draft
from harness.models.protocol import CausalLM
from harness.randomness import Purpose, Randomness
from harness.sampling import distributions
from harness.tree import DraftTree, ProposalLaw


class ChainDrafter:
    """Draws a chain of tokens from the draft model's distribution (the argmax at temperature 0).

    Args:
        model: The draft model.
        length: Tokens in a chain, at least 1.
        sampling: Applied to the draft model's logits before drawing.

    Source:
        Leviathan et al. 2023, Algorithm 1; Chen et al. 2023, Algorithm 2.
    """

    law = ProposalLaw.INDEPENDENT

    def __init__(self, model: CausalLM, length: int, sampling: Sampling) -> None:
        self._draft_model = DraftModel(model)
        self._length = length
        self._sampling = sampling

    def start(self, prompt: Sequence[int]) -> None:
        self._draft_model.start(prompt)

    def draft(self, sequence: Sequence[int], room: int, randomness: Randomness) -> Draft:
        length = min(self._length, room, self._draft_model.room(sequence))
        if length < 1:
            return Draft.empty(self.law)
        logits = [self._draft_model.catch_up(sequence)]
        probabilities = []
        tokens: list[int] = []
        while True:
            probabilities.append(distributions(logits[-1][None], self._sampling)[0])
            tokens.append(randomness.categorical(probabilities[-1], Purpose.DRAFT))
            if len(tokens) == length:
                break
            logits.append(self._draft_model.score(tokens[-1:], [len(tokens) - 2])[0])
        return Draft(
            tree=DraftTree(
                token_ids=tuple(tokens), parents=tuple(range(-1, length - 1)), law=self.law
            ),
            rows=tuple(range(length)),
            logits=torch.stack(logits),
            probabilities=torch.stack(probabilities),
        )

    def commit(self, path: Sequence[int]) -> None:
        self._draft_model.commit(path)
