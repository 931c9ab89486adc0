"""Faults of positions and attention masks: what a node of the tree sees, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float

from draftproof.config import RunConfig
from draftproof.drafting import make_drafter
from draftproof.engines.parts import Parts
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.selftest.mutant import OWN, FaultClass, Mutant, Plant
from draftproof.tree import depths


class PositionByIndex(HuggingFaceLM):
    """P02: positions advance by node, not by depth."""

    def _forward(
        self, token_ids: Sequence[int], positions: Sequence[int], attention_mask: Any, **rest: int
    ) -> torch.Tensor:
        first = min(positions)
        return super()._forward(
            token_ids, range(first, first + len(token_ids)), attention_mask, **rest
        )


class PositionOfSlot(HuggingFaceLM):
    """P01: a node stands one after the node two slots before it, whichever its parent is."""

    def _forward(
        self, token_ids: Sequence[int], positions: Sequence[int], attention_mask: Any, **rest: int
    ) -> torch.Tensor:
        wrong = list(positions)
        if attention_mask is not None:
            for slot in range(3, len(wrong)):
                wrong[slot] = wrong[slot - 2] + 1
        return super()._forward(token_ids, wrong, attention_mask, **rest)


class PositionsRunOn(HuggingFaceLM):
    """P04: after a rejection positions go on as if everything had been kept."""

    _ahead = 0

    def reset(self) -> None:
        self._ahead = 0
        super().reset()

    def commit(self, path: Sequence[int]) -> None:
        self._ahead += len(self._pending) - len(path) if path else 0
        super().commit(path)

    def _forward(
        self, token_ids: Sequence[int], positions: Sequence[int], attention_mask: Any, **rest: int
    ) -> torch.Tensor:
        ahead = [position + self._ahead for position in positions]
        return super()._forward(token_ids, ahead, attention_mask, **rest)


class PositionsWrap(HuggingFaceLM):
    """Positions start again at 48."""

    def _forward(
        self, token_ids: Sequence[int], positions: Sequence[int], attention_mask: Any, **rest: int
    ) -> torch.Tensor:
        wrapped = [position % 48 for position in positions]
        return super()._forward(token_ids, wrapped, attention_mask, **rest)


class FullyCausalTree(HuggingFaceLM):
    """P06: nodes attend to all nodes before them, siblings too."""

    def _build_tree_mask(self, pending: tuple[int, ...]) -> Float[torch.Tensor, "n n"]:
        return super()._build_tree_mask(tuple(range(-1, len(pending) - 1)))


class NoTreeMask(HuggingFaceLM):
    """P06: within a block there is no mask at all."""

    def _build_tree_mask(self, pending: tuple[int, ...]) -> Float[torch.Tensor, "n n"]:
        return torch.zeros_like(super()._build_tree_mask(pending))


class LosesGrandparents(HuggingFaceLM):
    """P07: nodes attend to themselves and their parent only."""

    def _build_tree_mask(self, pending: tuple[int, ...]) -> Float[torch.Tensor, "n n"]:
        mask = super()._build_tree_mask(pending)
        for node, parent in enumerate(pending):
            for ancestor in range(len(pending)):
                if ancestor not in (node, parent):
                    mask[node, ancestor] = torch.finfo(mask.dtype).min
        return mask


class LosesTheRoot(HuggingFaceLM):
    """P07: nodes at depth 2 and below do not attend to the first node of the block."""

    def _build_tree_mask(self, pending: tuple[int, ...]) -> Float[torch.Tensor, "n n"]:
        mask = super()._build_tree_mask(pending)
        for node, depth in enumerate(depths(pending)):
            if depth > 2:
                mask[node, 0] = torch.finfo(mask.dtype).min
        return mask


class LosesTheFirstToken(HuggingFaceLM):
    """P07: nodes of a block do not attend to the first token of the prompt."""

    def _attention_mask(
        self, pending: tuple[int, ...], new: int
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        masks = super()._attention_mask(pending, new)
        for mask in masks.values() if isinstance(masks, dict) else (masks,):
            mask[..., 0] = torch.finfo(mask.dtype).min
        return masks


class LosesOneAncestorFarDown(HuggingFaceLM):
    """From depth 4 of a block on, the ancestor at depth 2 is masked."""

    def _build_tree_mask(self, pending: tuple[int, ...]) -> Float[torch.Tensor, "n n"]:
        mask = super()._build_tree_mask(pending)
        levels = depths(pending)
        for node, depth in enumerate(levels):
            for ancestor in range(len(pending)):
                if depth >= 4 and levels[ancestor] == 2:
                    mask[node, ancestor] = torch.finfo(mask.dtype).min
        return mask


def of_target(make: type[HuggingFaceLM]) -> Plant:
    """A target of another class over the same weights."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        return replace(parts, target=_again(make, parts.target))

    return plant


