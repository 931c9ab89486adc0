"""Files and folders: whole or untouched, and an error that names the path."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from datetime import UTC, datetime

import pytest

from draftproof.errors import DraftproofError
from draftproof.files import write_atomically, write_text
from draftproof.report import load_run, new_report_directory, point_latest, write_report

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REPORT_FILES = [
    "cases.parquet",
    "metrics.json",
    "nodes.parquet",
    "report.html",
    "run.json",
    "steps.parquet",
    "summary.md",
]


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_report_is_its_files_and_leaves_nothing_else(tmp_path, make_cases, run_info):
    (tmp_path / "journal.jsonl").write_text("kept")
    write_report(tmp_path, run_info, make_cases())
    assert names(tmp_path) == sorted([*REPORT_FILES, "journal.jsonl"])
    assert (tmp_path / "journal.jsonl").read_text() == "kept"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "metrics.json"
    write_text(path, "old")

    def half(file):
        file.write(b"new")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DraftproofError, match=r"cannot write .*metrics\.json: No space left"):
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["metrics.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced there")
def test_whoever_reads_the_old_file_keeps_reading_it_whole(tmp_path):
    path = tmp_path / "metrics.json"
    write_text(path, "the old content")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "the old content"
    assert path.read_text() == "new"


def test_an_interrupt_leaves_no_temporary_file(tmp_path):
    def interrupted(file):
        file.write(b"new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", interrupted)
    assert names(tmp_path) == []


@pytest.mark.skipif(
    sys.platform == "win32", reason="no file size limit to stand in for a full disk"
)
def test_a_full_disk_names_the_file_and_keeps_the_last_report(tmp_path, make_cases, run_info):
    write_report(tmp_path, run_info, make_cases())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    script = """
        import resource, signal, sys
        from pathlib import Path
        from draftproof.errors import DraftproofError
        from draftproof.report import load_run, write_report
        directory = Path(sys.argv[1])
        saved = load_run(directory)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            write_report(directory, saved.run, saved.cases)
        except DraftproofError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"cannot write {tmp_path}{os.sep}cases.parquet: ")
    assert "free space, or have it written elsewhere" in done.stdout
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path, make_cases, run_info):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DraftproofError, match=r"cannot make .*file.inner"):
        write_report(tmp_path / "file" / "inner", run_info, make_cases())
    for root in (tmp_path / "file", tmp_path / "file" / "inner"):
        with pytest.raises(DraftproofError, match=r"cannot write .*file"):
            new_report_directory(root, "run", NOW)


def test_raw_facts_are_written_before_anything_is_computed_from_them(
    tmp_path, make_cases, run_info, monkeypatch
):
    def fail(cases):
        raise RuntimeError("a fault in the statistics")

    monkeypatch.setattr("draftproof.report.writing.summarise", fail)
    cases = make_cases()
    with pytest.raises(RuntimeError):
        write_report(tmp_path, run_info, cases)
    assert len(load_run(tmp_path).cases) == len(cases)


def test_of_a_case_that_was_run_again_the_last_counts(tmp_path, make_cases, run_info):
    first, second = make_cases(seed=1), make_cases(seed=2)
    report = write_report(tmp_path, run_info, [*first, second[3]])
    assert len(report.cases) == len(first)
    assert load_run(tmp_path).cases[3].plain == second[3].plain


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("nightly", "20260102-030405-nightly"),
        ("../../etc/é x", "20260102-030405-etc-x"),
        ("", "20260102-030405-run"),
        ("a" * 200, "20260102-030405-" + "a" * 80),
    ],
)
def test_report_folders_are_named_by_time_and_run(tmp_path, name, folder):
    directory = new_report_directory(tmp_path / "reports", name, NOW)
    assert directory == tmp_path / "reports" / folder
    assert directory.is_dir()


def test_report_folders_are_unique(tmp_path):
    made = [new_report_directory(tmp_path, "run", NOW) for _ in range(3)]
    stem = "20260102-030405-run"
    assert [path.name for path in made] == [stem, f"{stem}-2", f"{stem}-3"]


def test_latest_is_relative_so_that_reports_can_be_moved(tmp_path, make_cases, run_info):
    root = tmp_path / "reports"
    directory = new_report_directory(root, "run", NOW)
    write_report(directory, run_info, make_cases())
    point_latest(root, directory)
    root.rename(tmp_path / "moved")
    assert load_run(tmp_path / "moved" / "latest").run == run_info


def test_a_folder_named_latest_is_not_replaced(tmp_path):
    (tmp_path / "latest").mkdir()
    with pytest.raises(DraftproofError, match=r"cannot write .*latest: a folder is in the way"):
        point_latest(tmp_path, tmp_path / "run")
    assert names(tmp_path) == ["latest"]


def test_importing_reports_and_statistics_is_cheap():
    script = (
        "import sys, draftproof.report, draftproof.statistics; "
        "print([name for name in ('torch', 'transformers', 'pyarrow', 'scipy', 'pandas') "
        "if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_writing_and_reading_need_no_torch(tmp_path, make_cases, run_info):
    write_report(tmp_path, run_info, make_cases())
    script = (
        "import sys; from pathlib import Path; "
        "from draftproof.report import load_run, write_report; "
        "saved = load_run(Path(sys.argv[1])); "
        "print(len(write_report(saved.directory, saved.run, saved.cases).terminal_text) > 0, "
        "[name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True []"
