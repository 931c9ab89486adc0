r"""The number that a text gives as its answer, for GSM8K and other word problems."""

from __future__ import annotations

import re
from decimal import Decimal

from draftproof.scoring.answer import after_hashes, after_marker, boxed

_NUMBER = re.compile(
    r"""(?<![\w.])
    (?P<sign>[-−])?\$?(?P<sign_after>(?<=\$)[-−])?
    (?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)""",
    re.VERBOSE | re.ASCII,
)
_LATEX_SPACES = re.compile(r"\\[,;:! ]|\\(?=\$|%)")


def score_number(output: str, answer: str) -> float:
    """1 if `extract_number` finds the answer's number in an output, else 0.

    Equal is equal in value: 18, 18.0 and $18.00 are.

    Raises:
        ValueError: The answer is not a number.

    Example:
        >>> score_number("2 + 3 = 5, so she pays $1,005.00.", "1005")
        1.0
    """
    expected = parse_number(answer)
    if expected is None:
        raise ValueError(f"the reference answer '{answer}' is not a number")
    return float(extract_number(output) == expected)


def extract_number(text: str) -> Decimal | None:
    r"""The number that a text gives as its answer; None if it has no number.

    The first of these that there is:

    1. the first number after the last ``####``, on its line;
    2. the last number in the last ``\boxed{…}``;
    3. after the last ``answer is`` or ``answer:``, up to the end of the sentence: the first number
       after its last ``=``, or its first number if it has no ``=``;
    4. the last number of the text.

    A number may have a sign, a dollar sign, thousands commas and decimals; a full stop or a unit
    after it does not belong to it. ``-`` is a sign only where no letter, digit or closing bracket
    stands before it and no space after it. Fractions are not read as one number.

    Example:
        >>> extract_number("She has 3 - 5 = −2 left. The answer is −2.")
        Decimal('-2')
    """
    text = _plain(text)
    hashes = after_hashes(text)
    if hashes is not None and (numbers := _numbers(hashes)):
        return numbers[0]
    box = boxed(text)
    if box is not None and (numbers := _numbers(box)):
        return numbers[-1]
    stated = after_marker(text)
    if stated is not None and (numbers := _numbers(stated.rpartition("=")[2])):
        return numbers[0]
    numbers = _numbers(text)
    return numbers[-1] if numbers else None


def parse_number(text: str) -> Decimal | None:
    """The number that a text is, and nothing else; None if it is not one.

    Example:
        >>> parse_number(" $1,450,000 "), parse_number("3 apples")
        (Decimal('1450000'), None)
    """
    match = _NUMBER.fullmatch(_plain(text).strip())
    return _value(match) if match else None


def _plain(text: str) -> str:
    """Without LaTeX's spaces and escapes, and the commas that it wraps in braces."""
    return _LATEX_SPACES.sub("", text.replace("{,}", ","))


def _numbers(text: str) -> list[Decimal]:
    return [_value(match) for match in _NUMBER.finditer(text)]


def _value(match: re.Match[str]) -> Decimal:
    before = match.string[: match.start()]
    negative = bool(match["sign"] or match["sign_after"]) and not before.endswith((")", "]", "}"))
    value = Decimal(match["digits"].replace(",", ""))
    return -value if negative else value
