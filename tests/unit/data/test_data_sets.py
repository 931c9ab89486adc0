"""The other public data sets: FOLIO, Vicuna-80, Spec-Bench, SPEED-Bench, and what two share."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from draftproof.data import OTHER, Prompt, PromptSource, load_prompts
from draftproof.data.load import LoadedRecords, load_domain
from draftproof.data.reading import read_web
from draftproof.data.rows import SPEED_BENCH_PLACEHOLDER
from draftproof.data.specs import DATASETS
from draftproof.errors import DataError, UsageError
from draftproof.prompt_sources import SPEC_BENCH_PARTS


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(domain: str, prompts: str, folder: Path, **more: Any) -> LoadedRecords:
    return load_domain(domain, PromptSource(prompts=prompts, data_dir=folder, **more))


def ids(loaded: LoadedRecords) -> list[str]:
    return [record.prompt.prompt_id for record in loaded.records]


PREMISES = ["All cats purr.", " Tom is a cat. ", ""]


def test_both_layouts_of_folio_give_the_same_question(tmp_path: Path) -> None:
    v0 = {"premises": PREMISES, "conclusion": "Tom purrs. ", "label": "True", "conclusion-FOL": "P"}
    v2 = {**v0, "premises": "\n".join(PREMISES), "story_id": 1, "example_id": 2}
    write(tmp_path, "folio/folio-validation.jsonl", [v0])
    write(tmp_path, "folio/folio_v2_validation.jsonl", [v2])
    (old,) = load_prompts("logic", source="folio", data_dir=tmp_path)
    (new,) = load_prompts("logic", source="folio_v2", data_dir=tmp_path)
    assert (old.prompt_id, new.prompt_id) == ("folio/v0/0", "folio/v2/0")
    assert old.text == new.text
    assert "All cats purr.\nTom is a cat.\n\nConclusion: Tom purrs.\n" in old.text
    assert (old.answer, old.scoring) == ("True", "label")
    # The same text is asked once.
    assert load("logic", "folio,folio_v2", tmp_path).duplicates == {"folio_v2": 1}


@pytest.mark.parametrize(
    ("label", "answer"), [("Uncertain", "Uncertain"), ("Unknown", "Uncertain"), ("False", "False")]
)
def test_unknown_means_uncertain_in_folio(tmp_path: Path, label: str, answer: str) -> None:
    row = {"premises": PREMISES, "conclusion": "Tom sleeps.", "label": label}
    write(tmp_path, "folio/folio-validation.jsonl", [row])
    (prompt,) = load_prompts("logic", source="folio", data_dir=tmp_path)
    assert prompt.answer == answer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "Maybe"}, "row 0: 'label' is 'Maybe', expected one of True, False"),
        ({"premises": 3}, "row 0: 'premises' is neither a text nor a list"),
        ({"premises": []}, "row 0: 'premises' is empty"),
    ],
)
def test_a_row_of_folio_that_cannot_be_used(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    row = {"premises": PREMISES, "conclusion": "Tom sleeps.", "label": "True"}
    write(tmp_path, "folio/folio-validation.jsonl", [{**row, **change}])
    with pytest.raises(DataError, match=message):
        load_prompts("logic", source="folio", data_dir=tmp_path)


def spec_bench_rows() -> list[dict[str, Any]]:
    """Two questions of each subtask; MT-Bench's and GSM8K's as in `write_data_folder`."""
    rows = [
        {"question_id": 81, "category": "writing", "turns": ["Say hello.", "Again."]},
        {"question_id": 90, "category": "math", "turns": ["Add.", "More."], "reference": ["2"]},
        {
            "question_id": 401,
            "category": "math_reasoning",
            "turns": ["Three and four?"],
            "reference": ["3 + 4\n#### 7"],
        },
    ]
    for number, part in enumerate(("translation", "summarization", "qa", "rag")):
        rows += [
            {"question_id": 161 + 10 * number + k, "category": part, "turns": [f"{part} {k}"]}
            for k in range(2)
        ]
    return rows


def test_spec_bench_goes_to_the_domains_of_its_subtasks(tmp_path: Path) -> None:
    write(tmp_path, "spec_bench/question.jsonl", spec_bench_rows())
    assert ids(load("chat", "spec_bench", tmp_path)) == [
        "spec_bench/mt_bench/81",
        "spec_bench/mt_bench/90",
    ]
    (problem,) = load_prompts("math", source="spec_bench", data_dir=tmp_path)
    assert (problem.answer, problem.scoring) == ("7", "number")
    others = load(OTHER, "spec_bench", tmp_path).records
    assert [record.prompt.domain for record in others] == [
        part for part in ("translation", "summarization", "qa", "rag") for _ in range(2)
    ]
    assert load_prompts("code", source="spec_bench", data_dir=tmp_path) == []


def test_parts_are_chosen_by_name(tmp_path: Path) -> None:
    write(tmp_path, "spec_bench/question.jsonl", spec_bench_rows())
    chosen = load(OTHER, "spec_bench:qa+rag", tmp_path)
    assert {record.prompt.domain for record in chosen.records} == {"qa", "rag"}
    assert load("chat", "spec_bench:qa+rag", tmp_path).records == ()


def test_what_spec_bench_shares_with_others_is_asked_once(data_folder: Path) -> None:
    write(data_folder, "spec_bench/question.jsonl", spec_bench_rows())
    chat = load("chat", "mt_bench,spec_bench", data_folder)
    assert ids(chat) == ["mt_bench/81", "mt_bench/90"]
    assert chat.duplicates == {"spec_bench": 2}
    assert [origin.dataset for origin in chat.origins] == ["mt_bench"]
    math = load("math", "gsm8k,spec_bench", data_folder)
    assert ids(math) == [f"gsm8k/test/{n}" for n in range(3)]
    assert load(OTHER, "mt_bench,spec_bench", data_folder).duplicates == {}


def test_the_limit_is_for_each_domain_and_balanced_over_data_sets(data_folder: Path) -> None:
    write(data_folder, "spec_bench/question.jsonl", spec_bench_rows())
    others = load(OTHER, "spec_bench", data_folder, limit=1)
    counts = Counter(record.prompt.domain for record in others.records)
    assert counts == {"translation": 1, "summarization": 1, "qa": 1, "rag": 1}
    questions = [{"question_id": n, "category": "g", "turns": [f"Why {n}?"]} for n in range(9)]
    write(data_folder, "vicuna_bench/question.jsonl", questions)
    both = load("chat", "mt_bench,vicuna", data_folder, limit=4)
    assert Counter(name.partition("/")[0] for name in ids(both)) == {"mt_bench": 2, "vicuna": 2}


def test_later_turns_follow_the_first_and_the_limit_counts_conversations(data_folder: Path) -> None:
    chosen = load("chat", "mt_bench", data_folder, limit=1, turns=2).records
    assert [record.prompt for record in chosen] == [
        Prompt(prompt_id="mt_bench/81", domain="chat", text="Say hello."),
        Prompt(
            prompt_id="mt_bench/81/turn2", domain="chat", text="Again.", earlier=("Say hello.",)
        ),
    ]
    assert ids(load("chat", "mt_bench", data_folder, turns=5)) == [
        "mt_bench/81",
        "mt_bench/81/turn2",
        "mt_bench/90",
        "mt_bench/90/turn2",
    ]


def speed_bench_file(folder: Path, turns: list[str]) -> Path:
    import datasets

    row = {
        "question_id": "q1",
        "category": "coding",
        "sub_category": None,
        "turns": turns,
        "source": "somewhere",
        "src_id": "s_1",
        "difficulty": None,
        "multiturn": False,
    }
    path = folder / "speed_bench" / "test.parquet"
    path.parent.mkdir()
    rows = [row, {**row, "question_id": "q2", "category": "rag", "turns": ["Read.", "Tell."]}]
    datasets.Dataset.from_list(rows).to_parquet(path)
    return path


def test_speed_bench_is_read_from_the_prepared_file(tmp_path: Path) -> None:
    path = speed_bench_file(tmp_path, ["Write a sort."])
    (code,) = load("code", "speed_bench", tmp_path).records
    assert code.prompt.prompt_id == "speed_bench/coding/q1"
    others = load(OTHER, "speed_bench", tmp_path, turns=2)
    assert ids(others) == ["speed_bench/rag/q2", "speed_bench/rag/q2/turn2"]
    (origin,) = others.origins
    assert origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_placeholders_of_speed_bench_are_refused(tmp_path: Path) -> None:
    speed_bench_file(tmp_path, [f"{SPEED_BENCH_PLACEHOLDER} USING SPECDEC_BENCH\n\nmore"])
    with pytest.raises(DataError, match=r"row 0: 'turns' is a placeholder .*prepare_data\.py"):
        load("code", "speed_bench", tmp_path)


def test_speed_bench_without_a_file_says_how_to_get_it(tmp_path: Path) -> None:
    for folder in (tmp_path, None):
        source = PromptSource(prompts="speed_bench", data_dir=folder)
        with pytest.raises(DataError, match=r"speed_bench/test\.parquet.*") as caught:
            load_domain("code", source)
        assert "prepare_data.py" in str(caught.value)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "speed_bench" / "test.parquet"
    path.parent.mkdir()
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"test\.parquet: cannot be read"):
        load("code", "speed_bench", tmp_path)


def test_every_data_set_from_afar_is_pinned() -> None:
    for spec in DATASETS.values():
        if spec.hub_id is not None:
            assert len(spec.revision) == 40, spec.name
        else:
            assert spec.obtain or all(table.url and table.sha256 for table in spec.tables)


def test_a_revision_is_for_the_hub_only(tmp_path: Path) -> None:
    for domain, prompts, folder in (
        ("chat", "vicuna@main", None),
        ("chat", "mt_bench@main", None),
        ("math", "gsm8k@main", tmp_path),
    ):
        with pytest.raises(UsageError, match="not read from the hub here, so it has no revision"):
            load_domain(domain, PromptSource(prompts=prompts, data_dir=folder))


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the web: whatever is asked for is this file."""
    import datasets

    rows = [{"question_id": 1, "category": "generic", "turns": ["How?"]}]
    path = write(tmp_path, "downloaded", rows)
    download = datasets.DownloadManager.download
    monkeypatch.setattr(
        "datasets.DownloadManager.download",
        lambda self, url: str(path) if str(url).startswith("https:") else download(self, url),
    )
    return path


