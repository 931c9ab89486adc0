"""The one wait of a step: all that the host needs to know of a batch of drafts, in one copy."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int64

from draftproof.batch.drafts import BatchDraft
from draftproof.errors import NumericsError
from draftproof.tree import ROOT, DraftTree


@dataclass(frozen=True, slots=True, kw_only=True)
class RowRead:
    """What one row's draft is, and what the rule makes of it.

    Attributes:
        tree: The row's own nodes.
        places: ``[nodes]`` the place of the draft that each is in.
        scored: ``[nodes]`` its index among the draft model's pending nodes, or `ROOT`.
        keep: ``[nodes]`` the probability with which it is kept once it is tried.
        extra_tokens: ``[nodes + 1]`` the extra token where the walk ends at the root, or after node
            ``i`` (``i + 1``).
        draws: Numbers that the draft used.
    """

    tree: DraftTree
    places: tuple[int, ...]
    scored: tuple[int, ...]
    keep: tuple[float, ...]
    extra_tokens: tuple[int, ...]
    draws: int

    def frame_place(self, index: int) -> int:
        """The index among all places of the frame of one among the row's own: 0 is the root."""
        return 0 if index == 0 else self.places[index - 1] + 1


def read_back(
    draft: BatchDraft,
    keep: Float[torch.Tensor, "B n"],
    extra_tokens: Int64[torch.Tensor, "B places"],
) -> list[RowRead]:
    """Copy what was proposed and verified to the host, at once, and sort it by rows.

    Raises:
        NumericsError: A drafted token is none, since its weights were no law.
    """
    batch, n = draft.token_ids.shape
    zeros = torch.zeros_like(draft.token_ids)
    columns = [
        draft.token_ids,
        draft.parents,
        draft.valid.long(),
        zeros + ROOT if draft.scored is None else draft.scored,
        _as_integers(keep),
        extra_tokens,
        torch.zeros_like(extra_tokens[:, :1]) if draft.draws is None else draft.draws[:, None],
    ]
    table = torch.cat(columns, 1).cpu()
    ends = np.cumsum([0, *(column.shape[1] for column in columns)])
    token_ids, parents, valid, scored, packed, extra, draws = (
        table[:, begin:end] for begin, end in pairwise(ends)
    )
    probabilities = _as_floats(packed, keep.dtype).tolist()
    reads = []
    for row, ids, above, there, pending, kept, after, used in zip(
        range(batch),
        token_ids.tolist(),
        parents.tolist(),
        valid.bool().tolist(),
        scored.tolist(),
        probabilities,
        extra.tolist(),
        draws[:, 0].tolist(),
        strict=True,
    ):
        places = tuple(place for place in range(n) if there[place])
        index = {ROOT: ROOT} | {place: node for node, place in enumerate(places)}
        tokens = tuple(ids[place] for place in places)
        if any(token < 0 for token in tokens):
            raise NumericsError(
                f"row {row} of the batch: a drafted token cannot be drawn, since the draft model "
                "returned NaN or infinite logits; try --spec-dtype float32, or check the checkpoint"
            )
        reads.append(
            RowRead(
                tree=DraftTree(
                    token_ids=tokens,
                    parents=tuple(index[above[place]] for place in places),
                    law=draft.law,
                ),
                places=places,
                scored=tuple(pending[place] for place in places),
                keep=tuple(kept[place] for place in places),
                extra_tokens=(after[0], *(after[place + 1] for place in places)),
                draws=used,
            )
        )
    return reads


def _as_integers(values: torch.Tensor) -> torch.Tensor:
    """The bits of floating numbers as int64, so that they travel with integers."""
    if values.dtype == torch.float64:
        return values.contiguous().view(torch.int64)
    return values.float().contiguous().view(torch.int32).long()


def _as_floats(bits: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.float64:
        return bits.contiguous().view(torch.float64)
    return bits.int().contiguous().view(torch.float32)
