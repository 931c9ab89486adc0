"""The published files, where they are at hand: counts, ids, and texts kept as they are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from draftproof.data import (
    DOMAINS,
    OTHER,
    Prompt,
    PromptSource,
    load_prompts,
    load_records,
    prompts_fingerprint,
)
from draftproof.data.load import LoadedRecords, load_domain
from draftproof.data.specs import DATASETS
from draftproof.prompt_sources import BBH_DEDUCTIVE, BBH_TASKS


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
        for task in BBH_DEDUCTIVE
        for index, row in enumerate(
            json.loads((published_folder / "bbh" / f"{task}.json").read_text())["examples"]
        )
    ]
    prompts = real("logic", published_folder)
    assert len(expected) == 250 * len(BBH_DEDUCTIVE) == 1500
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


def load(domain: str, prompts: str, folder: Path, **more: Any) -> LoadedRecords:
    return load_domain(domain, PromptSource(prompts=prompts, data_dir=folder, **more))


def test_every_bbh_task_can_be_chosen(published_folder: Path) -> None:
    names = "bbh:" + "+".join(BBH_TASKS)
    found = load("logic", names, published_folder)
    assert len(found.records) == 2937
    assert len(found.origins) == 12


def test_folio(published_folder: Path) -> None:
    rows = rows_of(published_folder / "folio" / "folio-validation.jsonl")
    records = load("logic", "folio", published_folder).records
    assert len(records) == 204
    assert [record.prompt.answer for record in records] == [row["label"].strip() for row in rows]
    for record, row in zip(records, rows, strict=True):
        assert all(premise.strip() in record.prompt.text for premise in row["premises"])


def test_vicuna(published_folder: Path) -> None:
    rows = rows_of(published_folder / "vicuna_bench" / "question.jsonl")
    records = load("chat", "vicuna", published_folder).records
    assert [record.prompt.text for record in records] == [row["turns"][0] for row in rows]


def test_files_read_from_the_web_are_those_at_hand(published_folder: Path) -> None:
    for name in ("folio", "vicuna", "spec_bench"):
        (table,) = DATASETS[name].tables
        (origin,) = load(DATASETS[name].domains[0], name, published_folder).origins
        assert origin.sha256 == table.sha256


def test_spec_bench_alone_and_beside_what_it_shares(published_folder: Path) -> None:
    domains = {"chat": 80, "math": 80, "code": 0, "logic": 0, OTHER: 320}
    for domain, count in domains.items():
        assert len(load(domain, "spec_bench", published_folder).records) == count
    assert load("chat", "mt_bench,spec_bench", published_folder).duplicates == {"spec_bench": 80}
    assert load("math", "gsm8k,spec_bench", published_folder).duplicates == {"spec_bench": 80}
    assert load("chat", "mt_bench,vicuna", published_folder).duplicates == {"vicuna": 2}


def test_both_turns_of_mt_bench(published_folder: Path) -> None:
    rows = rows_of(published_folder / "mt_bench" / "question.jsonl")
    prompts = [r.prompt for r in load("chat", "mt_bench", published_folder, turns=2).records]
    assert [p.text for p in prompts] == [turn for row in rows for turn in row["turns"]]
    assert [p.earlier for p in prompts[1::2]] == [(row["turns"][0],) for row in rows]


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_study_of_fifty_prompts(published_folder: Path, domain: str) -> None:
    prompts = real(domain, published_folder, limit=50)
    assert len(prompts) == 50
    assert set(prompts) < set(real(domain, published_folder, limit=51))
    again = real(domain, published_folder, limit=50)
    assert prompts_fingerprint(again) == prompts_fingerprint(prompts)
    if domain == "logic":
        tasks = [p.prompt_id.split("/")[1] for p in prompts]
        assert sorted(tasks.count(task) for task in BBH_DEDUCTIVE) == [8, 8, 8, 8, 9, 9]
