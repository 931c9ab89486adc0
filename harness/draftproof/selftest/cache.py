"""Faults of the cache: entries that are missing, left over, or of another path."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float

from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.protocol import CausalLM
from draftproof.models.tree_cache import TreeLayer
from draftproof.selftest.mutant import OWN, FaultClass, Mutant
from draftproof.selftest.positions import of_draft, of_target
from draftproof.selftest.wrapping import WrappedLM, draft_model, target_model


class MissesTheLastDrafted(WrappedLM):
    """K01: of several tokens to catch up with, only the last is fed."""

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        if self.length == 0:
            return self.inner.advance(token_ids)
        self.missed += len(token_ids) - 1
        return self.inner.advance(token_ids[-1:])


class TrimsTwoTooMany(WrappedLM):
    """K02: two kept entries are dropped with the rejected ones."""

    def commit(self, path: Sequence[int]) -> None:
        kept = path[: max(0, len(path) - 2)]
        self.missed += len(path) - len(kept)
        self.inner.commit(kept)


class DropsAKeptEntry(WrappedLM):
    """K04: the last kept entry is dropped."""

    def commit(self, path: Sequence[int]) -> None:
        self.missed += len(path[-1:])
        self.inner.commit(path[:-1])


class KeepsARejectedEntry(WrappedLM):
    """K04: the first rejected child of the kept path stays."""

    def __init__(self, model: CausalLM) -> None:
        super().__init__(model)
        self._parents: list[int] = []

    def reset(self) -> None:
        self._parents.clear()
        super().reset()

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        self._parents += parents
        return self.inner.score(token_ids, parents)

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        self._parents.clear()
        return self.inner.advance(token_ids)

    def commit(self, path: Sequence[int]) -> None:
        last = path[-1] if path else -1
        rejected = [node for node, parent in enumerate(self._parents) if parent == last][:1]
        self.missed -= len(rejected)
        self._parents.clear()
        self.inner.commit([*path, *rejected])


class KeepsAllOfNothing(KeepsARejectedEntry):
    """K05: an empty path, to drop everything, keeps a chain of pending entries."""

    def commit(self, path: Sequence[int]) -> None:
        if path:
            self._parents.clear()
            self.inner.commit(path)
        else:
            super().commit(path)


class ZeroesWhatItDrops(HuggingFaceLM):
    """K08: rejected entries are zeroed, and attended to for ever after.

    Positions are those of the tokens, so that nothing but the zeros is wrong.
    """

    _zeroed = 0

    @property
    def length(self) -> int:
        return self._length - self._zeroed

    def reset(self) -> None:
        self._zeroed = 0
        super().reset()

    @torch.inference_mode()
    def commit(self, path: Sequence[int]) -> None:
        rejected = len(self._pending) - len(path)
        super().commit(path)
        for layer in cast("list[TreeLayer]", self._cache.layers):
            end = self._length + rejected
            layer.keys[..., self._length : end, :] = 0
            layer.values[..., self._length : end, :] = 0
            layer.length = end
        self._length += rejected
        self._zeroed += rejected

    def _forward(
        self, token_ids: Sequence[int], positions: Sequence[int], attention_mask: Any, **rest: int
    ) -> torch.Tensor:
        true = [position - self._zeroed for position in positions]
        return super()._forward(token_ids, true, attention_mask, **rest)


class KeepsFirstSlots(HuggingFaceLM):
    """K09: a kept path keeps the entries of the first slots of the tree."""

    @torch.inference_mode()
    def commit(self, path: Sequence[int]) -> None:
        self._cache.keep(self._length, range(len(path)))
        self._length += len(path)
        self._pending = ()


class LosesTheEndOfThePrompt(WrappedLM):
    """The prompt is fed without its last token."""

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        if self.length or len(token_ids) == 1:
            return self.inner.advance(token_ids)
        self.missed += 1
        return self.inner.advance(token_ids[:-1])


_planted = partial(Mutant, fault_class=FaultClass.CACHE)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="K01",
        title="the draft model misses the last drafted token after a full acceptance",
        source="mlc-ai/mlc-llm PR 2285, vllm-project/vllm PR 5765",
        plant=draft_model(MissesTheLastDrafted),
        only_acceptance=True,
    ),
    _planted(
        id="K02",
        title="the draft model's cache is trimmed by two entries too many",
        source="lablup/mlxcel #994",
        plant=draft_model(TrimsTwoTooMany),
        only_acceptance=True,
    ),
    _planted(
        id="K04a",
        title="the target's cache loses the last kept entry",
        source="no public report",
        plant=target_model(DropsAKeptEntry),
    ),
    _planted(
        id="K04b",
        title="the target's cache keeps a rejected entry",
        source="no public report",
        plant=target_model(KeepsARejectedEntry),
    ),
    _planted(
        id="K05",
        title="a crop to nothing keeps entries",
        source="huggingface/transformers #47433",
        plant=draft_model(KeepsAllOfNothing),
        only_acceptance=True,
    ),
    _planted(
        id="K08",
        title="rejected entries are zeroed, not masked",
        source="Blaizzy/mlx-vlm #1962",
        plant=of_target(ZeroesWhatItDrops),
        transformer=True,
    ),
    _planted(
        id="K09",
        title="the kept path of a tree is not gathered",
        source="sgl-project/sglang PR 15360",
        plant=of_target(KeepsFirstSlots),
        tree="3x2",
        transformer=True,
    ),
    _planted(
        id="W15",
        title="the draft model sees rejected slots",
        source=OWN,
        plant=draft_model(KeepsARejectedEntry),
        only_acceptance=True,
    ),
    _planted(
        id="W16",
        title="the draft model's kept path is not gathered",
        source=OWN,
        plant=of_draft(KeepsFirstSlots),
        tree="3x2",
        transformer=True,
        only_acceptance=True,
    ),
    _planted(
        id="W17",
        title="the draft model never sees the last token of the prompt",
        source=OWN,
        plant=draft_model(LosesTheEndOfThePrompt),
        only_acceptance=True,
    ),
)
"""Every planted fault of the cache."""
