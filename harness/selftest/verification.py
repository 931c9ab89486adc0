"""Faults of verification: what is kept with which probability, and what is drawn instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float

from harness.acceptance import (
    Acceptance,
    AcceptanceRule,
    GreedyRule,
    MultiRoundRule,
    PointMassRule,
    RejectionRule,
    TypicalRule,
    WithoutReplacementRule,
)
from harness.config import RunConfig
from harness.drafting import Draft, Drafter
from harness.engines.parts import Parts
from harness.laws import ProposalLaw
from harness.randomness import Purpose, Randomness
from harness.sampling import Contexts, TokenLaw
from harness.selftest.mutant import OWN, FaultClass, Mutant, Plant
from harness.selftest.wrapping import (
    Reweighted,
    SoundLawDrafter,
    WrappedDrafter,
    WrappedRule,
    around_rule,
    sampled_drafter,
    sampled_rule,
    verifying_law,
)
from harness.tree import ROOT

Law = Float[torch.Tensor, " vocabulary"]
Laws = Float[torch.Tensor, "rows vocabulary"]


def normalised(weights: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    """Weights that add up to 1; another distribution where there is none."""
    total = float(weights.sum())
    return weights / total if total > 0 else otherwise


class InvertedRatio(RejectionRule):
    """V01."""

    def keeps(self, p: Law, q: Law, token: int) -> float:
        return min(1.0, float(q[token] / p[token])) if p[token] > 0 else 1.0


class NoResidual(RejectionRule):
    """V02."""

    def left(self, p: Law, q: Law, token: int) -> Law:
        return p


class ResidualSign(RejectionRule):
    """V03."""

    def left(self, p: Law, q: Law, token: int) -> Law:
        return normalised((q - p).clamp_min(0), p)


class SoftmaxResidual(RejectionRule):
    """V04."""

    def left(self, p: Law, q: Law, token: int) -> Law:
        return torch.softmax((p - q).clamp_min(0), -1)


class PartialResidual(RejectionRule):
    """V05."""

    def left(self, p: Law, q: Law, token: int) -> Law:
        less = p.clone()
        less[token] = max(float(p[token] - q[token]), 0.0)
        return normalised(less, p)


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


class ZeroedInPlace(PointMassRule):
    """V11."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        zeroed = target.clone()
        for node, parent in enumerate(draft.tree.parents):
            zeroed[parent + 1, draft.tree.token_ids[node]] = 0
        empty = zeroed.sum(-1) == 0
        zeroed[empty] = target[empty]
        return super().accept(draft, zeroed, randomness)


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


class NextRow(WrappedRule):
    """V14: p of a node is read one row too far down."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        return self.inner.accept(draft, torch.cat([target[1:], target[-1:]]), randomness)


class LastRow(RejectionRule):
    """V14: after a rejection, the residual is taken of the last row."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        self._last = target[-1]
        return super().accept(draft, target, randomness)

    def left(self, p: Law, q: Law, token: int) -> Law:
        return super().left(self._last, q, token)


class FirstBlockRows(WrappedRule):
    """V14: tokens are looked up in the first block that was drafted."""

    first: tuple[int, ...] = ()

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        self.first = self.first or draft.tree.token_ids
        if len(self.first) != len(draft.tree):
            return self.inner.accept(draft, target, randomness)
        stale = replace(draft, tree=replace(draft.tree, token_ids=self.first))
        return self.inner.accept(stale, target, randomness)


class StaleBonus(WithoutReplacementRule):
    """V16: once a sibling was rejected, the bonus token comes of that residual."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        self._stale: torch.Tensor | None = None
        bonus = _Replaced(randomness, Purpose.BONUS, lambda: self._stale)
        return super().accept(draft, target, bonus)

    def left(self, p: Law, q: Law, token: int) -> Law:
        self._stale = super().left(p, q, token)
        return self._stale


class SoftSiblings(WithoutReplacementRule):
    """V20: a later sibling is judged by the q of the first one."""

    def narrowed(self, q: Law, token: int) -> Law:
        return q


class SoftTopK(WrappedDrafter):
    """V23: the most probable siblings, told as if they had been drawn."""

    def __init__(self, drafter: Drafter, config: RunConfig) -> None:
        super().__init__(drafter, config)
        self.law = ProposalLaw.WITHOUT_REPLACEMENT

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        draft = self.inner.draft(sequence, room, law, randomness)
        if draft.logits is None:
            return draft
        q = torch.softmax(draft.logits.double(), -1).to(draft.logits.dtype)
        return replace(draft, tree=replace(draft.tree, law=self.law), probabilities=q)


class Phantom(GreedyRule):
    """V26: short paths are padded with token 0, whose row is that of the first node."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        found = super().accept(draft, target, randomness)
        if found.extra_token != 0 or len(found.path) == draft.tree.depth or not len(draft.tree):
            return found
        return replace(found, extra_token=int(target[1].argmax()))


