"""Faults of a draft's length: what may and what may not decide where a draft ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from draftproof.drafting import Draft
from draftproof.randomness import Randomness
from draftproof.sampling import TokenLaw
from draftproof.selftest.metrics import rate_alone
from draftproof.selftest.mutant import OWN, FaultClass, Mutant
from draftproof.selftest.wrapping import WrappedDrafter, sampled_drafter

_THRESHOLD = 0.3


class DroppedAfterDrawing(WrappedDrafter):
    """G07: a token that the draft model was not sure of is dropped once it was drawn."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        draft = self.inner.draft(sequence, room, law, randomness)
        if draft.probabilities is None:
            return draft
        kept = 0
        for token, row in zip(draft.tree.token_ids, draft.rows, strict=True):
            if float(draft.probabilities[row, token]) < _THRESHOLD:
                break
            kept += 1
        return shortened(draft, kept)


class LongerWhereLikely(WrappedDrafter):
    """A draft is cut before the first token that the draft model's argmax is not."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        draft = self.inner.draft(sequence, room, law, randomness)
        if draft.probabilities is None:
            return draft
        best = draft.probabilities.argmax(-1).tolist()
        kept = 0
        for token, row in zip(draft.tree.token_ids, draft.rows, strict=True):
            if token != best[row]:
                break
            kept += 1
        return shortened(draft, kept)


def shortened(draft: Draft, length: int) -> Draft:
    """The first nodes of a chain."""
    if draft.logits is None or draft.probabilities is None:
        return draft
    if not length:
        return Draft.empty(draft.tree.law)
    tree = replace(
        draft.tree, token_ids=draft.tree.token_ids[:length], parents=draft.tree.parents[:length]
    )
    return replace(
        draft,
        tree=tree,
        rows=draft.rows[:length],
        logits=draft.logits[:length],
        probabilities=draft.probabilities[:length],
    )


_planted = partial(Mutant, fault_class=FaultClass.DYNAMIC_LENGTH)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="G06",
        title="the acceptance rate is told without how much is drafted",
        source="ggml-org/llama.cpp #3919",
        figures=rate_alone,
    ),
    _planted(
        id="G07",
        title="a token is dropped after it was drawn",
        source="no public report",
        plant=sampled_drafter(DroppedAfterDrawing),
    ),
    _planted(
        id="W35",
        title="a draft is cut where another token than the argmax was drawn",
        source=OWN,
        plant=sampled_drafter(LongerWhereLikely),
    ),
)
"""Every planted fault of a draft's length."""
