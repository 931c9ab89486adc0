"""Proposal laws, and which acceptance rules are valid for which: known without loading a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class ProposalLaw(StrEnum):
    """How the siblings of a draft were chosen; an acceptance rule is valid for some laws only."""

    DETERMINISTIC = "deterministic"
    """A fixed function of the context, such as the k most probable tokens."""
    INDEPENDENT = "independent"
    """Each sibling drawn from the same distribution, with replacement."""
    WITHOUT_REPLACEMENT = "without_replacement"
    """Each sibling drawn from what the siblings before it left, renormalised."""


SAMPLED = frozenset({ProposalLaw.INDEPENDENT, ProposalLaw.WITHOUT_REPLACEMENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFacts:
    """What is known of an acceptance rule.

    Attributes:
        laws: The proposal laws for which it is valid.
        chains_only: Whether it cannot judge a tree with siblings.
        lossless: Whether the output's law is exactly the target's.
        greedy_only: Whether that holds at temperature 0 only.
        top_down: Whether it looks at a node only once the node's parent is kept.
        in_order: Whether it is exact only where siblings are tried in the order in which they were
            proposed, so that it looks at none after a kept one. Others are exact in any order.
    """

    laws: frozenset[ProposalLaw]
    chains_only: bool = False
    lossless: bool = True
    greedy_only: bool = False
    top_down: bool = True
    in_order: bool = False


RULES: Mapping[str, RuleFacts] = MappingProxyType(
    {
        "greedy": RuleFacts(laws=frozenset(ProposalLaw), greedy_only=True),
        "rejection": RuleFacts(laws=SAMPLED, chains_only=True),
        "point-mass": RuleFacts(laws=frozenset({ProposalLaw.DETERMINISTIC})),
        "multi-round": RuleFacts(laws=frozenset({ProposalLaw.INDEPENDENT})),
        "without-replacement": RuleFacts(
            laws=frozenset({ProposalLaw.WITHOUT_REPLACEMENT}), in_order=True
        ),
        "block": RuleFacts(laws=SAMPLED, chains_only=True, top_down=False),
        "traversal": RuleFacts(laws=SAMPLED, top_down=False),
        "typical": RuleFacts(laws=frozenset(ProposalLaw), lossless=False, top_down=False),
    }
)
"""Every acceptance rule by name; the classes in `draftproof.acceptance` are held to this table."""


def labelled(name: str) -> str:
    """A rule's name as reports print it: a lossy one says so.

    Example:
        >>> labelled("typical"), labelled("auto")
        ('typical (LOSSY)', 'auto')
    """
    return f"{name} (LOSSY)" if name in RULES and not RULES[name].lossless else name


def valid_rules(law: ProposalLaw, *, is_chain: bool, is_greedy: bool) -> tuple[str, ...]:
    """The names of the rules that are valid for some drafts.

    Args:
        law: How the drafts' siblings are chosen.
        is_chain: Whether the drafts have no siblings.
        is_greedy: Whether the temperature is 0.

    Example:
        >>> valid_rules(ProposalLaw.DETERMINISTIC, is_chain=False, is_greedy=False)
        ('point-mass', 'typical')
    """
    return tuple(
        name
        for name, facts in RULES.items()
        if law in facts.laws
        and (is_chain or not facts.chains_only)
        and (is_greedy or not facts.greedy_only)
    )


def default_rule(law: ProposalLaw, *, is_chain: bool, is_greedy: bool) -> str:
    """The lossless rule that ``auto`` stands for.

    Example:
        >>> default_rule(ProposalLaw.INDEPENDENT, is_chain=True, is_greedy=False)
        'rejection'
    """
    valid = valid_rules(law, is_chain=is_chain, is_greedy=is_greedy)
    return next(name for name in valid if RULES[name].lossless)
