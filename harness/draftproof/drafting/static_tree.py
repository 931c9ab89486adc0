"""A tree of fixed shape: the most probable tokens, as many after each node as the shape says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64

from draftproof.drafting.draft_model import DraftModel
from draftproof.drafting.protocol import Draft
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Randomness
from draftproof.sampling import TokenLaw, argmax
from draftproof.shapes import KAryShape, StaticShape
from draftproof.tree import ROOT, DraftTree, children, depths


class StaticTreeDrafter:
    """Proposes the most probable tokens in a tree whose shape does not depend on the context.

    Args:
        model: The draft model.
        shape: Which sibling ranks the nodes have; a k-ary tree is the full one.
    """

    law = StaticShape.law

    def __init__(self, model: CausalLM, shape: KAryShape | StaticShape) -> None:
        self._draft_model = DraftModel(model)
        index: dict[tuple[int, ...], int] = {(): ROOT}
        for path in shape.paths:
            if path[-1] < model.vocabulary_size and path[:-1] in index:
                index[path] = len(index) - 1
        self._parents = tuple(index[path[:-1]] for path in index if path)

    def start(self, prompt: Sequence[int]) -> None:
        self._draft_model.start(prompt)

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        deepest = min(room, self._draft_model.room(sequence))
        parents = tuple(
            parent
            for parent, depth in zip(self._parents, depths(self._parents), strict=True)
            if depth <= deepest
        )
        if not parents:
            return Draft.empty(self.law)
        below = children(parents)
        tokens = [-1] * len(parents)
        row_of: dict[int, int] = {}
        logits = []
        level: list[int] = [ROOT]
        while level:
            logits.append(self._logits_after(level, tokens, parents, sequence))
            ranked = most_probable(logits[-1], max(len(below[node]) for node in level))
            for node, proposed in zip(level, ranked, strict=True):
                row_of[node] = len(row_of)
                for child, token in zip(below[node], proposed, strict=False):
                    tokens[child] = token
            level = [child for node in level for child in below[node] if child in below]
        return Draft(
            tree=DraftTree(token_ids=tuple(tokens), parents=parents, law=self.law),
            rows=tuple(row_of[parent] for parent in parents),
            logits=torch.cat(logits),
        )

    def commit(self, path: Sequence[int]) -> None:
        self._draft_model.commit(path)

    def _logits_after(
        self,
        level: Sequence[int],
        tokens: Sequence[int],
        parents: Sequence[int],
        sequence: Sequence[int],
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        if level == [ROOT]:
            return self._draft_model.catch_up(sequence)[None]
        return self._draft_model.score(
            level, [tokens[node] for node in level], [parents[node] for node in level]
        )


def most_probable(logits: Float[torch.Tensor, "rows vocabulary"], k: int) -> list[list[int]]:
    """`ranked_tokens` on the host.

    Raises:
        NumericsError: A row has no finite maximum.
    """
    argmax(logits)
    ranked: list[list[int]] = ranked_tokens(logits, k).tolist()
    return ranked


def ranked_tokens(
    logits: Float[torch.Tensor, "*rows vocabulary"], k: int
) -> Int64[torch.Tensor, "*rows k"]:
    """The ids of the k largest logits of each row, largest first.

    The first is always the argmax as plain decoding takes it, also where several logits are equal,
    so that a tree of width 1 is the greedy chain.
    """
    best = logits.max(-1, keepdim=True).indices
    if k == 1:
        return best
    ranked = logits.topk(k, dim=-1).indices
    # The argmax comes first, in place of itself or, where equal logits left it out, of the last.
    is_best = (ranked == best) | (torch.arange(k, device=logits.device) == k - 1)
    place = is_best.int().argmax(-1, keepdim=True)
    index = torch.arange(k, device=logits.device).expand_as(ranked)
    moved = ranked.gather(-1, torch.where(index <= place, index - 1, index).clamp_min(0))
    return torch.where(index == 0, best, moved)
