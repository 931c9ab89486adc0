"""Whatever an error quotes, it is a text that a terminal and a file can show."""

import pickle

import pytest

from draftproof.errors import (
    DataError,
    DraftproofError,
    EngineError,
    ModelError,
    TemplateError,
    clean_text,
    error_text,
    is_out_of_memory,
    printable,
)

ESCAPES = "red \x1b[31m, title \x1b]0;mine\x07, back \u202e, half \ud800"


@pytest.mark.parametrize(
    "kind", [DraftproofError, DataError, EngineError, ModelError, TemplateError]
)
def test_no_error_carries_raw_escapes(kind):
    error = kind(ESCAPES)
    assert str(error) == (r"red \x1b[31m, title \x1b]0;mine\x07, back \u202e, half \ud800")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(kind(error)) == str(error)


def test_an_error_is_cut_at_some_length():
    assert len(str(ModelError("x" * 1_000_000))) < 30_000


def test_text_that_is_printable_is_left_as_it_is():
    for text in ("plain\n\ttext", "ünï ≤ 3 → “x”", ""):
        assert printable(text) == clean_text(text) == text


def test_errors_that_are_raised_from_one_another_in_a_circle():
    first, second = ValueError("a"), RuntimeError("b")
    first.__cause__, second.__cause__ = second, first
    assert not is_out_of_memory(first)
    second.__cause__ = MemoryError()
    assert is_out_of_memory(first)


def test_an_exception_whose_text_cannot_be_had():
    class InterruptsError(ValueError):
        def __str__(self):
            raise KeyboardInterrupt

    assert error_text(InterruptsError()) == "(no text: KeyboardInterrupt when it was asked for)"
