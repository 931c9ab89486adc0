"""Local files: what becomes of a row, and what is said of a file that cannot be used."""

from __future__ import annotations

import gzip
import importlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from draftproof.data import DOMAINS, Prompt, load_prompts, load_records
from draftproof.errors import DataError
from draftproof.prompt_sources import BBH_DEDUCTIVE

GZIP = gzip.compress(b'{"task_id": "HumanEval/0"}\n' * 500, mtime=0)


def real(domain: str, folder: Path, limit: int | None = None) -> list[Prompt]:
    return load_prompts(domain, source="real", data_dir=folder, limit=limit, seed=5)


def test_human_eval_keeps_text_and_row(data_folder: Path) -> None:
    first, *_, last = load_records("code", source="real", data_dir=data_folder)
    assert first.prompt == Prompt(
        prompt_id="HumanEval/0",
        domain="code",
        text='def add_0(x):\n    """Adds 0."""\n',
        answer="def check(f):\n    assert f(1) == 1\n\n\ncheck(add_0)\n",
        scoring="code",
    )
    assert last.prompt.prompt_id == "HumanEval/2"
    assert last.row["entry_point"] == "add_2"
    assert last.row["canonical_solution"] == "    return x + 2\n"
    assert last.row["test"] == "def check(f):\n    assert f(1) == 3\n"


def test_gsm8k_answers_are_plain_numbers(data_folder: Path) -> None:
    prompts = real("math", data_folder)
    assert [p.answer for p in prompts] == ["7", "1500", "-3"]
    assert [p.prompt_id for p in prompts] == [f"gsm8k/test/{n}" for n in range(3)]
    assert prompts[0].text == "Three and four?"


def test_bbh_reads_the_examples_of_every_task(data_folder: Path) -> None:
    prompts = real("logic", data_folder)
    assert [p.prompt_id for p in prompts] == [
        f"bbh/{t}/{n}" for t in BBH_DEDUCTIVE for n in range(3)
    ]
    assert prompts[-1].text == "web_of_lies, case 2?"
    assert {p.answer for p in prompts} == {"True"}


def test_bbh_samples_are_balanced_over_tasks(data_folder: Path) -> None:
    chosen = real("logic", data_folder, limit=len(BBH_DEDUCTIVE))
    assert [p.prompt_id.split("/")[1] for p in chosen] == list(BBH_DEDUCTIVE)


def test_mt_bench_takes_the_first_turn(data_folder: Path) -> None:
    prompts = real("chat", data_folder)
    assert [(p.prompt_id, p.text) for p in prompts] == [
        ("mt_bench/81", "Say hello."),
        ("mt_bench/90", "Add."),
    ]
    assert {p.answer for p in prompts} == {None}


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_needs_only_its_own_files(data_folder: Path, domain: str) -> None:
    own = {"code": "humaneval", "math": "gsm8k", "logic": "bbh", "chat": "mt_bench"}[domain]
    for folder in list(data_folder.iterdir()):
        if folder.name != own:
            folder.rename(data_folder.parent / folder.name)
    assert {p.domain for p in real(domain, data_folder)} == {domain}


@pytest.mark.parametrize("name", ["a[1]", "st*r", "what?", "a::b", ".hidden", "__x", "spa ce", "é"])
def test_a_folder_may_have_any_name(data_folder: Path, name: str) -> None:
    decoy = data_folder.with_name("star")
    decoy.mkdir()  # "st*r", taken for a pattern, would find this one too
    (data_folder / "gsm8k").rename(decoy / "gsm8k")
    odd = data_folder.with_name(name)
    odd.mkdir()
    (odd / "gsm8k").mkdir()
    (odd / "gsm8k" / "test.jsonl").write_text('{"question": "q", "answer": "#### 1"}\n')
    assert [p.text for p in real("math", odd)] == ["q"]


