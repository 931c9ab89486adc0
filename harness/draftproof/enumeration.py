"""Every branch of every draw: the exact law of what production code returns.

`enumerate_branches` runs a function again and again, each time with a `Randomness` that takes the
next untried branch of some draw, and yields each outcome with its exact probability. Nothing is
estimated, and the code under test is the code that ships.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float

from draftproof.errors import NumericsError
from draftproof.randomness import Purpose, Randomness

Outcome = TypeVar("Outcome", bound=Hashable)

DEFAULT_BUDGET = 1_000_000


class EnumerationBudgetError(RuntimeError):
    """More branches than the budget allows."""


@dataclass(slots=True)
class _Draw:
    """A draw on the current branch: its alternatives, and the one being followed."""

    outcomes: tuple[int, ...]
    probabilities: tuple[float, ...]
    chosen: int = 0


class BranchRandomness:
    """A `Randomness` that follows one branch, and notes the alternatives it passes.

    Made by `enumerate_branches`.
    """

    def __init__(self, draws: list[_Draw]) -> None:
        self._draws = draws
        self._next = 0

    def bernoulli(self, probability: float, purpose: Purpose) -> bool:
        if not 0 <= probability <= 1:
            raise NumericsError(f"a coin ({purpose}) has probability {probability}")
        if probability in (0, 1):
            return probability == 1
        return bool(self._follow(lambda: ((1, 0), (probability, 1 - probability))))

    def categorical(
        self, probabilities: Float[torch.Tensor, " vocabulary"], purpose: Purpose
    ) -> int:
        return self._follow(lambda: _alternatives(probabilities, purpose))

    @property
    def probability(self) -> float:
        """Of the branch followed so far."""
        return math.prod(draw.probabilities[draw.chosen] for draw in self._draws[: self._next])

    def _follow(self, alternatives: Callable[[], tuple[tuple[int, ...], tuple[float, ...]]]) -> int:
        if self._next == len(self._draws):
            self._draws.append(_Draw(*alternatives()))
        draw = self._draws[self._next]
        self._next += 1
        return draw.outcomes[draw.chosen]


def enumerate_branches(
    run: Callable[[Randomness], Outcome], budget: int = DEFAULT_BUDGET
) -> Iterator[tuple[Outcome, float]]:
    """Every outcome of `run`, once for each branch that leads to it, with the branch's probability.

    Args:
        run: Draws only from what it is given, and does the same again for the same draws.
        budget: The most branches to follow.

    Raises:
        EnumerationBudgetError: There are more branches.

    Example:
        >>> coin = lambda r: r.bernoulli(0.25, Purpose.ACCEPT)
        >>> list(enumerate_branches(coin))
        [(True, 0.25), (False, 0.75)]
    """
    draws: list[_Draw] = []
    for _ in range(budget):
        randomness = BranchRandomness(draws)
        outcome = run(randomness)
        yield outcome, randomness.probability
        while draws and draws[-1].chosen + 1 == len(draws[-1].outcomes):
            draws.pop()
        if not draws:
            return
        draws[-1].chosen += 1
    raise EnumerationBudgetError(f"more than {budget} branches; make the case smaller")


def exact_law(
    run: Callable[[Randomness], Outcome], budget: int = DEFAULT_BUDGET
) -> dict[Outcome, float]:
    """The probability of each outcome of `run`; see `enumerate_branches`.

    Example:
        >>> law = exact_law(lambda r: sum(r.bernoulli(0.5, Purpose.ACCEPT) for _ in range(2)))
        >>> sorted(law.items())
        [(0, 0.25), (1, 0.5), (2, 0.25)]
    """
    law: dict[Outcome, float] = defaultdict(float)
    for outcome, probability in enumerate_branches(run, budget):
        law[outcome] += probability
    return dict(law)


def _alternatives(
    weights: torch.Tensor, purpose: Purpose
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    values: list[float] = weights.tolist()
    total = math.fsum(values)
    if not (math.isfinite(total) and total > 0):
        raise NumericsError(f"cannot draw ({purpose}) from weights that add up to {total}")
    possible = tuple(index for index, value in enumerate(values) if value > 0)
    return possible, tuple(values[index] / total for index in possible)
