"""What a drafter is, and what it hands to the acceptance rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float

from draftproof.laws import ProposalLaw
from draftproof.randomness import Randomness
from draftproof.sampling import TokenLaw
from draftproof.tree import DraftTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A proposed tree, with the distributions its nodes were chosen from.

    Attributes:
        tree: The proposal.
        rows: ``[n]`` for each node, the row of `logits` and `probabilities` that its parent has.
        logits: ``[m, vocabulary]`` the draft model's logits after the root and after each node that
            has children, or None for a drafter without a model.
        probabilities: ``[m, vocabulary]`` the distributions that sampled nodes were drawn from
            (q: after temperature and filters), or None where nothing was drawn.
    """

    tree: DraftTree
    rows: tuple[int, ...] = ()
    logits: Float[torch.Tensor, "m vocabulary"] | None = None
    probabilities: Float[torch.Tensor, "m vocabulary"] | None = None

    @classmethod
    def empty(cls, law: ProposalLaw) -> Draft:
        """A draft without nodes: the step becomes one step of plain decoding."""
        return cls(tree=DraftTree(token_ids=(), parents=(), law=law))


@runtime_checkable
class Drafter(Protocol):
    """Proposes a tree of tokens after the tokens so far.

    Attributes:
        law: How the siblings of every draft of this drafter are chosen.
    """

    law: ProposalLaw

    def start(self, prompt: Sequence[int]) -> None:
        """Forget the sequence before and take in the prompt; called once for each."""
        ...

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        """The draft for the next step.

        Args:
            sequence: Prompt and output so far; the last token is the root.
            room: The greatest depth for which the target has positions left.
            law: What tokens are drawn from, given the draft model's logits.
            randomness: For drawing tokens, with `Purpose.DRAFT`.
        """
        ...

    def commit(self, path: Sequence[int]) -> None:
        """Take note of the nodes of the last draft that were kept, from depth 1 downwards."""
        ...


@runtime_checkable
class FeatureDrafter(Drafter, Protocol):
    """A drafter that reads the target's hidden states, as feature heads do.

    It decodes one sequence at a time, on a target that tells them
    (`draftproof.models.protocol.FeatureLM`).

    Attributes:
        target_layers: Whose hidden states it reads; none where it reads none.
    """

    target_layers: Sequence[int]

    def read(self, features: Float[torch.Tensor, "tokens layers size"]) -> None:
        """Take in the hidden states of tokens that the target has newly committed.

        Called before each draft, with all positions in order: first those of the prompt, then those
        of the root before and of the nodes that were kept. The new root has none yet: the target
        has not seen it.
        """
        ...
