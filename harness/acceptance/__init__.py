"""Acceptance rules: which path of the tree is kept."""

from __future__ import annotations

from harness.acceptance.greedy import GreedyRule
from harness.acceptance.point_mass import PointMassRule
from harness.acceptance.protocol import Acceptance, AcceptanceRule
from harness.acceptance.rejection import RejectionRule
from harness.config import Sampling
from harness.errors import unknown_value
from harness.tree import ProposalLaw

__all__ = [
    "Acceptance",
    "AcceptanceRule",
    "GreedyRule",
    "PointMassRule",
    "RejectionRule",
    "make_rule",
]

_RULES: dict[str, type[AcceptanceRule]] = {
    rule.name: rule for rule in (GreedyRule, RejectionRule, PointMassRule)
}


def make_rule(name: str, law: ProposalLaw, sampling: Sampling) -> AcceptanceRule:
    """The acceptance rule of a name; ``auto`` is the lossless one for the law and temperature.

    Raises:
        UsageError: No rule has that name.
    """
    if name == "auto":
        if sampling.greedy:
            return GreedyRule()
        return PointMassRule() if law is ProposalLaw.DETERMINISTIC else RejectionRule()
    if name not in _RULES:
        raise unknown_value("--spec-rule", name, ("auto", *_RULES))
    return _RULES[name]()