class SkipsTokenZero(WithoutReplacementRule):
    """V26, before: a drafted token 0 is taken for padding, and skipped without a residual."""

    def keeps(self, p: Law, q: Law, token: int) -> float:
        return 0.0 if token == 0 else super().keeps(p, q, token)

    def left(self, p: Law, q: Law, token: int) -> Law:
        return p if token == 0 else super().left(p, q, token)


class Lenient(RejectionRule):
    """V30."""

    def keeps(self, p: Law, q: Law, token: int) -> float:
        return super().keeps(p, 0.9 * q, token)


class NoFallback(RejectionRule):
    """N07: where the residual adds up to 0, it is divided by 0."""

    def left(self, p: Law, q: Law, token: int) -> Law:
        left = (p - q).clamp_min(0)
        return left / left.sum()


class DepthTwoRow(RejectionRule):
    """The residual after a rejection at depth 2 is taken at depth 1."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        self._judged: list[tuple[torch.Tensor, torch.Tensor]] = []
        return super().accept(draft, target, randomness)

    def keeps(self, p: Law, q: Law, token: int) -> float:
        self._judged.append((p, q))
        return super().keeps(p, q, token)

    def left(self, p: Law, q: Law, token: int) -> Law:
        if len(self._judged) == 2:
            p, q = self._judged[0]
        return super().left(p, q, token)


class ParentsBonus(WrappedRule):
    """The bonus token is drawn from the row of the last node's parent."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        if not len(draft.tree):
            return self.inner.accept(draft, target, randomness)
        rows = target.clone()
        rows[-1] = target[draft.tree.parents[-1] + 1]
        return self.inner.accept(draft, rows, randomness)


class SwappedSiblings(WrappedRule):
    """The first two children of the root change places after they were scored."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        first = draft.tree.children(ROOT)[:2]
        if len(first) < 2:
            return self.inner.accept(draft, target, randomness)
        rows = target.clone()
        rows[[node + 1 for node in first]] = target[[node + 1 for node in reversed(first)]]
        return self.inner.accept(draft, rows, randomness)


class HalfRatio(RejectionRule):
    """The coin is computed in half precision."""

    def keeps(self, p: Law, q: Law, token: int) -> float:
        return min(1.0, float(p[token].half() / q[token].half()))


class GreedyBonus(RejectionRule):
    """The bonus token is the argmax."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        bonus = _Replaced(
            randomness, Purpose.BONUS, lambda: torch.nn.functional.one_hot(
                target[-1].argmax(), target.shape[-1]
            ).to(target.dtype)
        )  # fmt: skip
        return super().accept(draft, target, bonus)


