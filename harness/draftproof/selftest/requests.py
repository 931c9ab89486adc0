"""Faults across requests: what one of them leaves behind for the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from draftproof.config import RunConfig
from draftproof.drafting import Draft, LookupDrafter
from draftproof.engines.parts import Parts
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Randomness
from draftproof.sampling import TokenLaw
from draftproof.selftest.mutant import OWN, FaultClass, Mutant
from draftproof.selftest.wrapping import WrappedLM, draft_model, target_model
from draftproof.shapes import LookupShape


class RemembersRequests(LookupDrafter):
    """X05: tokens of earlier requests are looked up, too."""

    def __init__(self, shape: LookupShape) -> None:
        super().__init__(shape)
        self._earlier: list[int] = []
        self._last: list[int] = []

    def start(self, prompt: Sequence[int]) -> None:
        self._earlier += self._last
        self._last = []

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        self._last = list(sequence)
        return super().draft([*self._earlier, *sequence], room, law, randomness)


class KeepsThePrompt(WrappedLM):
    """A model is not reset: a request follows the ones before it in its cache."""

    def __init__(self, model: CausalLM) -> None:
        super().__init__(model)
        model.reset()

    def reset(self) -> None:
        self.inner.commit(())
        self.missed = -self.inner.length


def _remembering_lookup(parts: Parts, config: RunConfig) -> Parts:
    shape = config.tree
    if not isinstance(shape, LookupShape):
        return parts
    return replace(
        parts,
        drafter=RemembersRequests(shape),
        new_drafter=lambda: RemembersRequests(shape),
    )


_planted = partial(Mutant, fault_class=FaultClass.REQUESTS)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="X05",
        title="the n-gram table of earlier requests is still looked up",
        source="ggml-org/llama.cpp #27852",
        plant=_remembering_lookup,
        tree="lookup:4,ngram=2",
        small_tree="lookup:2,ngram=2",
        enumerable=False,
        only_acceptance=True,
    ),
    _planted(
        id="W36",
        title="the draft model is not reset between requests",
        source=OWN,
        plant=draft_model(KeepsThePrompt),
        enumerable=False,
        only_acceptance=True,
    ),
    _planted(
        id="W37",
        title="the target is not reset between requests",
        source=OWN,
        plant=target_model(KeepsThePrompt),
        enumerable=False,
    ),
)
"""Every planted fault across requests."""