def of_draft(make: type[HuggingFaceLM]) -> Plant:
    """A draft model of another class over the same weights."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        draft = _again(make, parts.draft)
        return replace(parts, draft=draft, drafter=make_drafter(config.tree, draft))

    return plant


def _again(make: type[HuggingFaceLM], model: object) -> HuggingFaceLM:
    if not isinstance(model, HuggingFaceLM):
        raise TypeError(f"{make.__name__} needs a transformer")
    return make(model.model, model.vocabulary_size)


_planted = partial(Mutant, fault_class=FaultClass.POSITIONS)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="P01",
        title="position of the slot before, whatever the parent",
        source="NVIDIA/TensorRT-LLM PR 12962",
        plant=of_target(PositionOfSlot),
        tree="best-first:6,depth=3,branching=2",
        transformer=True,
    ),
    _planted(
        id="P02",
        title="position by node, not by depth",
        source="no public report",
        plant=of_target(PositionByIndex),
        tree="3x2",
        transformer=True,
    ),
    _planted(
        id="P04",
        title="positions not taken back after a rejection",
        source="huggingface/transformers #30042, #30413",
        plant=of_target(PositionsRunOn),
        transformer=True,
    ),
    _planted(
        id="P06a",
        title="nodes attend to their siblings",
        source="no public report",
        plant=of_target(FullyCausalTree),
        tree="3x2",
        transformer=True,
    ),
    _planted(
        id="P06b",
        title="nodes attend to later nodes",
        source="Blaizzy/mlx-vlm PR 1188",
        plant=of_target(NoTreeMask),
        transformer=True,
    ),
    _planted(
        id="P07a",
        title="mask of a node and its parent only",
        source="no public report",
        plant=of_target(LosesGrandparents),
        transformer=True,
    ),
    _planted(
        id="P07b",
        title="mask loses the root",
        source="no public report",
        plant=of_target(LosesTheRoot),
        transformer=True,
    ),
    _planted(
        id="P07c",
        title="mask loses the first token of the prompt",
        source="no public report",
        plant=of_target(LosesTheFirstToken),
        transformer=True,
    ),
    _planted(
        id="W11",
        title="mask loses one ancestor from depth 3 on",
        source=OWN,
        plant=of_target(LosesOneAncestorFarDown),
        transformer=True,
    ),
    _planted(
        id="W12",
        title="positions start again at 48",
        source=OWN,
        plant=of_target(PositionsWrap),
        transformer=True,
    ),
    _planted(
        id="W13",
        title="the draft model's tree mask is fully causal",
        source=OWN,
        plant=of_draft(FullyCausalTree),
        tree="3x2",
        transformer=True,
        only_acceptance=True,
    ),
    _planted(
        id="W14",
        title="the draft model's positions are not taken back",
        source=OWN,
        plant=of_draft(PositionsRunOn),
        transformer=True,
        only_acceptance=True,
    ),
)
"""Every planted fault of positions and masks."""
