"""A k-ary tree: the k most probable tokens after every node, level by level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float

from harness.drafting.draft_model import DraftModel
from harness.drafting.protocol import Draft
from harness.models.protocol import CausalLM
from harness.randomness import Randomness
from harness.sampling import argmax
from harness.tree import ROOT, DraftTree, ProposalLaw


class KAryTreeDrafter:
    """Proposes the `branching` most probable tokens after every node, down to `depth`.

    Args:
        model: The draft model.
        depth: Levels, at least 1.
        branching: Siblings after each node, at least 1.
    """

    law = ProposalLaw.DETERMINISTIC

    def __init__(self, model: CausalLM, depth: int, branching: int) -> None:
        self._draft_model = DraftModel(model)
        self._depth = depth
        self._branching = min(branching, model.vocabulary_size)

    def start(self, prompt: Sequence[int]) -> None:
        self._draft_model.start(prompt)

    def draft(self, sequence: Sequence[int], room: int, randomness: Randomness) -> Draft:
        depth = min(self._depth, room, self._draft_model.room(sequence))
        if depth < 1:
            return Draft.empty(self.law)
        tokens: list[int] = []
        parents: list[int] = []
        rows: list[int] = []
        logits = [self._draft_model.catch_up(sequence)[None]]
        frontier = [ROOT]
        first_row = 0
        for level in range(1, depth + 1):
            first = len(tokens)
            siblings = most_probable(logits[-1], self._branching)
            for row, (parent, proposed) in enumerate(zip(frontier, siblings, strict=True)):
                tokens.extend(proposed)
                parents.extend([parent] * len(proposed))
                rows.extend([first_row + row] * len(proposed))
            if level < depth:
                first_row += len(frontier)
                frontier = list(range(first, len(tokens)))
                logits.append(self._draft_model.score(tokens[first:], parents[first:]))
        return Draft(
            tree=DraftTree(token_ids=tuple(tokens), parents=tuple(parents), law=self.law),
            rows=tuple(rows),
            logits=torch.cat(logits),
        )

    def commit(self, path: Sequence[int]) -> None:
        self._draft_model.commit(path)


def most_probable(logits: Float[torch.Tensor, "rows vocabulary"], k: int) -> list[list[int]]:
    """The ids of the k largest logits of each row, largest first.

    The first is always the argmax as plain decoding takes it, also where several logits are equal,
    so that a tree of width 1 is the greedy chain.
    """
    first = argmax(logits).tolist()
    if k == 1:
        return [[token] for token in first]
    ranked: list[list[int]] = logits.topk(k, dim=-1).indices.tolist()
    for tokens, best in zip(ranked, first, strict=True):
        if tokens[0] != best:
            tokens.remove(best if best in tokens else tokens[-1])
            tokens.insert(0, best)
    return ranked
