"""Where an output ends: stop tokens and the length limit, also inside a block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class StopReason(StrEnum):
    """Why decoding ended."""

    STOP_TOKEN = "stop_token"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """When to stop, decided token by token so that plain and speculative decoding end alike.

    Attributes:
        max_new_tokens: Length limit of the output.
        stop_token_ids: Ids that end the output; the stop token itself is part of it.
    """

    max_new_tokens: int
    stop_token_ids: frozenset[int] = frozenset()

    def cut(
        self, output: Sequence[int], emitted: Iterable[int]
    ) -> tuple[tuple[int, ...], StopReason | None]:
        """The part of the emitted tokens that is committed, and why decoding ends there.

        Args:
            output: Committed so far, not yet at an end.
            emitted: One token of plain decoding, or a step's kept path and extra token.

        Returns:
            The committed tokens, and None where decoding goes on.

        Example:
            >>> Stopping(max_new_tokens=4, stop_token_ids=frozenset({9})).cut([1], [2, 9, 3])
            ((2, 9), <StopReason.STOP_TOKEN: 'stop_token'>)
        """
        committed: list[int] = []
        for token in emitted:
            committed.append(token)
            if token in self.stop_token_ids:
                return tuple(committed), StopReason.STOP_TOKEN
            if len(output) + len(committed) == self.max_new_tokens:
                return tuple(committed), StopReason.LENGTH
        return tuple(committed), None
