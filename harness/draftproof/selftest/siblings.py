"""Faults of verification between siblings: which law is left for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float

from draftproof.acceptance import (
    Acceptance,
    GreedyRule,
    MultiRoundRule,
    WithoutReplacementRule,
)
from draftproof.config import RunConfig
from draftproof.drafting import Draft, Drafter
from draftproof.drafting.static_tree import StaticTreeDrafter
from draftproof.engines.parts import Parts
from draftproof.laws import ProposalLaw
from draftproof.randomness import Purpose, Randomness
from draftproof.sampling import TokenLaw
from draftproof.selftest.mutant import OWN, FaultClass, Mutant
from draftproof.selftest.wrapping import (
    Replaced,
    WrappedDrafter,
    WrappedRule,
    around_rule,
    greedy_only,
    sampled_rule,
)
from draftproof.shapes import KAryShape
from draftproof.tree import ROOT

Law = Float[torch.Tensor, " vocabulary"]
Laws = Float[torch.Tensor, "rows vocabulary"]


class StaleBonus(WithoutReplacementRule):
    """V16: once a sibling was rejected, the bonus token comes of that residual."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        self._stale: torch.Tensor | None = None
        bonus = Replaced(randomness, Purpose.BONUS, lambda: self._stale)
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


class SwappedSiblings(WrappedRule):
    """The first two children of the root change places after they were scored."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        first = draft.tree.children(ROOT)[:2]
        if len(first) < 2:
            return self.inner.accept(draft, target, randomness)
        rows = target.clone()
        rows[[node + 1 for node in first]] = target[[node + 1 for node in reversed(first)]]
        return self.inner.accept(draft, rows, randomness)


class SecondBest(StaticTreeDrafter):
    """The most probable token is left out of a tree, wherever it belongs."""

    def draft(
        self, sequence: Sequence[int], room: int, law: TokenLaw, randomness: Randomness
    ) -> Draft:
        self._seen: list[Laws] = []
        draft = super().draft(sequence, room, law, randomness)
        return replace(draft, logits=torch.cat(self._seen)) if self._seen else draft

    def _logits_after(
        self,
        level: Sequence[int],
        tokens: Sequence[int],
        parents: Sequence[int],
        sequence: Sequence[int],
    ) -> Laws:
        logits = super()._logits_after(level, tokens, parents, sequence)
        self._seen.append(logits)
        return logits.scatter(-1, logits.argmax(-1, keepdim=True), -torch.inf)


def _second_best(parts: Parts, config: RunConfig) -> Parts:
    if not isinstance(config.tree, KAryShape):
        return parts
    return replace(parts, drafter=SecondBest(parts.draft_model, config.tree))


class KeepsP(MultiRoundRule):
    """Siblings are tried with p as it was before the rejection."""

    def left(self, p: Law, q: Law, token: int) -> Law:
        return p


def _soft_top_k(parts: Parts, config: RunConfig) -> Parts:
    """V23."""
    if config.sampling.greedy:
        return parts
    drafter = SoftTopK(parts.drafter, config)
    return replace(parts, drafter=drafter, rule=WithoutReplacementRule())


_planted = partial(Mutant, fault_class=FaultClass.VERIFICATION)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="V16",
        title="stale residual used for the bonus token",
        source="SafeAILab/EAGLE 2f982e2, 61020ed",
        plant=sampled_rule(StaleBonus),
        tree="distinct:2x2",
        small_tree="distinct:1x2",
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
        source="no public report",
        plant=_soft_top_k,
        tree="2x2",
        small_tree="1x2",
    ),
    _planted(
        id="V26a",
        title="phantom candidates from padded paths",
        source="SafeAILab/EAGLE b09a256",
        plant=greedy_only(Phantom),
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
        id="W03",
        title="siblings change places after they were scored",
        source=OWN,
        plant=around_rule(SwappedSiblings),
        tree="2x2",
        small_tree="2x2",
    ),
    _planted(
        id="W10",
        title="siblings tried with p as it was before the rejection",
        source=OWN,
        plant=sampled_rule(KeepsP),
        tree="sampled:2x2",
        small_tree="sampled:1x2",
    ),
    _planted(
        id="W43",
        title="the most probable token is left out of the draft",
        source=OWN,
        plant=_second_best,
        tree="3x2",
        small_tree="2x2",
        only_acceptance=True,
    ),
)
"""Every planted fault of siblings."""
