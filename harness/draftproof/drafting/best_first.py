"""A tree that grows where the draft model is surest, within a node budget."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from draftproof.drafting.draft_model import DraftModel
from draftproof.drafting.protocol import Draft
from draftproof.drafting.static_tree import most_probable
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Randomness
from draftproof.sampling import TokenLaw, promoted
from draftproof.shapes import BestFirstShape
from draftproof.tree import ROOT, DraftTree


class BestFirstDrafter:
    """Proposes the nodes with the largest probability of the whole path from the root.

    Level by level, the surest nodes of the last level are expanded; of all nodes found, the surest
    within the budget are proposed. A node's path probability is the draft model's, of the unscaled
    softmax, so that the tree is a function of the context alone.

    Args:
        model: The draft model.
        shape: Node budget, depth, and nodes expanded a level.

    Source:
        EAGLE-2, Li et al. 2024 (arXiv 2406.16858), sections 4.1 and 4.2 (expansion and reranking);
        OPT-Tree, Wang et al. 2024 (arXiv 2406.17276).
    """

    law = BestFirstShape.law

    def __init__(self, model: CausalLM, shape: BestFirstShape) -> None:
        self._draft_model = DraftModel(model)
        self._shape = shape
        self._branching = min(shape.branching, model.vocabulary_size)
        self._proposed: tuple[int, ...] = ()

    def start(self, prompt: Sequence[int]) -> None:
        self._draft_model.start(prompt)

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        depth = min(self._shape.depth, room, self._draft_model.room(sequence))
        if depth < 1:
            return Draft.empty(self.law)
        tokens: list[int] = []
        parents: list[int] = []
        path_log_probability: list[float] = []
        row_of: dict[int, int] = {}
        logits = [self._draft_model.catch_up(sequence)[None]]
        frontier = [ROOT]
        for level in range(1, depth + 1):
            log_probabilities = torch.log_softmax(promoted(logits[-1]), -1)
            ranked = most_probable(logits[-1], self._branching)
            first = len(tokens)
            for row, (parent, proposed) in enumerate(zip(frontier, ranked, strict=True)):
                row_of[parent] = len(row_of)
                above = 0.0 if parent == ROOT else path_log_probability[parent]
                tokens.extend(proposed)
                parents.extend([parent] * len(proposed))
                path_log_probability.extend((above + log_probabilities[row, proposed]).tolist())
            if level < depth:
                grown = range(first, len(tokens))
                frontier = sorted(surest(grown, path_log_probability, self._branching))
                logits.append(
                    self._draft_model.score(
                        frontier, [tokens[n] for n in frontier], [parents[n] for n in frontier]
                    )
                )
        self._proposed = tuple(
            sorted(surest(range(len(tokens)), path_log_probability, self._shape.nodes))
        )
        index = {ROOT: ROOT} | {node: new for new, node in enumerate(self._proposed)}
        return Draft(
            tree=DraftTree(
                token_ids=tuple(tokens[node] for node in self._proposed),
                parents=tuple(index[parents[node]] for node in self._proposed),
                law=self.law,
            ),
            rows=tuple(row_of[parents[node]] for node in self._proposed),
            logits=torch.cat(logits),
        )

    def commit(self, path: Sequence[int]) -> None:
        self._draft_model.commit([self._proposed[node] for node in path])


def surest(nodes: Sequence[int], log_probability: Sequence[float], count: int) -> list[int]:
    """The `count` nodes of largest probability, of equal ones those that come first.

    A parent is at least as probable as its child and comes first, so that whole paths are chosen.

    Example:
        >>> surest(range(4), [-1.0, -0.5, -1.0, -2.0], 2)
        [1, 0]
    """
    return sorted(nodes, key=lambda node: (-log_probability[node], node))[:count]
