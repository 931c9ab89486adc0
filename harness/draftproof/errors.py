"""Errors that say what happened, where, and what to do about it."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

USAGE_EXIT_CODE = 4
"""Exit code of a run refused for its options, as pytest's own usage errors."""

UNFINISHED_EXIT_CODE = 3
"""Exit code of a run that did not come to its end, as pytest's own internal errors."""

GATE_FAILED_EXIT_CODE = 1
"""Exit code where a gate failed: that of failing tests."""

INCONCLUSIVE_EXIT_CODE = 7
"""Exit code where no gate failed and one is inconclusive; pytest itself uses 0 to 6."""


FAULT_EXIT_CODE = 1
"""Exit code of a verification that found a fault, as pytest's for failed tests."""


class DraftproofError(Exception):
    """Base of every error that draftproof raises on purpose.

    Its text is one line fit for a terminal: what happened, where, and what to do. What it quotes of
    models, data sets and engines may be anything: it is kept as `clean_text`.
    """

    def __init__(self, text: object = "") -> None:
        super().__init__(clean_text(str(text), _LONGEST_ERROR))


class UsageError(DraftproofError):
    """An option, a name or a value that cannot be used; reported with exit code 4."""


def file_problem(error: OSError) -> UsageError:
    """What the system says of a file that a user named, as an error of a line.

    Args:
        error: With the file's name.
    """
    name = clean_text(str(error.filename))
    return UsageError(f"cannot use the file or folder {name}: {error.strerror}; give another path")


class ModelError(DraftproofError):
    """A model or a tokenizer cannot be loaded, or the two models do not fit together."""


class TemplateError(ModelError):
    """A chat template that no prompt can be shaped by: every case of a run would meet it."""


class DataError(DraftproofError):
    """A data set is missing, empty, unreachable or not laid out as expected."""


class DraftError(DraftproofError):
    """A draft breaks a rule of `DraftTree`, or an acceptance rule is not valid for it."""


class StateError(DraftproofError):
    """A model's cached state differs from a recompute of its committed tokens."""


class EngineError(DraftproofError):
    """An engine died, hung, or returned what no engine may return; its case fails."""


class EngineGoneError(EngineError):
    """An engine answers no more, whatever it is asked: nobody is at its address, or it hung."""


class NumericsError(DraftproofError):
    """A model returned logits that no probability can be made of (NaN, or all −inf)."""


class TraceError(DraftproofError):
    """A saved run is corrupt, foreign, or written by a newer version."""


_LONGEST_TEXT = 2000
"""Characters of somebody else's text that are kept."""

_LONGEST_ERROR = 20_000
"""Characters of a whole error, which may quote several."""


def clean_text(text: str, most: int = _LONGEST_TEXT) -> str:
    r"""Text of somebody else's, fit for a file and a terminal.

    Args:
        text: Anything; lone surrogates and control characters are written as escapes, so that
            neither a file nor a terminal does more than show them.
        most: Characters that are kept, of the beginning and the end.

    Example:
        >>> clean_text("red \x1b[31m")
        'red \\x1b[31m'
    """
    if len(text) > most:
        left_out = len(text) - most
        half = most // 2
        text = f"{text[:half]} … ({left_out} characters left out) … {text[-half:]}"
    return printable(text)


def printable(text: str) -> str:
    """`clean_text` of any length, for what is printed whole."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or not _is_unprintable(character)
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _is_unprintable(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTIONS


_DIRECTIONS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that turn the order of the text after them around."""


def error_text(error: BaseException) -> str:
    """What an exception says, whatever it is, as `clean_text`."""
    try:
        return clean_text(str(error))
    except BaseException as second:  # it is the exception's own code, and no key that was pressed
        return f"(no text: {type(second).__name__} when it was asked for)"


def unknown_value(what: str, value: object, choices: Iterable[str]) -> UsageError:
    """The error for a value that is not one of `choices`, naming the nearest one.

    Args:
        what: What the value was given for, for example ``--spec-dtype``.
        value: The value that was given.
        choices: The valid values.

    Returns:
        A `UsageError`, to be raised by the caller.

    Example:
        >>> print(unknown_value("--spec-device", "cudo", ["auto", "cpu", "cuda", "mps"]))
        --spec-device: unknown value 'cudo'; did you mean 'cuda'? Valid: auto, cpu, cuda, mps
    """
    valid = sorted(choices)
    near = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    return UsageError(f"{what}: unknown value '{value}'{hint} Valid: {', '.join(valid)}")


OUT_OF_MEMORY = (
    "out of memory; try a smaller --spec-tree, fewer --spec-max-new-tokens or --spec-dtype bfloat16"
)
"""Why a case failed for which there was no memory left."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that there is no memory left."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # `raise e from e` is a circle
        seen.add(id(error))
        text = error_text(error).lower()
        if isinstance(error, MemoryError) or (
            isinstance(error, RuntimeError)
            and any(sign in text for sign in ("out of memory", "can't allocate memory"))
        ):
            return True
        error = error.__cause__
    return False
