"""The published files, where they are at hand: counts, ids, and texts kept as they are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from harness.data import DOMAINS, Prompt, load_prompts, load_records, prompts_fingerprint
from harness.data.specs import BBH_TASKS


def rows_of(path: Path) -> list[dict[str, Any]]:
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    return [json.loads(line) for line in text.strip().split("\n")]


def real(domain: str, folder: Path, limit: int | None = None) -> list[Prompt]:
    return load_prompts(domain, source="real", data_dir=folder, limit=limit, seed=0)


def test_human_eval(published_folder: Path) -> None:
    rows = rows_of(published_folder / "humaneval" / "HumanEval.jsonl.gz")
    records = load_records("code", source="real", data_dir=published_folder)
    assert [r.prompt.prompt_id for r in records] == [f"HumanEval/{n}" for n in range(164)]
    assert [r.prompt.text for r in records] == [row["prompt"] for row in rows]
    assert [dict(r.row) for r in records] == rows


def test_gsm8k(published_folder: Path) -> None:
    rows = rows_of(published_folder / "gsm8k" / "test.jsonl")
    prompts = real("math", published_folder)
    assert [p.prompt_id for p in prompts] == [f"gsm8k/test/{n}" for n in range(1319)]
    assert [p.text for p in prompts] == [row["question"] for row in rows]
    finals = [row["answer"].split("#### ")[1] for row in rows]
    assert [p.answer for p in prompts] == [str(int(final.replace(",", ""))) for final in finals]
    assert sum("," in final for final in finals) == 14


def test_bbh(published_folder: Path) -> None:
    expected = [
        (f"bbh/{task}/{index}", row["input"], row["target"])
        for task in BBH_TASKS
        for index, row in enumerate(
            json.loads((published_folder / "bbh" / f"{task}.json").read_text())["examples"]
        )
    ]
    prompts = real("logic", published_folder)
    assert len(expected) == 250 * len(BBH_TASKS) == 1500
    assert [(p.prompt_id, p.text, p.answer) for p in prompts] == expected
    letters = {f"({letter})" for letter in "ABCDEFG"}
    assert {p.answer for p in prompts} == letters | {
        "True",
        "False",
        "Yes",
        "No",
        "valid",
        "invalid",
    }


def test_mt_bench(published_folder: Path) -> None:
    rows = rows_of(published_folder / "mt_bench" / "question.jsonl")
    prompts = real("chat", published_folder)
    assert [p.prompt_id for p in prompts] == [f"mt_bench/{n}" for n in range(81, 161)]
    assert [p.text for p in prompts] == [row["turns"][0] for row in rows]


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_study_of_fifty_prompts(published_folder: Path, domain: str) -> None:
    prompts = real(domain, published_folder, limit=50)
    assert len(prompts) == 50
    assert set(prompts) < set(real(domain, published_folder, limit=51))
    again = real(domain, published_folder, limit=50)
    assert prompts_fingerprint(again) == prompts_fingerprint(prompts)
    if domain == "logic":
        tasks = [p.prompt_id.split("/")[1] for p in prompts]
        assert sorted(tasks.count(task) for task in BBH_TASKS) == [8, 8, 8, 8, 9, 9]
