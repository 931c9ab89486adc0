"""From coins to the kept path: what the host does of an acceptance rule, a row at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from draftproof.acceptance.protocol import Acceptance
from draftproof.categorical import NO_LAW, no_law
from draftproof.errors import DraftError
from draftproof.randomness import Purpose
from draftproof.tree import ROOT, DraftTree


@dataclass(frozen=True, slots=True, kw_only=True)
class RowVerified:
    """What the device told of one row's draft.

    Attributes:
        tree: The row's own nodes.
        keep: ``[nodes]`` the probability with which each is kept once it is tried.
        extra_tokens: ``[nodes + 1]`` the extra token where the walk ends at the root, or at node
            ``i`` (``i + 1``).
        coin: Tosses a coin.
        extra: From a place (index in `extra_tokens`), its token and its purpose to the extra token.
    """

    tree: DraftTree
    keep: Sequence[float]
    extra_tokens: Sequence[int]
    coin: Callable[[float], bool]
    extra: Callable[[int, int, Purpose], int]

    def is_kept(self, node: int) -> bool:
        """The coin of a node.

        Raises:
            DraftError: Its probability is no number.
        """
        if math.isnan(self.keep[node]):
            raise DraftError(
                f"token {self.tree.token_ids[node]} was drafted, and has no probability under the "
                "distribution that it is said to be drawn from; the drafter must report the one it "
                "draws from, and the models must return finite logits"
            )
        return self.coin(self.keep[node])

    def ended(self, node: int, path: Sequence[int], reached: Sequence[int]) -> Acceptance:
        """The decision, with the extra token after the last kept node."""
        purpose = Purpose.CORRECTION if self.tree.children(node) else Purpose.BONUS
        extra = self.extra(node + 1, self.extra_tokens[node + 1], purpose)
        return Acceptance(path=tuple(path), extra_token=extra, reached=tuple(reached))


def greedy_walk(row: RowVerified) -> Acceptance:
    """Follows the nodes that are certain; nothing is drawn."""
    path: list[int] = []
    reached: list[int] = []
    node = ROOT
    while True:
        for child in row.tree.children(node):
            reached.append(child)
            if row.keep[child]:
                path.append(child)
                node = child
                break
        else:
            extra = row.extra_tokens[node + 1]
            if extra == NO_LAW:
                raise no_law()
            return Acceptance(path=tuple(path), extra_token=extra, reached=tuple(reached))


def top_down_walk(row: RowVerified) -> Acceptance:
    """Tries the children of each kept node in turn."""
    path: list[int] = []
    reached: list[int] = []
    node = ROOT
    while True:
        for child in row.tree.children(node):
            reached.append(child)
            if row.is_kept(child):
                path.append(child)
                node = child
                break
        else:
            return row.ended(node, path, reached)


def leaves_first_walk(row: RowVerified) -> Acceptance:
    """Tries every node after all that is below it; the root is always kept."""
    reached: list[int] = []

    def first_kept(node: int) -> int | None:
        for child in row.tree.children(node):
            reached.append(child)
            kept = first_kept(child)
            if kept is not None:
                return kept
        return node if node == ROOT or row.is_kept(node) else None

    node = first_kept(ROOT)
    if node is None:
        raise AssertionError("the root is always kept")
    return row.ended(node, row.tree.path_to(node), sorted(reached))
