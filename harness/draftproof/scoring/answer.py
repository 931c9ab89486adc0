"""Where in a text its answer stands."""

from __future__ import annotations

import re

_MARKER = re.compile(
    r"\banswer\b(?:\s+(?:is|would be|to [^.\n:]*? is)\b\s*:?|\s*[:=]|\*\*\s*:|:\*\*)", re.I
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$|[\"'*)\]])|\n")


def after_hashes(text: str) -> str | None:
    """The rest of the line after the last ``####``, the mark of GSM8K's solutions; else None."""
    _, marker, rest = text.rpartition("####")
    return rest.split("\n")[0].strip() if marker else None


def boxed(text: str) -> str | None:
    r"""What stands in the last closed ``\boxed{…}``; else None.

    Example:
        >>> boxed(r"so \boxed{\frac{1}{2}} and done")
        '\\frac{1}{2}'
    """
    start = len(text)
    while (start := text.rfind("\\boxed{", 0, start)) >= 0:
        depth = 0
        for end in range(start + len("\\boxed"), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                return text[start + len("\\boxed{") : end]
    return None


def after_marker(text: str) -> str | None:
    """The rest of the sentence after the last ``answer is`` or ``answer:``; else None.

    A sentence ends at ``. ! ?`` before a space, or at the end of a line that is not blank.

    Example:
        >>> after_marker("The answer is 7. No, the answer is 8.5 metres. Good.")
        '8.5 metres'
    """
    found = None
    for match in _MARKER.finditer(text):
        rest = text[match.end() :].lstrip(" \t\n*:")
        end = _SENTENCE_END.search(rest)
        found = rest[: end.start()] if end else rest
    return found.strip() if found else None
