"""A file of one's own: which column is what, and what is said of a line that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from draftproof.data import OTHER, Prompt, PromptSource
from draftproof.data.load import load_domain
from draftproof.data.own import own_records
from draftproof.errors import DataError


def write(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prompts(path: Path, **columns: str) -> list[Prompt]:
    return [record.prompt for record in own_records(path, columns)]


def test_a_prompt_is_enough(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "Why?"}, {"prompt": "How?"})
    assert prompts(path) == [
        Prompt(prompt_id="own/own/0", domain="own", text="Why?"),
        Prompt(prompt_id="own/own/1", domain="own", text="How?"),
    ]


def test_columns_are_named_or_taken_by_their_own_name(tmp_path: Path) -> None:
    row = {"question": "2 + 2?", "solution": 4, "topic": "math", "key": "sum", "prompt": "no"}
    found = prompts(
        write(tmp_path, row), prompt="question", answer="solution", domain="topic", id="key"
    )
    assert found == [
        Prompt(prompt_id="own/math/sum", domain="math", text="2 + 2?", answer="4", scoring="number")
    ]


@pytest.mark.parametrize(
    ("row", "scoring", "answer"),
    [
        ({"answer": "1,450"}, "number", "1,450"),
        ({"answer": 2.5}, "number", "2.5"),
        ({"answer": "yes"}, "label", "yes"),
        ({"answer": "7", "scoring": "label"}, "label", "7"),
        ({"answer": "assert f(1) == 2", "scoring": "code"}, "code", "assert f(1) == 2"),
        ({"answer": None}, None, None),
    ],
)
def test_how_an_answer_is_scored(
    tmp_path: Path, row: dict[str, Any], scoring: str | None, answer: str | None
) -> None:
    (prompt,) = prompts(write(tmp_path, {"prompt": "p", **row}))
    assert (prompt.scoring, prompt.answer) == (scoring, answer)


def test_turns_make_a_conversation(tmp_path: Path) -> None:
    path = write(tmp_path, {"turns": ["One.", "Two."], "domain": "chat"})
    source = PromptSource(prompts="own", own_file=path, turns=2)
    first, second = (record.prompt for record in load_domain("chat", source).records)
    assert (first.text, first.earlier) == ("One.", ())
    assert (second.prompt_id, second.text) == ("own/chat/0/turn2", "Two.")
    assert second.earlier == ("One.",)


def test_rows_go_to_the_suites_of_their_domains(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"prompt": "a", "domain": "code"},
        {"prompt": "b", "domain": "sql"},
        {"prompt": "c"},
    )
    source = PromptSource(prompts="own", own_file=path)
    assert [r.prompt.text for r in load_domain("code", source).records] == ["a"]
    assert load_domain("math", source).records == ()
    others = load_domain(OTHER, source)
    assert [r.prompt.domain for r in others.records] == ["sql", "own"]
    assert others.origins[0].dataset == "own"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "mine.jsonl: the data set is empty"),
        (
            [{"question": "q"}],
            "no column 'prompt'; found question; name the right one with --spec-c",
        ),
        ([{"prompt": "a"}, {"other": "b"}], "line 2: no 'prompt' in this line"),
        ([{"prompt": 3}], "line 1: 'prompt' is int, expected text"),
        ([{"prompt": " "}], "the text of prompt own/own/0 is empty"),
        ([[1]], "line 1: expected a JSON object, found list"),
        ([{"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}], "prompt id own/own/1 occurs twice"),
        ([{"prompt": "a", "id": 0.5}], r"line 1: 'id' is 0\.5, expected a number, or text"),
        ([{"prompt": "a", "id": "a\n"}], "line 1: 'id' is"),
        ([{"prompt": "a", "domain": "a/b"}], "line 1: 'domain' is 'a/b'"),
        ([{"prompt": "a", "domain": ""}], "line 1: 'domain' is ''"),
        ([{"prompt": "a", "answer": [["x"]]}], "line 1: 'answer' is list"),
        ([{"prompt": "a", "answer": True}], "line 1: 'answer' is bool"),
        (
            [{"prompt": "a", "answer": "x", "scoring": "vibes"}],
            "'scoring' is 'vibes', expected one",
        ),
        ([{"prompt": "a", "answer": "x", "scoring": "number"}], "the answer 'x' is not a number"),
        ([{"prompt": "a", "scoring": "number"}], "line 1: 'scoring' without an 'answer'"),
        ([{"turns": []}], "line 1: 'turns' is not a list of at least one text"),
        ([{"turns": ["a", ""]}], "line 1: a text in 'turns' is empty"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prompts(write(tmp_path, *rows))


def test_a_named_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"prompt=q: .* has no column 'q'; its columns are prompt"):
        prompts(write(tmp_path, {"prompt": "a"}), prompt="q")


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"mine\.jsonl: is not text"):
        prompts(path)
    path.write_text("\ufeff" + json.dumps({"prompt": "with a byte order mark"}), encoding="utf-8")
    assert prompts(path)[0].text == "with a byte order mark"
