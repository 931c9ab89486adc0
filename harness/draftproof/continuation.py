"""What followed the last tokens of a sequence when they occurred before; no model."""

from __future__ import annotations

from collections.abc import Sequence


def continuation(sequence: Sequence[int], ngram: int) -> Sequence[int]:
    """What followed the longest run of last tokens, up to `ngram`, that occurred before.

    The latest earlier occurrence counts.

    Example:
        >>> continuation([1, 2, 3, 9, 2, 3], ngram=3)
        [9, 2, 3]
    """
    for length in range(min(ngram, len(sequence) - 1), 0, -1):
        run = sequence[-length:]
        for start in range(len(sequence) - length - 1, -1, -1):
            if sequence[start : start + length] == run:
                return sequence[start + length :]
    return sequence[:0]
