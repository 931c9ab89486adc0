"""Drafters: what proposes a tree of tokens."""

from __future__ import annotations

from collections.abc import Mapping

from draftproof.budget import NO_MODEL, Budget
from draftproof.drafting.best_first import BestFirstDrafter
from draftproof.drafting.chain import ChainDrafter
from draftproof.drafting.lookup import LookupDrafter
from draftproof.drafting.protocol import Draft, Drafter
from draftproof.drafting.sampled_tree import SampledTreeDrafter
from draftproof.drafting.static_tree import StaticTreeDrafter
from draftproof.errors import UsageError
from draftproof.models.protocol import CausalLM
from draftproof.shapes import (
    BestFirstShape,
    ChainShape,
    KAryShape,
    LookupShape,
    SampledShape,
    StaticShape,
    TreeShape,
)

__all__ = [
    "BestFirstDrafter",
    "ChainDrafter",
    "Draft",
    "Drafter",
    "LookupDrafter",
    "SampledTreeDrafter",
    "StaticTreeDrafter",
    "drafter_of_domain",
    "make_drafter",
]


def make_drafter(shape: TreeShape, model: CausalLM | None) -> Drafter:
    """The drafter for a tree shape, on a draft model.

    Args:
        shape: Of the drafts.
        model: None is enough for prompt lookup.

    Raises:
        UsageError: There is no model, and the shape needs one.
    """
    if isinstance(shape, LookupShape):
        return LookupDrafter(shape)
    if model is None:
        raise UsageError(
            f"--spec-tree {shape} needs a draft model: give --spec-draft, or --spec-tree lookup:5, "
            "which needs none"
        )
    match shape:
        case ChainShape():
            return ChainDrafter(model, shape)
        case KAryShape() | StaticShape():
            return StaticTreeDrafter(model, shape)
        case SampledShape():
            return SampledTreeDrafter(model, shape)
        case BestFirstShape():
            return BestFirstDrafter(model, shape)


def drafter_of_domain(budget: Budget, domain: str, models: Mapping[str, CausalLM]) -> Drafter:
    """The drafter that a budget gives the prompts of a domain.

    Where plain decoding is faster, it is one that proposes nothing.

    Args:
        budget: From `draftproof.budget.load_budget`.
        domain: Of the prompts.
        models: By name, as the budget names them; those of other domains may be left out.

    Raises:
        UsageError: The draft model is not among `models`.
    """
    given = budget.of(domain)
    if given.draft not in (*NO_MODEL, *models):
        known = ", ".join(models) or "none"
        raise UsageError(
            f"the budget gives {domain} the draft model '{given.draft}', and there is no model of "
            f"that name (there are: {known})"
        )
    return make_drafter(given.tree, models.get(given.draft))
