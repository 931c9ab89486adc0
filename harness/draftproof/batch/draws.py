"""Where the draws of a batch come from: every row has its own, and other rows change none.

What a row draws is what it would draw alone. Tokens are chosen on the device by numbers that the
host looked ahead to; which of them were used, and every coin, is decided on the host.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from draftproof.categorical import NO_LAW, certain, drawn, fixed_point, no_law
from draftproof.randomness import Purpose, Randomness, UniformRandomness

EXTRA = (Purpose.CORRECTION, Purpose.BONUS)
"""What the extra token is drawn for: after a rejection, and after a fully kept path."""


class AheadRandomness(UniformRandomness):
    """One row's draws, whose next numbers can be looked at before they are used.

    Args:
        source: Where numbers come from; only this object draws from it.
    """

    def __init__(self, source: UniformRandomness) -> None:
        super().__init__()
        self._source = source
        self._ahead: dict[Purpose, deque[float]] = defaultdict(deque)

    def ahead(self, purpose: Purpose, count: int) -> list[float]:
        """The next `count` numbers for a purpose, which stay the next ones."""
        numbers = self._ahead[purpose]
        while len(numbers) < count:
            numbers.append(self._source.uniform(purpose))
        return [numbers[index] for index in range(count)]

    def skip(self, purpose: Purpose, count: int) -> None:
        """Use up numbers that decided something on the device."""
        for _ in range(count):
            self._counted(purpose)

    def uniform(self, purpose: Purpose) -> float:
        numbers = self._ahead[purpose]
        return numbers.popleft() if numbers else self._source.uniform(purpose)


class BatchDraws(Protocol):
    """The draws of a batch of rows."""

    def tokens(
        self,
        weights: Float[torch.Tensor, "B n vocabulary"],
        before: Int64[torch.Tensor, "B n"],
        active: Bool[torch.Tensor, "B n"],
        purpose: Purpose,
        most: int,
    ) -> Int64[torch.Tensor, "B n"]:
        """A token for each of some places of each row.

        Args:
            weights: What each is drawn from.
            before: How many tokens the row has drawn for this purpose since `used` was last called.
            active: Where a token is wanted at all; elsewhere any id is returned.
            purpose: What is drawn for.
            most: The largest number of tokens that a row can draw before it calls `used`.
        """
        ...

    def used(self, row: int, purpose: Purpose, count: int) -> None:
        """Take note of how many tokens a row really drew."""
        ...

    def extra_tokens(
        self, left: Float[torch.Tensor, "B n vocabulary"], fresh: Bool[torch.Tensor, "B n"]
    ) -> Int64[torch.Tensor, "B n"]:
        """The extra token of each row for each place at which its walk may end.

        Args:
            left: What it is drawn from there.
            fresh: Whether it is a bonus token there; else a correction.
        """
        ...

    def coin(self, row: int, probability: float) -> bool:
        """Whether a node that is kept with a probability is kept."""
        ...

    def extra_token(self, row: int, place: int, token: int, purpose: Purpose) -> int:
        """The extra token of a row, once it is known where its walk ends.

        Args:
            row: Of the batch.
            place: Index in `extra_tokens`.
            token: What `extra_tokens` said for it.
            purpose: Whether it is a correction or a bonus token.
        """
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows, in this order."""
        ...