def test_a_changed_file_is_read_again(data_folder: Path) -> None:
    path = data_folder / "gsm8k" / "test.jsonl"
    times = path.stat()
    before = real("math", data_folder)
    path.write_text(path.read_text().replace("Three", "Seven"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert before[0].text == "Three and four?"
    assert real("math", data_folder)[0].text == "Seven and four?"


def test_the_home_folder_may_be_written_as_a_tilde(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(data_folder.parent))
    assert len(real("chat", Path("~/data"))) == 2


def test_a_missing_folder_says_what_it_must_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder") as caught:
        real("math", tmp_path / "nowhere")
    message = str(caught.value)
    assert message.startswith(f"GSM8K: looked for {tmp_path / 'nowhere' / 'gsm8k' / 'test.jsonl'}")
    for part in ("humaneval/HumanEval.jsonl.gz", "gsm8k/test.jsonl", "bbh/TASK", "mt_bench/quest"):
        assert part in message


def test_a_missing_file_is_named(data_folder: Path) -> None:
    path = data_folder / "bbh" / "web_of_lies.json"
    path.unlink()
    with pytest.raises(DataError, match="no such file; a data folder holds humaneval/") as caught:
        real("logic", data_folder)
    assert f"looked for {path}" in str(caught.value)


BAD_FILES = {
    "empty": ("math", "gsm8k/test.jsonl", b"", "the file is empty"),
    "blank lines": ("math", "gsm8k/test.jsonl", b"\n\n", "the file is empty"),
    "cut JSON": (
        "math",
        "gsm8k/test.jsonl",
        b'{"question": "q", "answer": "#### 1"}\n{"question": ',
        "line 2 is not valid JSON",
    ),
    "deep JSON": ("math", "gsm8k/test.jsonl", b"[" * 100_000, "line 1 is not valid JSON"),
    "page of a proxy": ("math", "gsm8k/test.jsonl", b"<html>", "line 1 is not valid JSON"),
    "list in a line": (
        "math",
        "gsm8k/test.jsonl",
        b'{"question": "q", "answer": "#### 1"}\n[3]\n',
        "line 2 is not a JSON object",
    ),
    "not UTF-8": ("math", "gsm8k/test.jsonl", b'{"question": "\xff"}\n', "UnicodeDecodeError"),
    "gzip cut": ("code", "humaneval/HumanEval.jsonl.gz", GZIP[: len(GZIP) // 2], "damaged .*EOF"),
    "gzip checksum": (
        "code",
        "humaneval/HumanEval.jsonl.gz",
        GZIP[:-8] + b"12345678",
        "damaged .*CRC",
    ),
    "gzip body": (
        "code",
        "humaneval/HumanEval.jsonl.gz",
        GZIP[:12] + bytes(8) + GZIP[20:],
        "damaged",
    ),
    "no gzip": ("code", "humaneval/HumanEval.jsonl.gz", b'{"task_id": 1}\n', "Not a gzipped file"),
    "gzip of nothing": (
        "code",
        "humaneval/HumanEval.jsonl.gz",
        gzip.compress(b"", mtime=0),
        "the file is empty",
    ),
    "no examples": (
        "logic",
        "bbh/web_of_lies.json",
        b'{"canary": "c"}',
        "no list 'examples'; found canary",
    ),
    "empty examples": ("logic", "bbh/web_of_lies.json", b'{"examples": []}', "'examples' is empty"),
    "examples of another kind": (
        "logic",
        "bbh/web_of_lies.json",
        b'{"examples": ["a"]}',
        "no columns 'input', 'target'; expected input, target; found text",
    ),
    "a bare list": (
        "logic",
        "bbh/web_of_lies.json",
        b'[{"input": "i", "target": "t"}]',
        "expected a JSON object with a list 'examples', found list",
    ),
    "cut object": ("logic", "bbh/web_of_lies.json", b'{"examples": [', "is not valid JSON"),
    "a column missing": (
        "math",
        "gsm8k/test.jsonl",
        b'{"question": "q", "solution": "s"}\n',
        "no column 'answer'; expected question, answer; found question, solution",
    ),
    "a key missing in one row": (
        "math",
        "gsm8k/test.jsonl",
        b'{"question": "q", "answer": "#### 1"}\n{"answer": "#### 1"}\n',
        "row 1: 'question' is NoneType, expected text",
    ),
    "a number for a text": (
        "logic",
        "bbh/web_of_lies.json",
        b'{"examples": [{"input": "i", "target": 7}]}',
        "row 0: 'target' is int, expected text",
    ),
    "no number": (
        "math",
        "gsm8k/test.jsonl",
        b'{"question": "q", "answer": "seven"}\n',
        "row 0: 'answer' does not end in '#### NUMBER'",
    ),
    "blank text": (
        "math",
        "gsm8k/test.jsonl",
        b'{"question": " ", "answer": "#### 1"}\n',
        "the text of prompt gsm8k/test/0 is empty",
    ),
    "no turn": (
        "chat",
        "mt_bench/question.jsonl",
        b'{"question_id": 81, "turns": []}\n',
        "row 0: 'turns' is not a list",
    ),
    "one text for the turns": (
        "chat",
        "mt_bench/question.jsonl",
        b'{"question_id": 81, "turns": "Say hello."}\n',
        "row 0: 'turns' is not a list",
    ),
    "text for an id": (
        "chat",
        "mt_bench/question.jsonl",
        b'{"question_id": "x", "turns": ["Say hello."]}\n',
        "row 0: 'question_id' is str",
    ),
    "id twice": (
        "chat",
        "mt_bench/question.jsonl",
        b'{"question_id": 81, "turns": ["a"]}\n' * 2,
        "the prompt id mt_bench/81 occurs twice",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_cannot_be_used_is_named_in_one_line(data_folder: Path, case: str) -> None:
    domain, name, content, message = BAD_FILES[case]
    path = data_folder / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        real(domain, data_folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_file_is_named(data_folder: Path) -> None:
    path = data_folder / "gsm8k" / "test.jsonl"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match="IsADirectoryError") as caught:
        real("math", data_folder)
    assert str(path) in str(caught.value)


def test_a_failure_with_a_sound_file_gives_the_cause(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(DataError, match=r"test\.jsonl: cannot be read \(OSError: .*No space left"):
        real("math", data_folder)


def test_a_release_that_can_run_code_is_refused(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.__version__", "3.6.0")
    with pytest.raises(DataError, match=r"datasets 3\.6\.0 can run code .*datasets>=4"):
        real("math", data_folder)


def test_without_the_library_the_error_says_what_to_install(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="pip install datasets"):
        real("math", data_folder)


@pytest.fixture(params=["bars on", "bars off"])
def bars_disabled(request: pytest.FixtureRequest) -> Iterator[Callable[[], list[bool]]]:
    """Progress bars switched on, or off, by the user; gives their present state."""
    libraries = []
    for name, module in (("datasets", "config"), ("huggingface_hub", "constants")):
        settings = importlib.import_module(f"{name}.{module}")
        if any(
            "DISABLE_PROGRESS_BARS" in key and value is not None
            for key, value in vars(settings).items()
        ):
            pytest.skip(f"the environment fixes the progress bars of {name}")
        libraries.append(importlib.import_module(f"{name}.utils"))
    before = [library.are_progress_bars_disabled() for library in libraries]

    def switch(disabled: list[bool]) -> None:
        for library, off in zip(libraries, disabled, strict=True):
            (library.disable_progress_bars if off else library.enable_progress_bars)()

    switch([request.param == "bars off"] * 2)
    yield lambda: [library.are_progress_bars_disabled() for library in libraries]
    switch(before)


@pytest.mark.parametrize("sound", [True, False])
def test_bars_and_log_level_are_left_as_they_were(
    data_folder: Path, sound: bool, bars_disabled: Callable[[], list[bool]]
) -> None:
    logger = logging.getLogger("datasets")
    level, bars = logger.level, bars_disabled()
    try:
        logger.setLevel(logging.INFO)
        if sound:
            assert real("math", data_folder)
        else:
            (data_folder / "gsm8k" / "test.jsonl").write_text("{")
            with pytest.raises(DataError):
                real("math", data_folder)
        assert logger.level == logging.INFO
        assert bars_disabled() == bars
    finally:
        logger.setLevel(level)


LONELY = """
import json, socket, sys
calls = []
def refuse(*args, **kwargs):
    calls.append(repr(args))
    raise OSError("no network in this test")
socket.socket.connect = socket.getaddrinfo = refuse
from draftproof.data import DOMAINS, load_prompts
from draftproof.errors import DataError
folder, broken = sys.argv[1:]
counts = [len(load_prompts(d, source="real", data_dir=folder)) for d in DOMAINS]
try:
    load_prompts("math", source="real", data_dir=broken)
except DataError as error:
    counts.append(str(error))
heavy = sorted({"torch", "transformers"} & set(sys.modules))
print(json.dumps([counts, calls, heavy]))
"""


@pytest.mark.parametrize("offline", ["0", "1"])
def test_local_files_need_no_network_no_home_no_models_and_print_nothing(
    data_folder: Path, tmp_path: Path, offline: str
) -> None:
    broken = tmp_path / "broken"
    (broken / "gsm8k").mkdir(parents=True)
    (broken / "gsm8k" / "test.jsonl").write_text("{")
    home, scratch = tmp_path / "hf", tmp_path / "scratch"
    scratch.mkdir()
    environment = os.environ | {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": offline,
        "HF_DATASETS_OFFLINE": offline,
        "TMPDIR": str(scratch),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }
    done = subprocess.run(
        [sys.executable, "-c", LONELY, str(data_folder), str(broken)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    counts, calls, heavy = json.loads(done.stdout)
    assert counts[:4] == [3, 3, 3 * len(BBH_DEDUCTIVE), 2]
    assert "line 1 is not valid JSON" in counts[4]
    assert calls == []
    assert heavy == []
    assert not home.exists()
    assert list(scratch.iterdir()) == []
