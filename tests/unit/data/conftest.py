"""A tiny data folder, laid out like the published one, and the published one itself."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from draftproof.prompt_sources import BBH_DEDUCTIVE

REPOSITORY = Path(__file__).resolve().parents[3]


def jsonl(rows: Sequence[object]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def write_data_folder(folder: Path) -> Path:
    """Writes two or three made-up rows for each data set and returns the folder."""
    for name in ("humaneval", "gsm8k", "bbh", "mt_bench"):
        (folder / name).mkdir(parents=True)
    functions = [
        {
            "task_id": f"HumanEval/{number}",
            "prompt": f'def add_{number}(x):\n    """Adds {number}."""\n',
            "entry_point": f"add_{number}",
            "canonical_solution": f"    return x + {number}\n",
            "test": f"def check(f):\n    assert f(1) == {1 + number}\n",
        }
        for number in range(3)
    ]
    (folder / "humaneval" / "HumanEval.jsonl.gz").write_bytes(
        gzip.compress(jsonl(functions).encode())
    )
    sums = [
        {"question": "Three and four?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"},
        {"question": "A thousand and five hundred?", "answer": "It is #### no.\n#### 1,500"},
        {"question": "Two minus five?", "answer": "#### -3"},
    ]
    (folder / "gsm8k" / "test.jsonl").write_text(jsonl(sums))
    for task in BBH_DEDUCTIVE:
        rows = [{"input": f"{task}, case {case}?", "target": "True"} for case in range(3)]
        (folder / "bbh" / f"{task}.json").write_text(
            json.dumps({"canary": "not for training", "examples": rows})
        )
    questions = [
        {"question_id": 81, "category": "writing", "turns": ["Say hello.", "Again."]},
        {"question_id": 90, "category": "math", "turns": ["Add.", "More."], "reference": ["2"]},
    ]
    (folder / "mt_bench" / "question.jsonl").write_text(jsonl(questions))
    return folder


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """A folder with a few made-up rows of each of the four data sets."""
    return write_data_folder(tmp_path / "data")


@pytest.fixture
def write_builtin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a file that is read as the built-in prompts of every domain."""
    path = tmp_path / "builtin.jsonl"
    monkeypatch.setattr("draftproof.data.builtin.asset_path", lambda *_: path)

    def write(content: str) -> Path:
        path.write_text(content, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def published_folder() -> Path:
    """The authors' files; the test is skipped where they are not at hand."""
    named = os.environ.get("DRAFTPROOF_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            "needs the published data sets: set DRAFTPROOF_DATA to a folder that holds "
            "humaneval/, gsm8k/, bbh/ and mt_bench/"
            + (f" ({folder} is no folder)" if named else "")
        )
    return folder
