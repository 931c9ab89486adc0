"""Acceptance rules: which path of the tree is kept."""

from __future__ import annotations

from draftproof.acceptance.block import BlockRule
from draftproof.acceptance.greedy import GreedyRule
from draftproof.acceptance.multi_round import MultiRoundRule, WithoutReplacementRule
from draftproof.acceptance.point_mass import PointMassRule
from draftproof.acceptance.protocol import Acceptance, AcceptanceRule
from draftproof.acceptance.rejection import RejectionRule
from draftproof.acceptance.traversal import TraversalRule
from draftproof.acceptance.typical import TypicalRule
from draftproof.errors import unknown_value
from draftproof.laws import RULES, default_rule
from draftproof.shapes import TreeShape

__all__ = [
    "Acceptance",
    "AcceptanceRule",
    "BlockRule",
    "GreedyRule",
    "MultiRoundRule",
    "PointMassRule",
    "RejectionRule",
    "TraversalRule",
    "TypicalRule",
    "WithoutReplacementRule",
    "make_rule",
]

_CLASSES: dict[str, type[AcceptanceRule]] = {
    rule.name: rule
    for rule in (
        GreedyRule,
        RejectionRule,
        PointMassRule,
        MultiRoundRule,
        WithoutReplacementRule,
        BlockRule,
        TraversalRule,
        TypicalRule,
    )
}


def make_rule(name: str, shape: TreeShape, *, is_greedy: bool) -> AcceptanceRule:
    """The acceptance rule of a name; ``auto`` is the default lossless one.

    Args:
        name: As in ``--spec-rule``.
        shape: The drafts that it is to judge.
        is_greedy: Whether the temperature is 0.

    Raises:
        UsageError: No rule has that name.
    """
    if name == "auto":
        name = default_rule(shape.law, is_chain=shape.is_chain, is_greedy=is_greedy)
    if name not in _CLASSES:
        raise unknown_value("--spec-rule", name, ("auto", *RULES))
    return _CLASSES[name]()
