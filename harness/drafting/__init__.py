"""Drafters: what proposes a tree of tokens."""

from __future__ import annotations

from harness.config import ChainShape, KAryShape, Sampling, TreeShape
from harness.drafting.chain import ChainDrafter
from harness.drafting.k_ary import KAryTreeDrafter
from harness.drafting.protocol import Draft, Drafter
from harness.models.protocol import CausalLM

__all__ = ["ChainDrafter", "Draft", "Drafter", "KAryTreeDrafter", "make_drafter"]


def make_drafter(shape: TreeShape, model: CausalLM, sampling: Sampling) -> Drafter:
    """The drafter for a tree shape, on a draft model."""
    match shape:
        case ChainShape(length):
            return ChainDrafter(model, length, sampling)
        case KAryShape(depth, branching):
            return KAryTreeDrafter(model, depth, branching)
