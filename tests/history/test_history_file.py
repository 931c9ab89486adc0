"""The history on disk: many writers, torn lines, copies, and what is not ours."""

from __future__ import annotations

import json
import multiprocessing

import pytest
from history_entries import entry, line

from draftproof.errors import TraceError
from draftproof.history.entry import HistoryEntry
from draftproof.history.file import append, read_history


@pytest.fixture
def file(tmp_path):
    return tmp_path / "storage" / "history.jsonl"


def test_an_entry_is_read_back_as_it_was_written(file):
    runs = line([2.0, 2.1], speedup=1.4)
    for run in runs:
        append(file, run)
    assert read_history([file]).entries == tuple(runs)
    assert read_history([file.parent]).entries == tuple(runs)
    assert read_history([file]).notes == ()
    for text in file.read_text().splitlines():
        assert json.loads(text)["kind"] == "draftproof history"


def test_what_is_not_known_is_null_and_stays_unknown(file):
    unknown = entry(1, 2.0, commit=None, commit_time=None, branch=None, dirty=None, shallow=None)
    append(file, unknown)
    assert json.loads(file.read_text())["provenance"]["commit"] is None
    [found] = read_history([file]).entries
    assert found.provenance.commit is None
    assert found.moment == found.started


def test_a_line_that_a_killed_job_left_is_ended_and_left_out(file):
    first, second, third = line([2.0, 2.1, 2.2])
    append(file, first)
    append(file, second)
    data = file.read_bytes()
    file.write_bytes(data[:-100])
    # Torn at the end, and, once another job has gone on, in the middle.
    assert read_history([file]).entries == (first,)
    assert "1 left out" not in read_history([file]).notes[0]
    assert "a line is left out (line 2: it is not whole)" in read_history([file]).notes[0]
    append(file, third)
    found = read_history([file])
    assert found.entries == (first, third)
    assert "line 2" in found.notes[0]


@pytest.mark.parametrize("cut", range(1, 400, 37))
def test_a_tear_anywhere_costs_its_own_line_alone(file, cut):
    first, second, third = line([2.0, 2.1, 2.2])
    append(file, first)
    begin = file.stat().st_size
    append(file, second)
    file.write_bytes(file.read_bytes()[: begin + cut])
    append(file, third)
    assert read_history([file]).entries == (first, third)


def test_a_figure_that_a_disk_turned_over_is_not_believed(file):
    append(file, entry(1, 2.0))
    append(file, entry(2, 2.5))
    file.write_text(file.read_text().replace("2.5", "2.9"))
    assert [
        run.figures["code"]["block_efficiency"].value for run in read_history([file]).entries
    ] == [2.0]


def test_copies_that_two_jobs_went_on_with_are_read_as_one(file, tmp_path):
    """Of the same artefact: what both have is there once, in whatever order they are given."""
    common, left, right = line([2.0, 2.1, 2.2])
    other = tmp_path / "other.jsonl"
    for path, own in ((file, left), (other, right)):
        append(path, common)
        append(path, own)
    assert {e.key for e in read_history([file, other]).entries} == {
        e.key for e in (common, left, right)
    }
    file.write_text(file.read_text() + other.read_text())
    assert len(read_history([file]).entries) == 3


def test_conflict_marks_of_a_merge_cost_nothing_but_themselves(file):
    runs = line([2.0, 2.1])
    for run in runs:
        append(file, run)
    first, second = file.read_text().splitlines()
    file.write_text(f"<<<<<<< ours\n{first}\n=======\n{second}\n>>>>>>> theirs\n")
    found = read_history([file])
    assert found.entries == tuple(runs)
    assert "3 lines are left out" in found.notes[0]


def test_an_entry_of_a_newer_version_is_said_and_the_rest_is_read(file):
    import zlib

    append(file, entry(1, 2.0))
    values = {"kind": "draftproof history", **entry(2, 2.0).to_json(), "schema_version": 99}
    text = json.dumps(values, separators=(",", ":"))
    newer = f'{text[:-1]},"crc32":{zlib.crc32(text.encode())}}}\n'
    file.write_text(file.read_text() + newer)
    found = read_history([file])
    assert len(found.entries) == 1
    assert "schema version 99" in found.notes[0]


def test_what_is_no_history_is_refused(file, tmp_path):
    with pytest.raises(TraceError, match="there is no history at .*--spec-save NAME begins one"):
        read_history([file])
    other = tmp_path / "notes.txt"
    other.write_text("my notes\n")
    with pytest.raises(TraceError, match="has no entry that can be read"):
        read_history([other])


@pytest.mark.parametrize(
    "change",
    [
        {"started": 5},
        {"figures": {"code": {"block_efficiency": ["x", None, None, 1]}}},
        {"figures": {"code": {"block_efficiency": [1.0]}}},
        {"provenance": {"commit": 5}},
        {"schema_version": None},
    ],
)
def test_a_foreign_value_is_named(change):
    with pytest.raises(TraceError):
        HistoryEntry.from_json({**entry(1, 2.0).to_json(), **change})


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TraceError, match="cannot add this run to the history"):
        append(tmp_path / "file" / "history.jsonl", entry(1, 2.0))


def _write(path, first):
    for number in range(first, first + 25):
        append(path, entry(number, 2.0))


def test_jobs_that_write_at_the_same_time_lose_nothing(file):
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_write, args=(file, 25 * index)) for index in range(4)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    found = read_history([file])
    assert found.notes == ()
    assert len(found.entries) == 100
