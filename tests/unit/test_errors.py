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
