"""What an acceptance rule is: it decides which path of the tree is kept, and the extra token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float

from draftproof.drafting.protocol import Draft
from draftproof.errors import DraftError
from draftproof.laws import RULES, valid_rules
from draftproof.randomness import Randomness

Distribution = Float[torch.Tensor, " vocabulary"]
"""Probabilities of the next token."""

Distributions = Float[torch.Tensor, "nodes_and_root vocabulary"]
"""The target's, after temperature and filters: row 0 after the root, row ``i + 1`` after node
``i``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """A rule's decision on one draft.

    Attributes:
        path: The kept nodes from depth 1 downwards; their number is the accepted length.
        extra_token: The bonus token after a fully kept path, or the correction token.
        reached: The nodes that the rule looked at, in the order in which it did.
    """

    path: tuple[int, ...]
    extra_token: int
    reached: tuple[int, ...]


@runtime_checkable
class AcceptanceRule(Protocol):
    """Keeps a path of a draft so that the output follows the target's law.

    Attributes:
        name: As in ``--spec-rule``; `draftproof.laws.RULES` says what the rule is valid for.
    """

    name: str

    def accept(self, draft: Draft, target: Distributions, randomness: Randomness) -> Acceptance:
        """The kept path and the extra token.

        Args:
            draft: The proposal, with the distributions it was drawn from.
            target: ``[n + 1, vocabulary]`` what the target's next token is drawn from, after the
                root and after each node.
            randomness: For coins and extra tokens.

        Raises:
            DraftError: The rule is not valid for the draft's proposal law.
        """
        ...


def require_valid(rule: AcceptanceRule, draft: Draft) -> None:
    """Refuse a draft that a rule is not valid for.

    Raises:
        DraftError: Names the draft's law or shape, and the rules that are valid for it.
    """
    facts, tree = RULES[rule.name], draft.tree
    is_chain = tree.parents == tuple(range(-1, len(tree) - 1))
    if tree.law in facts.laws and (is_chain or not facts.chains_only):
        return
    kind = "chain" if is_chain else "tree"
    valid = valid_rules(tree.law, is_chain=is_chain, is_greedy=False)
    raise DraftError(
        f"the acceptance rule '{rule.name}' is not valid for a {kind} whose siblings are "
        f"{tree.law}; use one of: {', '.join(valid)}"
    )


def proposal_distribution(draft: Draft, node: int) -> Distribution:
    """q: the distribution that the first of a node's siblings was drawn from.

    Raises:
        DraftError: The draft does not carry it.
    """
    if draft.probabilities is None:
        raise DraftError("a sampled draft must carry the distributions that it was drawn from")
    return draft.probabilities[draft.rows[node]]
