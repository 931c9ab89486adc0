"""Faults of a rule: what is kept with which probability, and what is drawn instead."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float

from draftproof.acceptance import (
    Acceptance,
    GreedyRule,
    PointMassRule,
    RejectionRule,
    TypicalRule,
)
from draftproof.drafting import Draft
from draftproof.randomness import Purpose, Randomness
from draftproof.selftest.mutant import OWN, FaultClass, Mutant
from draftproof.selftest.wrapping import (
    Replaced,
    WrappedRule,
    around_rule,
    greedy_only,
    normalised,
    sampled_rule,
)
from draftproof.tree import ROOT

Law = Float[torch.Tensor, " vocabulary"]
Laws = Float[torch.Tensor, "rows vocabulary"]


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


class Lenient(RejectionRule):
    """V30."""

    def keeps(self, p: Law, q: Law, token: int) -> float:
        return super().keeps(p, 0.9 * q, token)


class HalfRatio(RejectionRule):
    """The coin is computed in half precision."""

    def keeps(self, p: Law, q: Law, token: int) -> float:
        return min(1.0, float(p[token].half() / q[token].half()))


class GreedyBonus(RejectionRule):
    """The bonus token is the argmax."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        bonus = Replaced(
            randomness, Purpose.BONUS, lambda: torch.nn.functional.one_hot(
                target[-1].argmax(), target.shape[-1]
            ).to(target.dtype)
        )  # fmt: skip
        return super().accept(draft, target, bonus)


class NoFallback(RejectionRule):
    """N07: where the residual adds up to 0, it is divided by 0."""

    def left(self, p: Law, q: Law, token: int) -> Law:
        left = (p - q).clamp_min(0)
        return left / left.sum()


class ZeroedInPlace(PointMassRule):
    """V11."""

    def accept(self, draft: Draft, target: Laws, randomness: Randomness) -> Acceptance:
        zeroed = target.clone()
        for node, parent in enumerate(draft.tree.parents):
            zeroed[parent + 1, draft.tree.token_ids[node]] = 0
        empty = zeroed.sum(-1) == 0
        zeroed[empty] = target[empty]
        return super().accept(draft, zeroed, randomness)


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
        source="no public report",
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
        id="V11",
        title="p of the drafted token zeroed in place before its coin",
        source="vllm-project/vllm-ascend PR 2881",
        plant=sampled_rule(ZeroedInPlace),
        tree="2x1",
        small_tree="2x1",
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
        plant=greedy_only(SecondBest),
    ),
)
"""Every planted fault of verification."""
