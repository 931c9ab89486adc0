"""Randomness as an argument: drafters and acceptance rules draw from what they are given.

Nothing in draftproof draws from a global generator. Whoever runs the loop decides whether a draw
is seeded (`SeededRandomness`), given (`InjectedRandomness`) or followed down every branch
(`draftproof.enumeration`).
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from draftproof.categorical import inverse_cdf
from draftproof.errors import UsageError
from draftproof.transfer import received


class Purpose(StrEnum):
    """What a draw decides. Each purpose has a stream of its own."""

    DRAFT = "draft"
    """A drafter samples a token to propose."""
    ACCEPT = "accept"
    """A rule's coin on a drafted token."""
    CORRECTION = "correction"
    """The extra token after a rejection."""
    BONUS = "bonus"
    """The extra token after a fully kept path."""
    PLAIN = "plain"
    """A token of plain decoding, and the first token after the prompt in either way of decoding."""


@runtime_checkable
class Randomness(Protocol):
    """Where draws come from.

    Example:
        A source that always takes the first branch::

            class First:
                def bernoulli(self, probability, purpose):
                    return probability > 0

                def categorical(self, probabilities, purpose):
                    return int(probabilities.nonzero()[0])
    """

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        """True with the given probability; 0 is never true and 1 always is."""
        ...

    def categorical(
        self, probabilities: Float[torch.Tensor, " vocabulary"], purpose: Purpose
    ) -> int:
        """An index drawn in proportion to `probabilities`; never one of probability 0."""
        ...


BOUNDARY_DRAWS = (0.0, math.nextafter(1.0, 0.0))
"""The smallest and the largest number that decides a draw: where `<` for `<=` shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """A draw as it was decided; the coin or token is `outcome`.

    Attributes:
        purpose: What it was for.
        index: Draws for this purpose before it.
        uniform: The number from [0, 1) that decided it.
        outcome: 1 or 0 for a coin, the index of a token.
        probability: Of that outcome.
        weights: Of a token, a digest of the float64 weights that it was drawn from; equal digests,
            equal weights. Empty for a coin.
    """

    purpose: Purpose
    index: int
    uniform: float
    outcome: int
    probability: float
    weights: str = ""


class UniformRandomness(ABC):
    """Coins and tokens decided by numbers from [0, 1), which a subclass provides.

    Draws are counted by purpose in `draws`.

    Args:
        observe: Told of every draw, once it is decided.
    """

    def __init__(self, observe: Callable[[Draw], None] | None = None) -> None:
        self.draws: Counter[Purpose] = Counter()
        self._observe = observe

    @abstractmethod
    def uniform(self, purpose: Purpose) -> float:
        """The next number from [0, 1) for a purpose."""

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        uniform = self._counted(purpose)
        outcome = uniform < probability
        if self._observe is not None:
            taken = probability if outcome else 1 - probability
            self._observe(self._described(purpose, uniform, outcome, taken))
        return outcome

    def categorical(
        self, probabilities: Float[torch.Tensor, " vocabulary"], purpose: Purpose
    ) -> int:
        uniform = self._counted(purpose)
        outcome = inverse_cdf(probabilities, uniform)
        if self._observe is not None:
            weights = received(probabilities)
            taken = float(weights[outcome] / weights.sum())
            digest = hashlib.sha256(weights.tobytes()).hexdigest()[:16]
            self._observe(self._described(purpose, uniform, outcome, taken, digest))
        return outcome

    def _counted(self, purpose: Purpose) -> float:
        self.draws[purpose] += 1
        return self.uniform(purpose)

    def _described(
        self, purpose: Purpose, uniform: float, outcome: int, probability: float, weights: str = ""
    ) -> Draw:
        return Draw(
            purpose=purpose,
            index=self.draws[purpose] - 1,
            uniform=uniform,
            outcome=int(outcome),
            probability=probability,
            weights=weights,
        )


class SeededRandomness(UniformRandomness):
    """Independent named streams, one for each (seed, case, purpose).

    A draw for drafting can never be reused for accepting, and what one case draws does not depend
    on the cases before it.

    Args:
        seed: The run's seed.
        case_id: Stable identity of the prompt.
        observe: Told of every draw.
    """

    def __init__(
        self, seed: int, case_id: str, observe: Callable[[Draw], None] | None = None
    ) -> None:
        super().__init__(observe)
        self._seed = seed
        self._case_id = case_id
        self._streams: dict[Purpose, np.random.Generator] = {}

    def uniform(self, purpose: Purpose) -> float:
        if purpose not in self._streams:
            name = f"{self._seed}\0{self._case_id}\0{purpose}".encode()
            key = int.from_bytes(hashlib.sha256(name).digest()[:16], "little")
            self._streams[purpose] = np.random.Generator(np.random.Philox(key=key))
        return float(self._streams[purpose].random())


class InjectedRandomness(UniformRandomness):
    """Draws decided by given numbers, one after another and then the last again and again.

    Args:
        uniforms: ``[≥ 1]`` numbers from [0, 1), such as `BOUNDARY_DRAWS`.
        observe: Told of every draw.

    Raises:
        UsageError: There is no number, or one is outside [0, 1).

    Example:
        >>> certain, last = torch.tensor([1.0, 0.0]), BOUNDARY_DRAWS[1]
        >>> InjectedRandomness(last).categorical(certain, Purpose.BONUS)
        0
    """

    def __init__(self, *uniforms: float, observe: Callable[[Draw], None] | None = None) -> None:
        super().__init__(observe)
        if not uniforms or not all(0 <= uniform < 1 for uniform in uniforms):
            raise UsageError(f"draws are decided by numbers from [0, 1), not by {uniforms}")
        self._uniforms = uniforms

    def uniform(self, purpose: Purpose) -> float:
        return self._uniforms[min(self.draws.total(), len(self._uniforms)) - 1]
