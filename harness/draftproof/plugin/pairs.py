"""Pairs of names and values in the text of one option."""

from __future__ import annotations

from collections.abc import Iterable

from draftproof.errors import UsageError


def pairs_of(option: str, text: str) -> list[tuple[str, str]]:
    """Pairs of name and value from ``KEY=VALUE[,KEY=VALUE…]``.

    A comma within brackets, braces or double quotes is part of a value, so that JSON can be one.

    Raises:
        UsageError: A part has no name or no equals sign.

    Example:
        >>> pairs_of("--option", 'a=1,b={"c": [2, 3], "d": ","}')
        [('a', '1'), ('b', '{"c": [2, 3], "d": ","}')]
    """
    pairs = [tuple(piece.strip() for piece in part.partition("=")) for part in _parts(text)]
    if not all(key and equals for key, equals, _ in pairs):
        raise UsageError(f"{option}: '{text}' is not KEY=VALUE[,KEY=VALUE…]")
    return [(key, value) for key, _, value in pairs]


def _parts(text: str) -> list[str]:
    """A text taken apart at its commas, but for those within brackets, braces or quotes."""
    parts, depth, quoted, escaped = [""], 0, False, False
    for character in text:
        if character == "," and not depth and not quoted:
            parts.append("")
            continue
        parts[-1] += character
        if character == '"' and not escaped and (quoted or depth):
            quoted = not quoted
        elif not quoted:
            depth += (character in "{[") - (character in "}]" and depth > 0)
        escaped = character == "\\" and quoted and not escaped
    return parts


def one_of_each(option: str, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The pairs by name, each name with one value.

    Raises:
        UsageError: A name is given two values: neither may be lost without a word.
    """
    found: dict[str, str] = {}
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            raise UsageError(
                f"{option}: {key} is given twice, as '{found[key]}' and as '{value}'; give it once"
            )
    return found
