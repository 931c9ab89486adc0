"""Where the code in a model's output begins and ends: fences, strings and statements."""

from __future__ import annotations

import re
from collections.abc import Iterator

_OPENING = re.compile(
    r"^([ \t]*(?:(?:[-*+]|\d+[.)])[ \t]+)?)(?P<mark>`{3,}(?=[^`\n]*$)|~{3,})[^\n]*(?:\n|\Z)", re.M
)
_CLOSING = re.compile(r"^[ \t]*(?P<mark>`{3,}|~{3,})", re.M)
# It never fails in the middle of code, right or wrong, as Python's own tokenizer does.
_LEXED = re.compile(
    r"\#[^\n]*"
    r"|(?P<quote>\"{3}|'{3})(?:\\.|(?!(?P=quote)).)*(?:(?P=quote)|\Z)"
    r"|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?"
    r"|\\\r?\n|[()\[\]{}\n]",
    re.S,
)


def fenced_blocks(output: str) -> list[str]:
    r"""The blocks of an output between fences, without the indentation that their fence has.

    What looks like a fence in a string of the block is a part of it. The last may be cut off.

    Example:
        >>> fenced_blocks("1. So:\n   ```py\n   x = 1\n   ```\nor\n~~~\ny = 2")
        ['x = 1\n', 'y = 2']
    """
    blocks = []
    at = 0
    while opening := _OPENING.search(output, at):
        start, end = opening.end(), len(output)
        closing = next(_outside_strings(_CLOSING, output, start, opening["mark"]), None)
        closing = closing or next(_matches(_CLOSING, output, start, opening["mark"]), None)
        block = output[start : closing.start() if closing else end]
        if opening[1]:
            block = re.sub(rf"^[ \t]{{1,{len(opening[1])}}}", "", block, flags=re.M)
        blocks.append(block)
        at = closing.end() if closing else end
    return blocks


def before_fence(output: str, prompt: str) -> str:
    r"""An output up to its first fence that does not stand in a string of the code.

    Example:
        >>> before_fence("    return 1\n```\nIt is one.", "def one():\n")
        '    return 1\n'
    """
    fences = _outside_strings(_OPENING, prompt + output, 0, "")
    first = next((fence for fence in fences if fence.start() >= len(prompt)), None)
    return output if first is None else output[: first.start() - len(prompt)]


def lines_of_statements(program: str) -> Iterator[int]:
    r"""Where lines start, the first aside, that do not go on with a statement of the line before.

    A line goes on within brackets or a string, and after a backslash.

    Example:
        >>> list(lines_of_statements("x = [\n1]\ny = 2\n"))
        [9, 15]
    """
    depth = 0
    for found in _LEXED.finditer(program):
        if found[0] in "([{":
            depth += 1
        elif found[0] in ")]}":
            depth = max(depth - 1, 0)
        elif found[0] == "\n" and not depth:
            yield found.end()


def _outside_strings(
    fence: re.Pattern[str], code: str, start: int, mark: str
) -> Iterator[re.Match[str]]:
    """Fences that stand in no string in triple quotes; the last string may be open."""
    lexed = _LEXED.finditer(code, start)
    last = next(lexed, None)
    for found in _matches(fence, code, start, mark):
        while last and last.end() <= found.start():
            last = next(lexed, None)
        if not (last and last["quote"] and last.start() < found.start()):
            yield found


def _matches(fence: re.Pattern[str], code: str, start: int, mark: str) -> Iterator[re.Match[str]]:
    return (found for found in fence.finditer(code, start) if found["mark"].startswith(mark))
