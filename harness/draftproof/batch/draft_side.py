"""What the drafters of a batch have in common: the rows, the draft model, and fixed places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int64

from draftproof.batch.drafts import BatchDraft
from draftproof.batch.draws import BatchDraws
from draftproof.batch.laws import BatchLaw, Before
from draftproof.batch.models import BatchLM
from draftproof.batch.past import Past
from draftproof.laws import ProposalLaw
from draftproof.transfer import sent
from draftproof.tree import ROOT, children, depths


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The batch as a drafter sees it.

    Attributes:
        sequences: ``[B]`` prompt and output of each row; the last token is the root.
        room: ``[B]`` the greatest depth for which the target has positions left.
        law: What tokens are drawn from.
        draws: Where draws come from.
        past: What `law` looks back at, where it does.
    """

    sequences: Sequence[Sequence[int]]
    room: Sequence[int]
    law: BatchLaw
    draws: BatchDraws
    past: Past | None = None

    def before(
        self,
        token_ids: Int64[torch.Tensor, "B n"],
        parents: Int64[torch.Tensor, "B n"],
        places: slice | Sequence[int],
    ) -> Before:
        """What comes before the successors of some places (0 the root, ``i + 1`` node ``i``)."""
        if self.past is None:
            raise AssertionError("a law that looks back needs the past")
        every = self.past.before(token_ids, parents)
        index = places if isinstance(places, slice) else sent(places, token_ids.device)
        return Before(every.seen[:, index], every.new_tokens[:, index])


class BatchDrafter(Protocol):
    """Proposes a tree for every row of a batch.

    Attributes:
        law: How the siblings of every draft are chosen.
        places: Nodes that a row's draft can have.
    """

    law: ProposalLaw
    places: int

    def start(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        """Take in the prompts of some rows, which are new."""
        ...

    def draft(self, rows: Rows) -> BatchDraft:
        """The drafts of the next step."""
        ...

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        """Take note of what was kept.

        Args:
            paths: ``[B]`` of each row, the indices among the draft model's pending nodes
                (`BatchDraft.scored`) of the kept nodes that have one.
        """
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows, in this order."""
        ...


class DraftSide:
    """A draft model that keeps in step with the output of every row.

    Args:
        model: The draft model.
    """

    def __init__(self, model: BatchLM) -> None:
        self.model = model
        self._lengths: list[int] = []

    def start(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        # A prompt that does not fit is not drafted for, and its row is never looked at.
        fitting = [
            prompt if len(prompt) <= self.model.max_length else prompt[:1] for prompt in prompts
        ]
        self.model.start(rows, fitting)
        for row, prompt in zip(rows, fitting, strict=True):
            self._lengths[row : row + 1] = [len(prompt)]

    def deepest(self, rows: Rows) -> list[int]:
        """``[B]`` the greatest depth for which both models have positions left; 0 for none."""
        own = [self.model.max_length - len(sequence) + 1 for sequence in rows.sequences]
        return [max(0, min(pair)) for pair in zip(own, rows.room, strict=True)]

    def catch_up(
        self, sequences: Sequence[Sequence[int]], active: Sequence[bool]
    ) -> Float[torch.Tensor, "B vocabulary"]:
        """The logits after each sequence, feeding only what the model has not seen.

        Args:
            sequences: ``[B]`` prompts and outputs.
            active: ``[B]`` whether a row is drafted for; the logits of others mean nothing.
        """
        unseen = [
            list(sequence[length:]) if is_active else []
            for sequence, length, is_active in zip(sequences, self._lengths, active, strict=True)
        ]
        width = max(1, *(len(tokens) for tokens in unseen))
        padded = [tokens + [0] * (width - len(tokens)) for tokens in unseen]
        device = self.model.device
        chain = tuple(range(-1, width - 1))
        logits = self.model.score(sent(padded, device), chain)
        self.model.commit([range(len(tokens)) for tokens in unseen])
        self._lengths = [n + len(t) for n, t in zip(self._lengths, unseen, strict=True)]
        if width == 1:
            return logits[:, 0]
        last = [max(0, len(tokens) - 1) for tokens in unseen]
        place = sent(last, device)[:, None, None].expand(-1, 1, logits.shape[-1])
        return logits.gather(1, place)[:, 0]

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        """Keep the entries of the kept nodes that were scored, by their pending indices."""
        self.model.commit(paths)
        self._lengths = [n + len(path) for n, path in zip(self._lengths, paths, strict=True)]

    def keep(self, rows: Sequence[int]) -> None:
        self.model.keep(rows)
        self._lengths = [self._lengths[row] for row in rows]


class WithModel:
    """What every drafter with a model does alike."""

    def __init__(self, model: BatchLM) -> None:
        self._side = DraftSide(model)
        self._device = model.device

    def start(self, rows: Sequence[int], prompts: Sequence[Sequence[int]]) -> None:
        self._side.start(rows, prompts)

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        self._side.commit(paths)

    def keep(self, rows: Sequence[int]) -> None:
        self._side.keep(rows)

    def _column(self, values: Sequence[int]) -> Int64[torch.Tensor, "B 1"]:
        return sent(values, self._device)[:, None]


class Framed(WithModel):
    """A drafter whose places are the same at every step."""

    def __init__(self, model: BatchLM, frame: tuple[int, ...]) -> None:
        super().__init__(model)
        self.frame = frame
        self.places = len(frame)
        below = children(frame)
        level = depths(frame)
        # Scored: what has children, level by level; in the order in which it is pending.
        self._levels = [
            [node for node in range(len(frame)) if node in below and level[node] == depth]
            for depth in range(1, max(level, default=0))
        ]
        order = {node: index for index, node in enumerate(n for ns in self._levels for n in ns)}
        self._scored = [order.get(node, ROOT) for node in range(len(frame))]
        self._rows = [order[parent] + 1 if parent != ROOT else 0 for parent in frame]
        self._depths = level
        self._sent: dict[tuple[int, ...], torch.Tensor] = {}
        self._order = order

    def _score(
        self, level: Sequence[int], token_ids: Int64[torch.Tensor, "B n"]
    ) -> Float[torch.Tensor, "B level vocabulary"]:
        """The logits after the nodes of a level."""
        above = tuple(self._order.get(self.frame[node], ROOT) for node in level)
        return self._side.model.score(token_ids[:, self._index(level)].clamp_min(0), above)

    def _index(self, places: Sequence[int]) -> Int64[torch.Tensor, " n"]:
        """Places on the device; each is sent once."""
        key = tuple(places)
        if key not in self._sent:
            self._sent[key] = sent(key, self._device, torch.int64)
        return self._sent[key]

    def _wide(self, values: Sequence[int], batch: int) -> Int64[torch.Tensor, "B n"]:
        return self._index(values).expand(batch, len(values))