def test_a_file_from_the_web_must_be_the_expected_one(web: Path) -> None:
    with pytest.raises(DataError, match=r"Vicuna-80: .*question\.jsonl is not the file that is ex"):
        load_prompts("chat", source="vicuna")
    digest = hashlib.sha256(web.read_bytes()).hexdigest()
    assert read_web("https://x", sha256=digest, split="test")[0]["turns"] == ["How?"]


def test_no_web_is_one_line_that_names_local_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ConnectionError("Couldn't reach it\nat all")

    monkeypatch.setattr("datasets.DownloadManager.download", fail)
    with pytest.raises(DataError) as caught:
        load_prompts("chat", source="vicuna")
    message = str(caught.value)
    assert message.startswith("Vicuna-80: https://raw.githubusercontent.com/lm-sys/FastChat/")
    assert message.endswith("--spec-data DIR, where DIR holds vicuna_bench/question.jsonl")
    assert "\n" not in message


def test_a_small_file_that_unpacks_to_too_much_is_refused(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("draftproof.data.unpacking.LARGEST_BYTES", 100)
    with pytest.raises(DataError, match=r"HumanEval\.jsonl\.gz.* unpacks to more than 100 bytes"):
        load_prompts("code", source="real", data_dir=data_folder)


def test_every_subtask_of_spec_bench_has_a_domain() -> None:
    assert len(DATASETS["spec_bench"].domains) == len(SPEC_BENCH_PARTS)
