"""Drafters of a batch: those of `draftproof.drafting`, for all rows at once and on the device.

Each proposes for a row what the drafter of one sequence would propose for it alone, by the same
numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64

from draftproof.batch.draft_side import BatchDrafter, Framed, Rows, WithModel
from draftproof.batch.drafts import BatchDraft
from draftproof.batch.models import BatchLM
from draftproof.continuation import continuation
from draftproof.drafting.confidence import goes_on
from draftproof.drafting.static_tree import ranked_tokens
from draftproof.randomness import Purpose
from draftproof.sampling import promoted
from draftproof.shapes import (
    BestFirstShape,
    ChainShape,
    KAryShape,
    LookupShape,
    SampledShape,
    StaticShape,
    TreeShape,
)
from draftproof.transfer import sent
from draftproof.tree import ROOT, children


class StaticTreeDrafter(Framed):
    """`draftproof.drafting.StaticTreeDrafter` for a batch.

    Args:
        model: The draft model.
        shape: Which sibling ranks the nodes have.
    """

    law = StaticShape.law

    def __init__(self, model: BatchLM, shape: KAryShape | StaticShape) -> None:
        index: dict[tuple[int, ...], int] = {(): ROOT}
        for path in shape.paths:
            if path[-1] < model.vocabulary_size and path[:-1] in index:
                index[path] = len(index) - 1
        super().__init__(model, tuple(index[path[:-1]] for path in index if path))

    def draft(self, rows: Rows) -> BatchDraft:
        batch = len(rows.sequences)
        deepest = self._side.deepest(rows)
        below = children(self.frame)
        token_ids = torch.zeros(batch, self.places, dtype=torch.int64, device=self._device)
        logits = [self._side.catch_up(rows.sequences, [d > 0 for d in deepest])[:, None]]
        for level in ([ROOT], *self._levels):
            if level != [ROOT]:
                logits.append(self._score(level, token_ids))
            most = max(len(below.get(node, ())) for node in level)
            ranked = ranked_tokens(logits[-1], most)
            for place, node in enumerate(level):
                nodes = list(below.get(node, ()))
                token_ids[:, self._index(nodes)] = ranked[:, place, : len(nodes)]
        return BatchDraft(
            law=self.law,
            token_ids=token_ids,
            parents=self._wide(self.frame, batch),
            valid=self._wide(self._depths, batch) <= self._column(deepest),
            frame=self.frame,
            rows=self._wide(self._rows, batch),
            logits=torch.cat(logits, 1),
            scored=self._wide(self._scored, batch),
        )


class ChainDrafter(Framed):
    """`draftproof.drafting.ChainDrafter` for a batch.

    Args:
        model: The draft model.
        shape: Length and thresholds.
    """

    law = ChainShape.law

    def __init__(self, model: BatchLM, shape: ChainShape) -> None:
        super().__init__(model, tuple(range(-1, shape.length - 1)))
        self._shape = shape

    def draft(self, rows: Rows) -> BatchDraft:
        batch = len(rows.sequences)
        deepest = self._side.deepest(rows)
        length = self._column(deepest)
        token_ids = torch.zeros(batch, self.places, dtype=torch.int64, device=self._device)
        parents = self._wide(self.frame, batch)
        going = length > 0
        valid = []
        logits = [self._side.catch_up(rows.sequences, [d > 0 for d in deepest])[:, None]]
        probabilities = []
        path_chance = torch.ones(batch, 1, device=self._device)
        for node in range(self.places):
            if node:
                logits.append(self._score([node - 1], token_ids))
            q = rows.law.distributions(
                logits[-1],
                lambda node=node: rows.before(  # type: ignore[misc]
                    token_ids[:, :node], parents[:, :node], slice(node, node + 1)
                ),
            )
            probabilities.append(q)
            going = going & (length > node)
            if not self._shape.is_fixed:
                sure, path_chance = goes_on(
                    rows.law.measured(logits[-1], q), self._shape, path_chance
                )
                going = going & sure
                if self._device.type == "cpu" and not bool(going.any()):
                    break  # elsewhere, asking would be one more wait for the device
            valid.append(going)
            place = torch.full_like(token_ids[:, :1], node)
            drawn = rows.draws.tokens(q, place, going, Purpose.DRAFT, self.places)
            token_ids[:, node] = torch.where(going, drawn, 0)[:, 0]
        drawn_places = len(valid)
        if not drawn_places:
            none = going[:, :0]
            valid, probabilities = [none], [logits[0][:, :0]]
        is_valid = torch.cat(valid, 1)
        return BatchDraft(
            law=self.law,
            token_ids=token_ids[:, :drawn_places],
            parents=parents[:, :drawn_places],
            valid=is_valid,
            frame=self.frame[:drawn_places],
            rows=self._wide(self._rows[:drawn_places], batch),
            logits=torch.cat(logits, 1)[:, :drawn_places],
            probabilities=torch.cat(probabilities, 1)[:, :drawn_places],
            scored=self._wide(self._scored[:drawn_places], batch),
            draws=is_valid.sum(-1),
        )


class SampledTreeDrafter(Framed):
    """`draftproof.drafting.SampledTreeDrafter` for a batch.

    Args:
        model: The draft model.
        shape: Depth, branching, and whether siblings are distinct.
    """

    def __init__(self, model: BatchLM, shape: SampledShape) -> None:
        frame: list[int] = []
        level = [ROOT]
        for _ in range(shape.depth):
            grown = range(len(frame), len(frame) + len(level) * shape.branching)
            frame += [parent for parent in level for _ in range(shape.branching)]
            level = list(grown)
        super().__init__(model, tuple(frame))
        self._shape = shape
        self.law = shape.law

    def draft(self, rows: Rows) -> BatchDraft:
        batch, branching = len(rows.sequences), self._shape.branching
        deepest = self._side.deepest(rows)
        room = self._column(deepest)
        token_ids = torch.zeros(batch, self.places, dtype=torch.int64, device=self._device)
        valid = torch.zeros(batch, self.places, dtype=torch.bool, device=self._device)
        parents = self._wide(self.frame, batch)
        logits = [self._side.catch_up(rows.sequences, [d > 0 for d in deepest])[:, None]]
        probabilities = []
        drawn = torch.zeros(batch, dtype=torch.int64, device=self._device)
        first = 0
        for depth, level in enumerate(([ROOT], *self._levels), start=1):
            if level != [ROOT]:
                logits.append(self._score(level, token_ids))
            places = [node + 1 for node in level]
            q = rows.law.distributions(
                logits[-1],
                lambda first=first, places=places: rows.before(  # type: ignore[misc]
                    token_ids[:, :first], parents[:, :first], places
                ),
            )
            probabilities.append(q)
            has_parent = room > 0 if level == [ROOT] else valid[:, self._index(level)]
            wanted = (q > 0).sum(-1).clamp_max(branching) if self._shape.distinct else branching
            counts = torch.where(has_parent & (room >= depth), wanted, 0)
            before = drawn[:, None] + counts.cumsum(-1) - counts
            left = q
            for rank in range(branching):
                active = rank < counts
                token = rows.draws.tokens(left, before + rank, active, Purpose.DRAFT, self.places)
                token = torch.where(active, token, 0)
                nodes = [first + place * branching + rank for place in range(len(level))]
                index = self._index(nodes)
                token_ids[:, index], valid[:, index] = token, active
                if self._shape.distinct:
                    taken = left.scatter(-1, token.clamp_min(0)[..., None], 0.0)
                    left = torch.where(active[..., None], taken, left)
            drawn = drawn + counts.sum(-1)
            first += len(level) * branching
        return BatchDraft(
            law=self.law,
            token_ids=token_ids,
            parents=parents,
            valid=valid,
            frame=self.frame,
            rows=self._wide(self._rows, batch),
            logits=torch.cat(logits, 1),
            probabilities=torch.cat(probabilities, 1),
            scored=self._wide(self._scored, batch),
            draws=drawn,
        )


class BestFirstDrafter(WithModel):
    """`draftproof.drafting.BestFirstDrafter` for a batch.

    Args:
        model: The draft model.
        shape: Node budget, depth, and nodes expanded a level.
    """

    law = BestFirstShape.law

    def __init__(self, model: BatchLM, shape: BestFirstShape) -> None:
        super().__init__(model)
        self._shape = shape
        self._branching = min(shape.branching, model.vocabulary_size)
        found = self._branching * (1 + (shape.depth - 1) * self._branching)
        self.places = min(shape.nodes, found)

    def draft(self, rows: Rows) -> BatchDraft:
        batch, k = len(rows.sequences), self._branching
        deepest = self._side.deepest(rows)
        room = self._column(deepest)
        logits = [self._side.catch_up(rows.sequences, [d > 0 for d in deepest])[:, None]]
        device = self._device
        above = torch.zeros(batch, 1, dtype=promoted(logits[0]).dtype, device=device)
        frontier = torch.full((batch, 1), ROOT, device=device)
        tokens: list[torch.Tensor] = []
        parents: list[torch.Tensor] = []
        sure: list[torch.Tensor] = []
        row: list[torch.Tensor] = []
        scored: list[torch.Tensor] = []
        pending = torch.full((batch, 1), ROOT, device=device)
        found = 0
        within = torch.zeros_like(room)
        for depth in range(1, self._shape.depth + 1):
            log_probabilities = torch.log_softmax(promoted(logits[-1]), -1)
            ranked = ranked_tokens(logits[-1], k)
            path = above[..., None] + log_probabilities.gather(-1, ranked)
            path = torch.where((room >= depth)[..., None], path, -torch.inf).flatten(1)
            tokens.append(ranked.flatten(1))
            sure.append(path)
            parents.append(frontier.repeat_interleave(k, 1))
            width = frontier.shape[1]
            first_row = sum(part.shape[1] for part in logits[:-1])
            within = within + torch.where(room >= depth, width * k, 0)
            row.append((torch.arange(width * k, device=device) // k + first_row).expand(batch, -1))
            scored.append(torch.full_like(tokens[-1], ROOT))
            if depth == self._shape.depth:
                break
            grown = path.sort(dim=-1, descending=True, stable=True).indices[:, :k].sort(-1).values
            below = pending.repeat_interleave(k, 1).gather(1, grown)
            before = sum(part.shape[1] for part in logits[1:])
            pending = before + torch.arange(grown.shape[1], device=device).expand(batch, -1)
            scored[-1] = scored[-1].scatter(1, grown, pending)
            frontier, above = grown + found, path.gather(1, grown)
            found += path.shape[1]
            logits.append(self._side.model.score(tokens[-1].gather(1, grown), below))
        return self._surest(
            torch.cat(tokens, 1),
            torch.cat(parents, 1),
            torch.cat(sure, 1),
            torch.cat(row, 1),
            torch.cat(scored, 1),
            torch.cat(logits, 1),
            within,
        )

    def _surest(
        self,
        tokens: Int64[torch.Tensor, "B found"],
        parents: Int64[torch.Tensor, "B found"],
        sure: Float[torch.Tensor, "B found"],
        row: Int64[torch.Tensor, "B found"],
        scored: Int64[torch.Tensor, "B found"],
        logits: Float[torch.Tensor, "B m vocabulary"],
        within: Int64[torch.Tensor, "B 1"],
    ) -> BatchDraft:
        """The draft of the nodes of largest path probability.

        The row of logits and the pending index of each go with it; `within` is how many nodes each
        row has room for, which are the first.
        """
        batch, found = tokens.shape
        best = sure.sort(dim=-1, descending=True, stable=True).indices[:, : self.places]
        chosen = torch.where(best < within, best, found).sort(-1).values
        valid = chosen < found
        index = chosen.clamp_max(found - 1)
        place = torch.full((batch, found + 2), ROOT, device=tokens.device)
        numbers = torch.arange(self.places, device=tokens.device).expand(batch, -1)
        place = place.scatter(1, torch.where(valid, index + 1, found + 1), numbers)
        above = place.gather(1, parents.gather(1, index) + 1)
        return BatchDraft(
            law=self.law,
            token_ids=torch.where(valid, tokens.gather(1, index), 0),
            parents=torch.where(valid, above, ROOT),
            valid=valid,
            rows=row.gather(1, index),
            logits=logits,
            scored=torch.where(valid, scored.gather(1, index), ROOT),
        )


class LookupDrafter:
    """`draftproof.drafting.LookupDrafter` for a batch; it has no model and works on the host.

    Args:
        shape: Tokens proposed at most, and the longest run that is looked up.
        device: Where drafts are wanted.
    """

    law = LookupShape.law

    def __init__(self, shape: LookupShape, device: torch.device) -> None:
        self._shape = shape
        self._device = device
        self.places = shape.length

    def start(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Nothing to take in."""

    def draft(self, rows: Rows) -> BatchDraft:
        found = [
            list(continuation(sequence, self._shape.ngram))[: max(0, min(self.places, room))]
            for sequence, room in zip(rows.sequences, rows.room, strict=True)
        ]
        padded = [tokens + [0] * (self.places - len(tokens)) for tokens in found]
        lengths = sent([len(tokens) for tokens in found], self._device)[:, None]
        frame = tuple(range(-1, self.places - 1))
        return BatchDraft(
            law=self.law,
            token_ids=sent(padded, self._device, torch.int64),
            parents=sent(frame, self._device, torch.int64).expand(len(found), -1),
            valid=torch.arange(self.places, device=self._device) < lengths,
            frame=frame,
        )

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        """Nothing to keep."""

    def keep(self, rows: Sequence[int]) -> None:
        """Nothing to forget."""


def make_batch_drafter(shape: TreeShape, model: BatchLM) -> BatchDrafter:
    """The drafter for a tree shape, on a draft model (which prompt lookup leaves alone)."""
    match shape:
        case ChainShape():
            return ChainDrafter(model, shape)
        case KAryShape() | StaticShape():
            return StaticTreeDrafter(model, shape)
        case SampledShape():
            return SampledTreeDrafter(model, shape)
        case BestFirstShape():
            return BestFirstDrafter(model, shape)
        case LookupShape():
            return LookupDrafter(shape, model.device)
