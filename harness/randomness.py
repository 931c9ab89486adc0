"""Randomness as an argument: drafters and acceptance rules draw from what they are given.

Nothing in draftproof draws from a global generator. Whoever runs the loop decides whether a draw
is seeded (`SeededRandomness`) or followed down every branch (`harness.enumeration`).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float

from harness.errors import NumericsError


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


class SeededRandomness:
    """Independent named streams, one for each (seed, case, purpose).

    A draw for drafting can never be reused for accepting, and what one case draws does not depend
    on the cases before it. Draws are counted by purpose in `draws`.

    Args:
        seed: The run's seed.
        case_id: Stable identity of the prompt.
    """

    def __init__(self, seed: int, case_id: str) -> None:
        self._seed = seed
        self._case_id = case_id
        self._streams: dict[Purpose, np.random.Generator] = {}
        self.draws: Counter[Purpose] = Counter()

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        return self._uniform(purpose) < probability

    def categorical(
        self, probabilities: Float[torch.Tensor, " vocabulary"], purpose: Purpose
    ) -> int:
        return inverse_cdf(probabilities, self._uniform(purpose))

    def _uniform(self, purpose: Purpose) -> float:
        """A draw from [0, 1), counted."""
        self.draws[purpose] += 1
        if purpose not in self._streams:
            name = f"{self._seed}\0{self._case_id}\0{purpose}".encode()
            key = int.from_bytes(hashlib.sha256(name).digest()[:16], "little")
            self._streams[purpose] = np.random.Generator(np.random.Philox(key=key))
        return float(self._streams[purpose].random())


def inverse_cdf(weights: Float[torch.Tensor, " vocabulary"], uniform: float) -> int:
    """The index at which the cumulative weights pass a share `uniform` of their total.

    Right at both ends: an index of weight 0 is never returned, not for ``uniform = 0`` with leading
    zeros, nor for the largest float below 1 with trailing ones.

    Args:
        weights: Non-negative, of any positive total.
        uniform: In [0, 1).

    Raises:
        NumericsError: The weights hold NaN, or their total is not a positive number.

    Example:
        >>> inverse_cdf(torch.tensor([0.0, 1.0, 0.0]), 0.0)
        1
    """
    cumulative = torch.cumsum(weights, 0, dtype=torch.float64)
    total = float(cumulative[-1])
    if not (math.isfinite(total) and total > 0):
        raise NumericsError(
            f"cannot draw from weights that add up to {total}: the model returned NaN or "
            "infinite logits, or a filter removed every token"
        )
    index = int(torch.searchsorted(cumulative, uniform * total, right=True))
    if index < len(weights) and float(weights[index]) > 0:
        return index
    return int(torch.nonzero(weights)[-1])
