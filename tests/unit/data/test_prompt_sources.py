"""What ``--spec-prompts`` and ``--spec-columns`` can say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.errors import UsageError
from draftproof.prompt_sources import PARTS, REAL, Choice, parse_columns, parse_prompts


def test_names_parts_and_revisions() -> None:
    assert parse_prompts("builtin") == (Choice(name="builtin"),)
    assert [choice.name for choice in parse_prompts("real , own")] == [*REAL, "own"]
    assert parse_prompts("gsm8k@main,bbh:navigate + web_of_lies@v1.0") == (
        Choice(name="gsm8k", revision="main"),
        Choice(name="bbh", parts=("navigate", "web_of_lies"), revision="v1.0"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        ",",
        "gsm8k,",
        "gsm8k:",
        "bbh:",
        "bbh:navigate+",
        "gsm8k@",
        "real:x",
        "own@main",
        "real,bbh",
        "bbh:navigate+navigate",
        "bbh@a b",
        "bbh@-x",
    ],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--spec-prompts"):
        parse_prompts(text)


@given(st.text(alphabet="abghkm8:+@,/. ", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        choices = parse_prompts(text)
    except UsageError:
        return
    assert all(set(choice.parts) <= set(PARTS.get(choice.name, ())) for choice in choices)


def test_columns() -> None:
    assert parse_columns("prompt=q, id = the key") == {"prompt": "q", "id": "the key"}
    for text in ("", "prompt", "prompt=", "=q", "prompt=a,prompt=b"):
        with pytest.raises(UsageError, match="--spec-columns"):
            parse_columns(text)
    with pytest.raises(UsageError, match="unknown value 'promt'; did you mean 'prompt'"):
        parse_columns("promt=q")
