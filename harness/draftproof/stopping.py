"""Where an output ends: stop tokens, stop strings and the length limit, also inside a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from draftproof.errors import UsageError


class StopReason(StrEnum):
    """Why decoding ended."""

    STOP_TOKEN = "stop_token"
    STOP_STRING = "stop_string"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """When to stop, decided token by token so that plain and speculative decoding end alike.

    Attributes:
        max_new_tokens: Length limit of the output.
        stop_token_ids: Ids that end the output; the stop token itself is part of it.
        stop_strings: Texts that end the output, with the token that completes one.
        decode: From the output's tokens to its text; needed for stop strings.

    Raises:
        UsageError: There are stop strings and no way to decode.
    """

    max_new_tokens: int
    stop_token_ids: frozenset[int] = frozenset()
    stop_strings: tuple[str, ...] = ()
    decode: Callable[[Sequence[int]], str] | None = None

    def __post_init__(self) -> None:
        if self.stop_strings and self.decode is None:
            raise UsageError("stop strings need the tokenizer that turns tokens into text")

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
            if self._completes_stop_string([*output, *committed]):
                return tuple(committed), StopReason.STOP_STRING
            if len(output) + len(committed) == self.max_new_tokens:
                return tuple(committed), StopReason.LENGTH
        return tuple(committed), None

    def _completes_stop_string(self, output: Sequence[int]) -> bool:
        if not self.stop_strings or self.decode is None:
            return False
        text = self.decode(output)
        return any(stop in text for stop in self.stop_strings)
