"""Faults of randomness: draws that are used twice, fixed, or another request's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float

from draftproof.categorical import inverse_cdf
from draftproof.config import RunConfig
from draftproof.engines.parts import Parts
from draftproof.randomness import Draw, Purpose, SeededRandomness
from draftproof.selftest.mutant import OWN, FaultClass, Mutant, Plant

Observe = Callable[[Draw], None] | None
Law = Float[torch.Tensor, " vocabulary"]


class ReusedDraw(SeededRandomness):
    """R01: the correction token is drawn by the number that rejected."""

    _last = 0.0

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        self._last = self.uniform(purpose)
        return self._last < probability

    def categorical(self, probabilities: Law, purpose: Purpose) -> int:
        if purpose is Purpose.CORRECTION:
            return inverse_cdf(probabilities, self._last)
        return super().categorical(probabilities, purpose)


class Reseeded(SeededRandomness):
    """R03: every coin of a request is the same."""

    _coin: float | None = None

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        if self._coin is None:
            self._coin = self.uniform(purpose)
        return self._coin < probability


class OneStream(SeededRandomness):
    """R09, lossless: everything is drawn from one stream, drafts too."""

    def uniform(self, purpose: Purpose) -> float:
        return super().uniform(Purpose.PLAIN)


class DraftsCoin(SeededRandomness):
    """The coin is the number that drew the token."""

    _last = 0.0

    def uniform(self, purpose: Purpose) -> float:
        if purpose is Purpose.ACCEPT:
            return self._last
        self._last = super().uniform(purpose)
        return self._last


def drawn_by(make: type[SeededRandomness]) -> Plant:
    """Wrong draws, by seed and request as they should be."""

    def plant(parts: Parts, config: RunConfig) -> Parts:
        return replace(parts, make_randomness=make)

    return plant


def _same_for_all_requests(parts: Parts, config: RunConfig) -> Parts:
    def make(seed: int, request_id: str, observe: Observe = None) -> SeededRandomness:
        return SeededRandomness(seed, "", observe)

    return replace(parts, make_randomness=make)


def _seed_ignored(parts: Parts, config: RunConfig) -> Parts:
    def make(seed: int, request_id: str, observe: Observe = None) -> SeededRandomness:
        return SeededRandomness(0, request_id, observe)

    return replace(parts, make_randomness=make)


def _never_seeded(parts: Parts, config: RunConfig) -> Parts:
    made = iter(range(1 << 30))

    def make(seed: int, request_id: str, observe: Observe = None) -> SeededRandomness:
        return SeededRandomness(next(made), request_id, observe)

    return replace(parts, make_randomness=make)


_planted = partial(Mutant, fault_class=FaultClass.RANDOMNESS)

MUTANTS: tuple[Mutant, ...] = (
    _planted(
        id="R01",
        title="one number for the coin and for the correction",
        source="sgl-project/sglang PR 7207, vllm-project/vllm-ascend PR 16370",
        plant=drawn_by(ReusedDraw),
        enumerable=False,
    ),
    _planted(
        id="R03",
        title="generator seeded again before each coin",
        source="feifeibear/LLMSpeculativeSampling",
        plant=drawn_by(Reseeded),
        enumerable=False,
    ),
    _planted(
        id="W23",
        title="all requests share one stream of draws",
        source=OWN,
        plant=_same_for_all_requests,
        enumerable=False,
    ),
    _planted(
        id="W24",
        title="the seed is ignored",
        source=OWN,
        plant=_seed_ignored,
        enumerable=False,
    ),
    _planted(
        id="W25",
        title="draws depend on how many requests came before",
        source=OWN,
        plant=_never_seeded,
        enumerable=False,
    ),
    _planted(
        id="W26",
        title="one number for the draft and for its coin",
        source=OWN,
        plant=drawn_by(DraftsCoin),
        enumerable=False,
    ),
)
"""Every planted fault of randomness."""
