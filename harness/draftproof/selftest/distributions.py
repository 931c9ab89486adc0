"""Faults of the laws that a rule is given: temperature and filters, on one side only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float

from draftproof.acceptance import (
    RejectionRule,
)
from draftproof.config import RunConfig
from draftproof.drafting import Draft
from draftproof.engines.parts import Parts
from draftproof.randomness import Randomness
from draftproof.sampling import Contexts, TokenLaw
from draftproof.selftest.mutant import OWN, FaultClass, Mutant
from draftproof.selftest.wrapping import (
    Reweighted,
    SoundLawDrafter,
    WrappedDrafter,
    normalised,
    sampled_drafter,
    verifying_law,
)

Law = Float[torch.Tensor, " vocabulary"]
Laws = Float[torch.Tensor, "rows vocabulary"]


class FilteredTwice(RejectionRule):
    """The residual goes through the filters of the run once more: V06 and V10."""

    def __init__(self, config: RunConfig) -> None:
        self._filter = TokenLaw(config.sampling)

    def left(self, p: Law, q: Law, token: int) -> Law:
        residual = super().left(p, q, token)
        return self._filter.distributions(residual.log()[None], list)[0]


class FilteredTarget(FilteredTwice):
    """V10: the residual is taken of the filtered p, the coin of the unfiltered one."""

    def left(self, p: Law, q: Law, token: int) -> Law:
        filtered = self._filter.distributions(p.log()[None], list)[0]
        return normalised((filtered - q).clamp_min(0), filtered)


class PlainSoftmax(TokenLaw):
    """Verified rows have neither temperature nor filters."""

    def distributions(self, logits: Laws, contexts: Contexts) -> Laws:
        if len(logits) == 1 or self.sampling.greedy:
            return super().distributions(logits, contexts)
        return torch.softmax(logits if logits.dtype == torch.float64 else logits.float(), -1)


class RawBonus(TokenLaw):
    """V17: the last row, of the bonus token after a full chain, has neither."""

    def distributions(self, logits: Laws, contexts: Contexts) -> Laws:
        rows = super().distributions(logits, contexts)
        if len(logits) > 1 and not self.sampling.greedy:
            rows[-1] = torch.softmax(logits[-1].to(rows.dtype), -1)
        return rows


class ReportsRawLaw(SoundLawDrafter):
    """V06 and V09: tokens are drawn after the filters, and q is told from before them."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        draft = super().draft(sequence, room, law, randomness)
        if draft.logits is None or draft.probabilities is None:
            return draft
        raw = torch.softmax(draft.logits.to(draft.probabilities.dtype), -1)
        return replace(draft, probabilities=raw)


class GreedyDraft(WrappedDrafter):
    """V07."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        best = Reweighted(randomness, lambda q: torch.where(q == q.max(), q, torch.zeros_like(q)))
        return self.inner.draft(sequence, room, law, best)


class OtherTemperature(WrappedDrafter):
    """V08: drawn at temperature 0.9, told at 1."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        colder = Reweighted(randomness, lambda q: q ** (1 / 0.9))
        return self.inner.draft(sequence, room, law, colder)


class OtherTemperatureBelow(WrappedDrafter):
    """The same at the second depth only."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        drawn = 0

        def weigh(q: torch.Tensor) -> torch.Tensor:
            nonlocal drawn
            drawn += 1
            return q ** (1 / 0.7) if drawn == 2 else q

        return self.inner.draft(sequence, room, law, Reweighted(randomness, weigh))


class DividedInPlace(WrappedDrafter):
    """V12: the stored q was divided by the noise of the race that drew from it."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        draft = self.inner.draft(sequence, room, law, randomness)
        if draft.probabilities is None:
            return draft
        noise = torch.empty_like(draft.probabilities)
        noise.exponential_(generator=torch.Generator(noise.device).manual_seed(0))
        return replace(draft, probabilities=draft.probabilities / noise)


class GreedyFirst(TokenLaw):
    """The first token after the prompt is the argmax."""

    def distributions(self, logits: Laws, contexts: Contexts) -> Laws:
        rows = super().distributions(logits, contexts)
        if len(logits) == 1:
            return torch.nn.functional.one_hot(rows.argmax(-1), rows.shape[-1]).to(rows.dtype)
        return rows


class FilterBeforeTemperature(TokenLaw):
    """Verified rows are filtered before they are scaled."""

    def distributions(self, logits: Laws, contexts: Contexts) -> Laws:
        if len(logits) == 1 or self.sampling.greedy:
            return super().distributions(logits, contexts)
        unscaled = TokenLaw(
            replace(self.sampling, temperature=1.0), self.prompt_length, self.stop_token_ids
        )
        filtered = unscaled.distributions(logits, contexts)
        return torch.softmax(filtered.log() / self.sampling.temperature, -1)


def _scored_raw(parts: Parts, config: RunConfig) -> Parts:
    """V06."""
    if config.sampling.greedy:
        return parts
    return replace(
        parts,
        drafter=ReportsRawLaw(parts.drafter, config),
        make_law=PlainSoftmax,
        rule=FilteredTwice(config),
    )


def _filtered_in_one_place(parts: Parts, config: RunConfig) -> Parts:
    """V10."""
    if config.sampling.greedy:
        return parts
    wrong = verifying_law(PlainSoftmax)(parts, config)
    return replace(wrong, rule=FilteredTarget(config))


def _first_token(parts: Parts, config: RunConfig) -> Parts:
    return replace(parts, make_law=GreedyFirst, drafter=SoundLawDrafter(parts.drafter, config))


_planted = partial(Mutant, fault_class=FaultClass.VERIFICATION)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="V06",
        title="drawn from filtered logits, judged by plain ones, residual filtered again",
        source="feifeibear/LLMSpeculativeSampling 3505d00",
        plant=_scored_raw,
    ),
    _planted(
        id="V07",
        title="greedy draft verified as if drawn",
        source="huggingface/transformers PR 30778, #32867",
        plant=sampled_drafter(GreedyDraft),
    ),
    _planted(
        id="V08",
        title="draft drawn at T = 0.9, q told at 1",
        source="vllm-project/vllm PR 10198",
        plant=sampled_drafter(OtherTemperature),
    ),
    _planted(
        id="V09",
        title="q told from before the filters",
        source="huggingface/transformers #47932",
        plant=sampled_drafter(ReportsRawLaw),
    ),
    _planted(
        id="V10",
        title="accepted by the unfiltered p, corrected by the filtered one",
        source="vllm-project/vllm PR 42802",
        plant=_filtered_in_one_place,
    ),
    _planted(
        id="V12",
        title="stored q divided in place by the noise of its draw",
        source="vllm-project/vllm PR 16952",
        plant=sampled_drafter(DividedInPlace),
    ),
    _planted(
        id="V17",
        title="bonus token ignores temperature and filters",
        source="SafeAILab/EAGLE c7ef8e5",
        plant=verifying_law(RawBonus),
    ),
    _planted(
        id="W04",
        title="draft temperature ignored at the second depth",
        source=OWN,
        plant=sampled_drafter(OtherTemperatureBelow),
    ),
    _planted(
        id="W08",
        title="first token after the prompt is the argmax",
        source=OWN,
        plant=_first_token,
    ),
    _planted(
        id="W09",
        title="filters before temperature where drafts are verified",
        source=OWN,
        plant=verifying_law(FilterBeforeTemperature),
    ),
)
"""Every planted fault of the laws that a rule is given."""