class SecondBest(GreedyRule):
    """At temperature 0 a first child is kept if it is the target's second choice, too."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        lenient = target.clone()
        first = draft.tree.children(ROOT)[:1]
        if first:
            # Before a rule sees them rows are one-hot at temperature 0: the draft decides.
            lenient[0] = 0
            lenient[0, draft.tree.token_ids[first[0]]] = 1
        return super().accept(draft, lenient, randomness)


class KeepsP(MultiRoundRule):
    """Siblings are tried with p as it was before the rejection."""

    def left(self, p: Law, q: Law, token: int) -> Law:
        return p


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


class _Replaced:
    """A `Randomness` that draws tokens for one purpose from another distribution."""

    def __init__(self, inner: Randomness, purpose: Purpose, law: Callable[[], Law | None]) -> None:
        self._inner = inner
        self._purpose = purpose
        self._law = law

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        return self._inner.bernoulli(probability, purpose)

    def categorical(self, probabilities: Law, purpose: Purpose) -> int:
        other = self._law() if purpose is self._purpose else None
        return self._inner.categorical(probabilities if other is None else other, purpose)


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


def _soft_top_k(parts: Parts, config: RunConfig) -> Parts:
    """V23."""
    if config.sampling.greedy:
        return parts
    drafter = SoftTopK(parts.drafter, config)
    return replace(parts, drafter=drafter, rule=WithoutReplacementRule())


def _first_token(parts: Parts, config: RunConfig) -> Parts:
    return replace(parts, make_law=GreedyFirst, drafter=SoundLawDrafter(parts.drafter, config))


def _greedy_only(make: type[AcceptanceRule]) -> Plant:
    def plant(parts: Parts, config: RunConfig) -> Parts:
        return replace(parts, rule=make()) if config.sampling.greedy else parts

    return plant


_planted = partial(Mutant, fault_class=FaultClass.VERIFICATION)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="V01",
        title="acceptance ratio inverted",
        source="feifeibear/LLMSpeculativeSampling 9f5d2e5",
        plant=sampled_rule(InvertedRatio),
    ),
    _planted(
        id="V02",
        title="no residual: the correction token is drawn from p",
        source="romsto/Speculative-Decoding 53922df",
        plant=sampled_rule(NoResidual),
    ),
    _planted(
        id="V03",
        title="residual of the wrong sign",
        source="reported of no project",
        plant=sampled_rule(ResidualSign),
    ),
    _planted(
        id="V04",
        title="softmax of the residual instead of its normalisation",
        source="huggingface/transformers PR 28508",
        plant=sampled_rule(SoftmaxResidual),
    ),
    _planted(
        id="V05",
        title="only the rejected token's mass is subtracted",
        source="SafeAILab/EAGLE #20, 6aa1ed8",
        plant=sampled_rule(PartialResidual),
    ),
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
        id="V11",
        title="p of the drafted token zeroed in place before its coin",
        source="vllm-project/vllm-ascend PR 2881",
        plant=sampled_rule(ZeroedInPlace),
        tree="2x1",
        small_tree="2x1",
    ),
    _planted(
        id="V12",
        title="stored q divided in place by the noise of its draw",
        source="vllm-project/vllm PR 16952",
        plant=sampled_drafter(DividedInPlace),
    ),
    _planted(
        id="V14a",
        title="token ids looked up in the first block",
        source="romsto/Speculative-Decoding 41668c8",
        plant=around_rule(FirstBlockRows),
        enumerable=False,
    ),
    _planted(
        id="V14b",
        title="residual taken of the last row",
        source="romsto/Speculative-Decoding 53922df",
        plant=sampled_rule(LastRow),
    ),
    _planted(
        id="V14c",
        title="p read one row too far down",
        source="huggingface/transformers PR 28166",
        plant=around_rule(NextRow),
    ),
    _planted(
        id="V16",
        title="stale residual used for the bonus token",
        source="SafeAILab/EAGLE 2f982e2, 61020ed",
        plant=sampled_rule(StaleBonus),
        tree="distinct:2x2",
        small_tree="distinct:1x2",
    ),
    _planted(
        id="V17",
        title="bonus token ignores temperature and filters",
        source="SafeAILab/EAGLE c7ef8e5",
        plant=verifying_law(RawBonus),
    ),
    _planted(
        id="V20",
        title="q not renormalised for later siblings",
        source="SafeAILab/EAGLE #74",
        plant=sampled_rule(SoftSiblings),
        tree="distinct:2x2",
        small_tree="distinct:1x2",
    ),
    _planted(
        id="V23",
        title="most probable siblings verified as if drawn",
        source="reported of no project",
        plant=_soft_top_k,
        tree="2x2",
        small_tree="1x2",
    ),
    _planted(
        id="V26a",
        title="phantom candidates from padded paths",
        source="SafeAILab/EAGLE b09a256",
        plant=_greedy_only(Phantom),
        tree="2x2",
        small_tree="2x2",
    ),
    _planted(
        id="V26b",
        title="a drafted token 0 is taken for padding",
        source="SafeAILab/EAGLE b09a256",
        plant=sampled_rule(SkipsTokenZero),
        tree="distinct:2x2",
        small_tree="distinct:1x2",
    ),
    _planted(
        id="V30a",
        title="leniency: q × 0.9 in the ratio",
        source="lucidrains/speculative-decoding lenience",
        plant=sampled_rule(Lenient),
    ),
    _planted(
        id="V30b",
        title="typical acceptance told as lossless",
        source="FasterDecoding/Medusa",
        plant=sampled_rule(TypicalRule),
        tree="2x2",
        small_tree="1x2",
    ),
    _planted(
        id="W01",
        title="correction after a rejection at depth 2 of depth 1's residual",
        source=OWN,
        plant=sampled_rule(DepthTwoRow),
    ),
    _planted(
        id="W02",
        title="bonus token of the parent's row",
        source=OWN,
        plant=around_rule(ParentsBonus),
    ),
    _planted(
        id="W03",
        title="siblings change places after they were scored",
        source=OWN,
        plant=around_rule(SwappedSiblings),
        tree="2x2",
        small_tree="2x2",
    ),
    _planted(
        id="W04",
        title="draft temperature ignored at the second depth",
        source=OWN,
        plant=sampled_drafter(OtherTemperatureBelow),
    ),
    _planted(
        id="W05",
        title="coin computed in half precision",
        source=OWN,
        plant=sampled_rule(HalfRatio),
    ),
    _planted(
        id="W06",
        title="bonus token is the argmax",
        source=OWN,
        plant=sampled_rule(GreedyBonus),
    ),
    _planted(
        id="W07",
        title="at temperature 0 the first drafted token is always kept",
        source=OWN,
        plant=_greedy_only(SecondBest),
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
    _planted(
        id="W10",
        title="siblings tried with p as it was before the rejection",
        source=OWN,
        plant=sampled_rule(KeepsP),
        tree="sampled:2x2",
        small_tree="sampled:1x2",
    ),
)
"""Every planted fault of verification."""
