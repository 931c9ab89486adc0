"""Acceptance rules: which path of the tree is kept."""

from __future__ import annotations

from harness.acceptance.block import BlockRule
from harness.acceptance.greedy import GreedyRule
from harness.acceptance.multi_round import MultiRoundRule, WithoutReplacementRule
from harness.acceptance.point_mass import PointMassRule
from harness.acceptance.protocol import Acceptance, AcceptanceRule
from harness.acceptance.rejection import RejectionRule
from harness.acceptance.traversal import TraversalRule
from harness.acceptance.typical import TypicalRule
from harness.errors import unknown_value
from harness.laws import RULES, default_rule
from harness.shapes import TreeShape

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
