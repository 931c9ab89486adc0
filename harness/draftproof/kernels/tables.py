"""Fixtures and tables: small laws of a target and a draft model, and every draft of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from draftproof.laws import ProposalLaw
from draftproof.tree import ROOT, depths, path_to

Law = np.ndarray
"""``[support]`` float64 probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """A target and a draft model over a few ids, and the shape of their drafts.

    Attributes:
        name: For messages.
        parents: Of the drafted nodes, as in `draftproof.tree.DraftTree`.
        proposals: How siblings are proposed.
        target: By depth d of the context, ``[support ** d, support]`` laws of the next token; the
            context's ids are the digits of the row, the first one the most significant.
        draft: The same of the draft model.
        ids: Token id of each position of the support, ascending.
        vocabulary: Length of the laws that a kernel is given: beyond `ids` all is 0.
    """

    name: str
    parents: tuple[int, ...]
    proposals: ProposalLaw
    target: tuple[np.ndarray, ...]
    draft: tuple[np.ndarray, ...]
    ids: tuple[int, ...]
    vocabulary: int

    @property
    def depth(self) -> int:
        """Of the deepest node."""
        return max(depths(self.parents), default=0)

    @property
    def support(self) -> int:
        """Ids that have any probability."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftTable:
    """One draft with the laws around it: what a row of a batch shows a kernel.

    Attributes:
        tokens: ``[nodes]`` positions in the support, not ids.
        parents: ``[nodes]``, a chain's being −1, 0, 1, …
        target: ``[nodes + 1, support]`` the target's law after the root and after each node.
        draft: ``[nodes + 1, support]`` what the children of the root and of each node were drawn
            from.
        proposals: How siblings were proposed.
        ids: Token id of each position of the support.
        vocabulary: Length of the laws that a kernel is given.
        weight: Probability with which the fixture's draft model proposes it.
        name: Of the fixture.
        greedy: Whether the row is at temperature 0.
    """

    tokens: tuple[int, ...]
    target: np.ndarray
    draft: np.ndarray
    parents: tuple[int, ...] | None = None
    proposals: ProposalLaw = ProposalLaw.INDEPENDENT
    ids: tuple[int, ...] = ()
    vocabulary: int = 0
    weight: float = 1.0
    name: str = "table"
    greedy: bool = False
    children: dict[int, tuple[int, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "target", np.asarray(self.target, np.float64))
        put(self, "draft", np.asarray(self.draft, np.float64))
        if self.parents is None:
            put(self, "parents", tuple(range(-1, len(self.tokens) - 1)))
        if not self.ids:
            put(self, "ids", tuple(range(self.target.shape[1])))
        put(self, "vocabulary", max(self.vocabulary, self.ids[-1] + 1))
        children: dict[int, tuple[int, ...]] = {}
        for node, parent in enumerate(self.parents or ()):
            children[parent] = (*children.get(parent, ()), node)
        put(self, "children", children)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """Whether no node has siblings, and each is the child of the one before."""
        return self.parents == tuple(range(-1, len(self.tokens) - 1))

    @property
    def depth(self) -> int:
        """Of the deepest node."""
        return max(depths(self.parents or ()), default=0)

    @property
    def size(self) -> tuple[int, int, int]:
        """For ordering: nodes, ids, and how many figures it takes to write it down."""
        written = sum(len(f"{value:g}") for value in self.target.ravel())
        return len(self.tokens), len(self.ids), written


def chain(length: int) -> tuple[int, ...]:
    """Parents of a chain.

    Example:
        >>> chain(3)
        (-1, 0, 1)
    """
    return tuple(range(-1, length - 1))


def turning(
    name: str,
    target: Law,
    draft: Law,
    parents: Sequence[int],
    *,
    proposals: ProposalLaw = ProposalLaw.INDEPENDENT,
    ids: Sequence[int] = (),
    vocabulary: int = 0,
    still: bool = False,
) -> Fixture:
    """A fixture of one pair of laws, turned by the context so that rows of other nodes show.

    Args:
        name: For messages.
        target: ``[support]`` weights after the root.
        draft: The same of the draft model.
        parents: Shape of the drafts.
        proposals: How siblings are proposed.
        ids: Token ids of the support; 0, 1, … by default.
        vocabulary: At least what the ids need.
        still: Whether every context has the same laws after all.
    """
    target, draft = np.asarray(target, np.float64), np.asarray(draft, np.float64)
    support = len(target)
    ids = tuple(ids) or tuple(range(support))
    levels = max(depths(tuple(parents)), default=0) + 1

    def turned(law: Law) -> tuple[np.ndarray, ...]:
        law = law / law.sum()
        result = []
        for depth in range(levels):
            rows = []
            for context in itertools.product(range(support), repeat=depth):
                turn = 0 if still else (sum(context) + depth) % support
                rows.append(np.roll(law, turn))
            result.append(np.array(rows))
        return tuple(result)

    return Fixture(
        name=name,
        parents=tuple(parents),
        proposals=proposals,
        target=turned(target),
        draft=turned(draft),
        ids=ids,
        vocabulary=max(vocabulary, ids[-1] + 1),
    )


def row_of(context: Sequence[int], support: int) -> int:
    """Row of a context in the laws of its depth.

    Example:
        >>> row_of((1, 2), 3)
        5
    """
    row = 0
    for token in context:
        row = row * support + token
    return row


def drafts(fixture: Fixture, *, least: float = 0.0) -> Iterator[DraftTable]:
    """Every draft that the fixture's draft model may propose, with its probability.

    Args:
        fixture: The models and the shape.
        least: Drafts of no more than this probability are left out.
    """
    support, parents = fixture.support, fixture.parents

    def context(tokens: Sequence[int], node: int) -> tuple[int, ...]:
        return tuple(tokens[step] for step in path_to(parents, node))

    def law_after(laws: tuple[np.ndarray, ...], tokens: Sequence[int], node: int) -> Law:
        steps = context(tokens, node)
        row: Law = laws[len(steps)][row_of(steps, support)]
        return row

    def grow(tokens: tuple[int, ...], weight: float) -> Iterator[tuple[tuple[int, ...], float]]:
        node = len(tokens)
        if node == len(parents):
            yield tokens, weight
            return
        law = law_after(fixture.draft, tokens, parents[node]).copy()
        earlier = [tokens[i] for i in range(node) if parents[i] == parents[node]]
        if fixture.proposals is ProposalLaw.DETERMINISTIC:
            ranked = [t for t in np.argsort(-law, kind="stable") if t not in earlier]
            if ranked:
                yield from grow((*tokens, int(ranked[0])), weight)
            return
        if fixture.proposals is ProposalLaw.WITHOUT_REPLACEMENT:
            law[earlier] = 0
        total = law.sum()
        if total <= 0:
            return
        for token in np.flatnonzero(law):
            yield from grow((*tokens, int(token)), weight * law[token] / total)

    for tokens, weight in grow((), 1.0):
        if weight > least:
            nodes = range(ROOT, len(parents))
            yield DraftTable(
                tokens=tokens,
                parents=parents,
                target=np.array([law_after(fixture.target, tokens, node) for node in nodes]),
                draft=np.array([law_after(fixture.draft, tokens, node) for node in nodes]),
                proposals=fixture.proposals,
                ids=fixture.ids,
                vocabulary=fixture.vocabulary,
                weight=weight,
                name=fixture.name,
            )
