"""What an acceptance rule is: it decides which path of the tree is kept, and the extra token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float

from harness.drafting.protocol import Draft
from harness.errors import DraftError
from harness.randomness import Randomness
from harness.tree import ProposalLaw


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
        name: As in ``--spec-rule``.
        laws: The proposal laws for which the rule is valid.
        lossless: Whether the output's law is exactly the target's.
    """

    name: str
    laws: frozenset[ProposalLaw]
    lossless: bool

    def accept(
        self,
        draft: Draft,
        target: Float[torch.Tensor, "nodes_and_root vocabulary"],
        randomness: Randomness,
    ) -> Acceptance:
        """The kept path and the extra token.

        Args:
            draft: The proposal, with the distributions it was drawn from.
            target: ``[n + 1, vocabulary]`` the target's distributions after temperature and
                filters: row 0 after the root, row ``i + 1`` after node ``i``.
            randomness: For coins and extra tokens.

        Raises:
            DraftError: The rule is not valid for the draft's proposal law.
        """
        ...


def require_law(rule: AcceptanceRule, draft: Draft, use_instead: str) -> None:
    """Refuse a draft whose proposal law the rule is not valid for.

    Raises:
        DraftError: Names the law and the rule to use instead.
    """
    if draft.tree.law not in rule.laws:
        raise DraftError(
            f"the acceptance rule '{rule.name}' is not valid for a draft whose siblings are "
            f"{draft.tree.law}; use {use_instead}"
        )