class SeededDraws:
    """Draws of rows that have named streams.

    Args:
        rows: ``[B]`` each row's.
        device: Where tokens are drawn.
    """

    def __init__(self, rows: Sequence[AheadRandomness], device: torch.device) -> None:
        self._rows = list(rows)
        self._device = device

    def tokens(
        self,
        weights: Float[torch.Tensor, "B n vocabulary"],
        before: Int64[torch.Tensor, "B n"],
        active: Bool[torch.Tensor, "B n"],
        purpose: Purpose,
        most: int,
    ) -> Int64[torch.Tensor, "B n"]:
        numbers = self._numbers(purpose, most)
        index = before.clamp(0, most - 1)[..., None].expand(-1, -1, 2)
        chosen = drawn(weights.flatten(0, 1), numbers.gather(1, index).flatten(0, 1))
        return chosen.view(before.shape)

    def used(self, row: int, purpose: Purpose, count: int) -> None:
        self._rows[row].skip(purpose, count)

    def extra_tokens(
        self, left: Float[torch.Tensor, "B n vocabulary"], fresh: Bool[torch.Tensor, "B n"]
    ) -> Int64[torch.Tensor, "B n"]:
        correction, bonus = (self._numbers(purpose, 1) for purpose in EXTRA)
        numbers = torch.where(fresh[..., None], bonus, correction)
        return drawn(left.flatten(0, 1), numbers.flatten(0, 1)).view(fresh.shape)

    def coin(self, row: int, probability: float) -> bool:
        return self._rows[row].bernoulli(probability, Purpose.ACCEPT)

    def extra_token(self, row: int, place: int, token: int, purpose: Purpose) -> int:
        if token == NO_LAW:
            raise no_law()
        self._rows[row].skip(purpose, 1)
        return token

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]

    def _numbers(self, purpose: Purpose, count: int) -> Int64[torch.Tensor, "B count 2"]:
        ahead = np.array([row.ahead(purpose, count) for row in self._rows])
        return torch.from_numpy(fixed_point(ahead)).to(self._device, non_blocking=True)


class CertainDraws:
    """Draws of rows at temperature 0: weights leave no choice of a token, and no number is needed.

    What the rows draw is counted as ever.

    Args:
        draws: Of the same rows.
    """

    def __init__(self, draws: BatchDraws) -> None:
        self._draws = draws
        self.used = draws.used
        self.extra_tokens = draws.extra_tokens
        self.coin = draws.coin
        self.extra_token = draws.extra_token
        self.keep = draws.keep

    def tokens(
        self,
        weights: Float[torch.Tensor, "B n vocabulary"],
        before: Int64[torch.Tensor, "B n"],
        active: Bool[torch.Tensor, "B n"],
        purpose: Purpose,
        most: int,
    ) -> Int64[torch.Tensor, "B n"]:
        return certain(weights)


class FollowedDraws:
    """Draws of rows that a `Randomness` decides one after another, such as an enumerator.

    Everything waits for the host, so that each draw is asked for only where it is really used.

    Args:
        rows: ``[B]`` each row's; it may be the same one, for the joint law of all rows.
    """

    def __init__(self, rows: Sequence[Randomness]) -> None:
        self._rows = list(rows)
        self._left: torch.Tensor | None = None

    def tokens(
        self,
        weights: Float[torch.Tensor, "B n vocabulary"],
        before: Int64[torch.Tensor, "B n"],
        active: Bool[torch.Tensor, "B n"],
        purpose: Purpose,
        most: int,
    ) -> Int64[torch.Tensor, "B n"]:
        chosen = torch.zeros_like(before)
        for row, place in active.nonzero().tolist():
            chosen[row, place] = self._rows[row].categorical(weights[row, place], purpose)
        return chosen

    def used(self, row: int, purpose: Purpose, count: int) -> None:
        """Nothing was looked ahead to."""

    def extra_tokens(
        self, left: Float[torch.Tensor, "B n vocabulary"], fresh: Bool[torch.Tensor, "B n"]
    ) -> Int64[torch.Tensor, "B n"]:
        self._left = left
        return torch.zeros_like(fresh, dtype=torch.int64)

    def coin(self, row: int, probability: float) -> bool:
        return self._rows[row].bernoulli(probability, Purpose.ACCEPT)

    def extra_token(self, row: int, place: int, token: int, purpose: Purpose) -> int:
        if self._left is None:
            raise AssertionError("extra_tokens comes before extra_token")
        return self._rows[row].categorical(self._left[row, place], purpose)

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]
