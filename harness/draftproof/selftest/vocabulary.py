"""Faults of the vocabulary: ids that no token has, and ids that mean another token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float

from draftproof.config import RunConfig
from draftproof.drafting import make_drafter
from draftproof.engines.parts import Parts
from draftproof.models.protocol import CausalLM
from draftproof.selftest.mutant import FaultClass, Mutant
from draftproof.selftest.wrapping import WrappedLM, draft_model

_PADDING = 2


class PaddedHead(WrappedLM):
    """T01: the head has rows that no token has, with logit 0."""

    def __init__(self, model: CausalLM) -> None:
        super().__init__(model)
        self.vocabulary_size = model.vocabulary_size + _PADDING

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        return _padded(self.inner.advance(token_ids))

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        return _padded(self.inner.score(token_ids, parents))

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        return _padded(self.inner.recompute(token_ids, first))


class SwappedIds(WrappedLM):
    """T05: the draft model's most probable token and the next one have changed ids."""

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        return _swapped(self.inner.advance(token_ids))

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        return _swapped(self.inner.score(token_ids, parents))

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        return _swapped(self.inner.recompute(token_ids, first))


def _padded(logits: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(logits, (0, _PADDING))


def _swapped(logits: torch.Tensor) -> torch.Tensor:
    """Ids 2k and 2k + 1 change places: whichever tokens a text has, some of them do."""
    pairs = logits.shape[-1] // 2 * 2
    order = torch.arange(logits.shape[-1])
    order[:pairs] = order[:pairs] ^ 1
    return logits[..., order]


def _padded_heads(parts: Parts, config: RunConfig) -> Parts:
    draft = PaddedHead(parts.draft_model)
    return replace(
        parts,
        target=PaddedHead(parts.target),
        draft=draft,
        drafter=make_drafter(config.tree, draft),
    )


_planted = partial(Mutant, fault_class=FaultClass.VOCABULARY)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="T01",
        title="padding rows of the head can be drawn",
        source="vllm-project/vllm #5203, ggml-org/llama.cpp PR 3812",
        plant=_padded_heads,
    ),
    _planted(
        id="T05",
        title="the draft model's ids mean other tokens",
        source="ggml-org/llama.cpp PR 3812",
        plant=draft_model(SwappedIds),
        only_acceptance=True,
    ),
)
"""Every planted fault of the vocabulary."""
