"""The built-in prompt sets are read as they are, and a damaged file is named by line."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from draftproof.data import DOMAINS, load_prompts, load_records
from draftproof.errors import DataError

PROMPTS = Path(__file__).resolve().parents[3] / "fixtures" / "prompts"
ROW = {"prompt_id": "builtin/math/01", "domain": "math", "text": "1 + 1?", "answer": "2"}
WriteBuiltin = Callable[[str], Path]


def line(**changes: object) -> str:
    return json.dumps(ROW | changes, ensure_ascii=False) + "\n"


def test_rows_become_prompts_in_the_order_of_the_file(write_builtin: WriteBuiltin) -> None:
    other = line(prompt_id="builtin/math/00", text="  π\u2028?\n", answer=None)
    write_builtin(line() + "\n" + other)
    first, second = load_prompts("math")
    assert (first.prompt_id, first.domain, first.text, first.answer) == tuple(ROW.values())
    assert (second.prompt_id, second.text, second.answer) == (
        "builtin/math/00",
        "  π\u2028?\n",
        None,
    )


def test_a_limit_samples_the_builtin_prompts(write_builtin: WriteBuiltin) -> None:
    write_builtin("".join(line(prompt_id=f"builtin/math/{n:02}") for n in range(20)))
    whole = load_prompts("math")
    samples = [load_prompts("math", limit=limit, seed=3) for limit in range(1, 22)]
    assert [len(sample) for sample in samples] == [*range(1, 21), 20]
    assert all(sample == [p for p in whole if p in sample] for sample in samples)
    assert all(set(a) <= set(b) for a, b in pairwise(samples))
    assert load_prompts("math", limit=5, seed=4) != samples[4]


def test_the_row_is_kept(write_builtin: WriteBuiltin) -> None:
    write_builtin(line(note="for scoring"))
    assert load_records("math")[0].row["note"] == "for scoring"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        (line() + "{", "line 2: not valid JSON"),
        (line() + "[" * 100_000, "line 2: not valid JSON"),
        (line() + "[1]", "line 2: expected a JSON object, found list"),
        ('{"prompt_id": "a", "text": "b"}', "no columns 'domain', 'answer'; .*found prompt_id, te"),
        (line(text=3), "line 1: 'text' is int, expected text"),
        (line(answer=2), "line 1: 'answer' is int, expected text"),
        (line(text=" \n"), "the text of prompt builtin/math/01 is empty"),
        (line(domain="code"), "line 1: domain 'code' in the file of 'math'"),
        (line() + line(text="other"), "the prompt id builtin/math/01 occurs twice"),
    ],
)
def test_a_damaged_file_is_named(write_builtin: WriteBuiltin, content: str, message: str) -> None:
    path = write_builtin(content)
    with pytest.raises(DataError, match=message) as caught:
        load_prompts("math")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_named(write_builtin: WriteBuiltin) -> None:
    path = write_builtin("")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        load_prompts("math")


def test_a_missing_asset_is_a_data_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("draftproof.assets._PLACES", (Path("here"), Path("there")))
    with pytest.raises(DataError, match=r"prompts/chat\.jsonl"):
        load_prompts("chat")


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_prompt_sets_of_this_checkout_load(domain: str) -> None:
    path = PROMPTS / f"{domain}.jsonl"
    if not path.exists():
        pytest.skip(f"this checkout has no {path}")
    prompts = load_prompts(domain)
    assert len(prompts) == 50
    assert all(p.prompt_id.startswith(f"builtin/{domain}/") for p in prompts)
