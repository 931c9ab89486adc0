"""Faults of numerics: the same numbers in two precisions, ties, and divisions by 0."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float

from draftproof.drafting import Draft
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Randomness
from draftproof.sampling import Contexts, TokenLaw
from draftproof.selftest.mutant import OWN, FaultClass, Mutant
from draftproof.selftest.verification import NoFallback
from draftproof.selftest.wrapping import (
    Reweighted,
    WrappedDrafter,
    WrappedLM,
    sampled_drafter,
    sampled_rule,
    target_model,
    verifying_law,
)

Laws = Float[torch.Tensor, "rows vocabulary"]


class DrawnInBfloat16(WrappedDrafter):
    """N01: tokens are drawn from a softmax in bfloat16, q is told in full precision."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        coarse = Reweighted(randomness, lambda q: torch.softmax(q.log().bfloat16(), -1).to(q.dtype))
        return self.inner.draft(sequence, room, law, coarse)


class LastOfTies(TokenLaw):
    """N03: of equal logits, verified rows take the last."""

    def distributions(self, logits: Laws, contexts: Contexts) -> Laws:
        if len(logits) == 1 or not self.sampling.greedy:
            return super().distributions(logits, contexts)
        return super().distributions(logits.flip(-1), contexts).flip(-1)


class NoisyBlocks(WrappedLM):
    """N04 and L05: scoring a block adds noise of a size that rounding has."""

    def __init__(self, model: CausalLM, scale: float) -> None:
        super().__init__(model)
        self._scale = scale
        self._generator = torch.Generator()

    def reset(self) -> None:
        # A kernel rounds the same block in the same way each time.
        self._generator.manual_seed(0)
        super().reset()

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        logits = self.inner.score(token_ids, parents)
        noise = torch.randn(logits.shape, generator=self._generator, dtype=logits.dtype)
        return logits + self._scale * noise.to(logits.device)


class CoarseBlocks(WrappedLM):
    """Blocks are scored in bfloat16 where plain decoding is in full precision."""

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        logits = self.inner.score(token_ids, parents)
        return logits.bfloat16().to(logits.dtype)


class NotANumber(WrappedLM):
    """A block of five rows or more has NaN in its last one."""

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        logits = self.inner.score(token_ids, parents)
        if len(logits) >= 5:
            logits = logits.clone()
            logits[-1] = torch.nan
        return logits


_planted = partial(Mutant, fault_class=FaultClass.NUMERICS)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="N01",
        title="draft drawn in bfloat16, q told in float32",
        source="deepseek-ai/DeepSpec #31",
        plant=sampled_drafter(DrawnInBfloat16),
    ),
    _planted(
        id="N03",
        title="ties broken the other way where drafts are verified",
        source="ohdearquant/lattice #280, vllm-project/vllm #7627",
        plant=verifying_law(LastOfTies),
    ),
    _planted(
        id="N07",
        title="a residual that adds up to 0 is divided by 0",
        source="duoan/TorchCode #16",
        plant=sampled_rule(NoFallback),
    ),
    _planted(
        id="W27",
        title="blocks scored in bfloat16, plain decoding in float32",
        source=OWN,
        plant=target_model(CoarseBlocks),
    ),
    _planted(
        id="W28",
        title="NaN in the last row of a wide block",
        source=OWN,
        plant=target_model(NotANumber),
    ),
)
"""Every planted fault of numerics."""
