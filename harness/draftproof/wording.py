"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: one of them, or many.

    Args:
        number: How many there are.
        one: The noun of one.
        many: The noun of many; one with an s by default.

    Example:
        >>> counted(1, "prompt"), counted(1200, "prompt"), counted(2, "match", "matches")
        ('1 prompt', '1,200 prompts', '2 matches')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
