"""The word, name or letter that a text gives as its answer, for logic tasks."""

from __future__ import annotations

import re

from draftproof.scoring.answer import after_hashes, after_marker, boxed

_UNDECIDED = {"uncertain": "uncertain", "unknown": "uncertain"}
_FAMILIES: tuple[dict[str, str], ...] = (
    {"true": "true", "false": "false", **_UNDECIDED},
    {"yes": "yes", "no": "no", **_UNDECIDED},
    {"valid": "valid", "invalid": "invalid"},
)
_OPPOSITE = {"true": "false", "false": "true", "valid": "invalid"}
_LETTER = re.compile(r"\(([A-Z])\)")
_STATED_LETTER = re.compile(r"\(?\b([A-Z])\b\)?")


def score_label(output: str, answer: str) -> float:
    """1 if `extract_label` finds the answer in an output, else 0.

    Example:
        >>> score_label("Step 1: ... So the answer is (B).", "(B)")
        1.0
    """
    return float(extract_label(output, answer) == _canonical(answer))


def extract_label(text: str, answer: str) -> str | None:
    r"""The label that a text gives as its answer, of the kind that the reference answer is.

    It is looked for in what stands after the last ``####``, in the last ``\boxed{…}`` or after the
    last ``answer is``, whichever comes first in this list; else in the whole text. By the kind of
    the reference answer:

    - a letter in brackets: the first capital letter that stands alone, in brackets or not; in the
      whole text the last one in brackets;
    - true or false, yes or no, valid or invalid: the first of these words of its kind, in the whole
      text the last; *uncertain* and *unknown* are one more choice of the first two kinds. ``not
      true``, ``not false`` and ``not valid`` count as the opposite;
    - any other: the words that the place begins with, as many as the reference answer has, without
      case, quotation marks and a leading article; in the whole text those of its last line.

    Returns:
        In lower case, a letter without brackets; None if there is none.

    Example:
        >>> extract_label("It does not follow. The argument is invalid.", "valid")
        'invalid'
    """
    place = next(
        (found for found in (after_hashes(text), boxed(text), after_marker(text)) if found), None
    )
    if _LETTER.fullmatch(answer.strip()):
        return _letter(text, place)
    words = _words_like(answer)
    if words is None:
        return _opening(text, place, len(_canonical(answer).split()))
    return _first(_labels(place, words)) if place is not None else _last(_labels(text, words))


def _letter(text: str, place: str | None) -> str | None:
    if place is not None:
        stated = _LETTER.search(place) or _STATED_LETTER.search(place)
        return stated[1].lower() if stated else None
    return _last([letter.lower() for letter in _LETTER.findall(text)])


def _labels(text: str, words: dict[str, str]) -> list[str]:
    """Every label in a text, in order."""
    pattern = rf"(\bnot\s+)?\b({'|'.join(words)})\b"
    return [
        _OPPOSITE.get(words[word], words[word]) if negated else words[word]
        for negated, word in re.findall(pattern, text.casefold())
    ]


def _opening(text: str, place: str | None, count: int) -> str | None:
    """The first words of the place, or of the text's last line."""
    if place is None:
        place = _last([line for line in text.splitlines() if line.strip()])
    words = [] if place is None else _canonical(place).split()
    return " ".join(words[:count]).rstrip(".,;:!?") or None


def _words_like(answer: str) -> dict[str, str] | None:
    word = _canonical(answer)
    if word == "uncertain":
        return {**_FAMILIES[0], **_FAMILIES[1]}
    return next((family for family in _FAMILIES if word in family), None)


def _canonical(answer: str) -> str:
    bare = re.sub(r"[\"'“”‘’*`$]", "", answer).casefold().strip(" \t\n().,;:!?")
    bare = re.sub(r"^(the|an?) ", "", " ".join(bare.split()))
    return _UNDECIDED.get(bare, bare)


def _first(labels: list[str]) -> str | None:
    return labels[0] if labels else None


def _last(labels: list[str]) -> str | None:
    return labels[-1] if labels else None
