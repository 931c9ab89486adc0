"""The hub: what is asked of it, and what is said when it cannot be reached."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from draftproof.data import DOMAINS, PromptSource, load_prompts
from draftproof.data.load import load_domain
from draftproof.data.specs import DATASETS
from draftproof.errors import DataError
from draftproof.prompt_sources import BBH_DEDUCTIVE

ON_THE_HUB = ("code", "math", "logic")

Asked = list[tuple[str, str | None, str, str | None]]


@pytest.fixture
def hub(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Stands in for the hub: gives the rows of the local files, and notes what was asked."""
    import datasets

    asked: Asked = []

    def load_dataset(path: str, name: str | None, *, split: str, revision: str | None) -> Any:
        asked.append((path, name, split, revision))
        if path == "openai/openai_humaneval":
            text = gzip.decompress((data_folder / "humaneval/HumanEval.jsonl.gz").read_bytes())
            rows = [json.loads(line) for line in text.splitlines()]
        elif path == "SaylorTwift/bbh":
            rows = json.loads((data_folder / f"bbh/{name}.json").read_text())["examples"]
        else:
            text = (data_folder / "gsm8k/test.jsonl").read_text()
            rows = [json.loads(line) for line in text.splitlines()]
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    return asked


def failing(error: Exception) -> Any:
    def load_dataset(*_: object, **__: object) -> None:
        raise error

    return load_dataset


@pytest.mark.parametrize("domain", ON_THE_HUB)
def test_the_hub_and_a_folder_give_the_same_prompts(
    hub: Asked, data_folder: Path, domain: str
) -> None:
    for limit in (None, 2):
        online = load_prompts(domain, source="real", limit=limit, seed=8)
        local = load_prompts(domain, source="real", data_dir=data_folder, limit=limit, seed=8)
        assert online == local


def test_configuration_and_split_are_always_named(hub: Asked) -> None:
    for domain in ON_THE_HUB:
        load_prompts(domain, source="real")
    assert hub == [
        ("openai/openai_humaneval", "openai_humaneval", "test", DATASETS["humaneval"].revision),
        ("openai/gsm8k", "main", "test", DATASETS["gsm8k"].revision),
        *(("SaylorTwift/bbh", task, "test", DATASETS["bbh"].revision) for task in BBH_DEDUCTIVE),
    ]


def test_a_revision_of_ones_own_replaces_the_pinned_one(hub: Asked) -> None:
    load_prompts("math", source="gsm8k@refs/pr/7")
    assert hub == [("openai/gsm8k", "main", "test", "refs/pr/7")]


def test_the_commit_is_taken_from_what_the_library_loaded(
    hub: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    commit = "0123456789abcdef0123456789abcdef01234567"
    found = datasets.Dataset.from_list([{"question": "One?", "answer": "#### 1"}])
    found.info.download_checksums = {
        f"hf://datasets/openai/gsm8k@{commit}/main/test.parquet": {"num_bytes": 1}
    }
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: found)
    (origin,) = load_domain("math", PromptSource(prompts="gsm8k@main")).origins
    assert origin.to_json() == {
        "dataset": "gsm8k",
        "place": "openai/gsm8k main",
        "revision": commit,
    }


def test_a_local_folder_never_asks_the_hub(hub: Asked, data_folder: Path) -> None:
    for domain in DOMAINS:
        load_prompts(domain, source="real", data_dir=data_folder)
    assert hub == []


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub\n(and a second line)"),
        FileNotFoundError("Dataset 'openai/gsm8k' doesn't exist on the Hub"),
        ValueError("BuilderConfig 'main' not found."),
        RuntimeError("Dataset scripts are no longer supported, but found gsm8k.py"),
        TimeoutError(),
    ],
)
def test_any_failure_is_one_line_that_names_local_files(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("datasets.load_dataset", failing(error))
    with pytest.raises(DataError) as caught:
        load_prompts("math", source="real")
    message = str(caught.value)
    assert message.startswith("GSM8K: openai/gsm8k (main) cannot be loaded from the hub: ")
    assert type(error).__name__ in message
    assert str(error).partition("\n")[0] in message
    assert message.endswith("--spec-data DIR, where DIR holds gsm8k/test.jsonl")
    assert "\n" not in message


def test_the_cause_is_shown_in_place_of_a_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets.exceptions import DatasetGenerationError

    wrapper = DatasetGenerationError("An error occurred while generating the dataset")
    wrapper.__cause__ = OSError(28, "No space left on device")
    monkeypatch.setattr("datasets.load_dataset", failing(wrapper))
    with pytest.raises(DataError, match="No space left on device"):
        load_prompts("math", source="real")


def test_other_columns_on_the_hub_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    other = datasets.Dataset.from_list([{"problem": "One?", "solution": "1"}])
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: other)
    with pytest.raises(DataError, match=r"openai/gsm8k main: no columns 'question', 'answer'"):
        load_prompts("math", source="real")


def test_an_empty_data_set_on_the_hub_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    empty = datasets.Dataset.from_dict({"input": [], "target": []})
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: empty)
    with pytest.raises(DataError, match=r"SaylorTwift/bbh boolean_expressions: .*is empty"):
        load_prompts("logic", source="real")


def test_a_folder_that_would_stand_in_for_the_hub_is_refused(
    hub: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openai" / "gsm8k").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="would be read in place of openai/gsm8k"):
        load_prompts("math", source="real")
    assert hub == []


OFFLINE = """
from draftproof.data import load_prompts
from draftproof.errors import DataError
for domain, source in (("chat", "real"), ("logic", "folio_v2"), ("chat", "vicuna")):
    try:
        load_prompts(domain, source=source)
    except DataError as error:
        print(error)
"""


def test_offline_without_a_cache_the_error_says_how_to_use_local_files(tmp_path: Path) -> None:
    # A process of its own: the hub client reads the variable when it is imported.
    environment = os.environ | {
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for line, start, end in zip(
        done.stdout.splitlines(),
        (
            "MT-Bench: https://raw.githubusercontent.com/lm-sys/FastChat/",
            "FOLIO v2: tasksource/folio cannot be loaded from the hub: ",
            "Vicuna-80: https://raw.githubusercontent.com/lm-sys/FastChat/",
        ),
        (
            "mt_bench/question.jsonl",
            "folio/folio_v2_validation.jsonl",
            "vicuna_bench/question.jsonl",
        ),
        strict=True,
    ):
        assert line.startswith(start)
        assert "OfflineModeIsEnabled" in line
        assert line.endswith(f"--spec-data DIR, where DIR holds {end}")
