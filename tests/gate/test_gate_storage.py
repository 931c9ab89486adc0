"""Baselines on disk: whole, small, and refused where they are not what they should be."""

import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from draftproof.errors import DraftproofError, TraceError, UsageError
from draftproof.gate import Storage, compare
from draftproof.report import load_run, write_report
from draftproof.statistics.sums import TOTALS


@pytest.fixture
def storage(tmp_path):
    return Storage(tmp_path / "baselines")


def test_a_baseline_comes_back_as_it_was(storage, earlier):
    path = storage.save("main", earlier, traces=False)
    found = storage.load("main")
    assert path.name == "main.json"
    assert (found.name, found.case_ids, found.domains) == (
        "main",
        earlier.case_ids,
        earlier.domains,
    )
    assert found.run == earlier.run
    for name, column in earlier.totals.items():
        assert np.array_equal(found.totals[name], column), name
    for name, column in earlier.seconds.items():
        assert np.array_equal(found.seconds[name], column, equal_nan=True), name
    for case_id, facts in earlier.steps.items():
        assert np.array_equal(found.steps[case_id].rows, facts.rows)
    assert found.traces == {}
    assert storage.names() == ["main"]


def test_a_baseline_is_small(storage, earlier):
    """A few bytes a step and a few hundred a prompt; the traces take 60 bytes a node."""
    path = storage.save("main", earlier, traces=False)
    steps = sum(len(facts.rows) for facts in earlier.steps.values())
    assert path.stat().st_size < 40 * steps + 600 * len(earlier.case_ids) + 2000


def test_traces_are_kept_where_they_are_asked_for(storage, earlier, same_trace):
    storage.save("main", earlier, traces=True)
    found = storage.load("main")
    assert found.traces.keys() == earlier.traces.keys()
    assert all(same_trace(found.traces[key], earlier.traces[key]) for key in found.traces)
    assert compare(found, earlier).identical


@pytest.fixture
def same_trace():
    def same(found, expected):
        return all(
            np.array_equal(found.nodes[name], expected.nodes[name], equal_nan=True)
            for name in expected.nodes
            if expected.nodes[name].dtype.kind != "b"
        )

    return same


def test_saving_again_replaces(storage, earlier):
    storage.save("main", earlier, traces=False)
    less = replace(earlier, run=replace(earlier.run, name="second"))
    storage.save("main", less, traces=False)
    assert storage.load("main").run.name == "second"
    assert [path.name for path in storage.folder.iterdir()] == ["main.json"]


def test_a_path_or_a_reports_folder_will_do(storage, earlier, cases, tmp_path):
    path = storage.save("main", earlier, traces=False)
    assert Storage(tmp_path / "none").load(str(path)).case_ids == earlier.case_ids
    write_report(tmp_path / "report", earlier.run, cases)
    found = storage.load(str(tmp_path / "report"))
    assert sorted(found.case_ids) == sorted(earlier.case_ids)
    assert found.traces


def test_a_missing_baseline_names_the_nearest(storage, earlier):
    with pytest.raises(TraceError, match=r"no baseline 'mian'.*has none"):
        storage.load("mian")
    storage.save("main", earlier, traces=False)
    with pytest.raises(TraceError, match=r"did you mean 'main'\?.*has main.*--spec-save mian"):
        storage.load("mian")


@pytest.mark.parametrize("name", ["", "a/b", "../main", ".hidden", "a b"])
def test_a_name_that_is_no_file_name_is_refused(storage, earlier, name):
    with pytest.raises(UsageError, match="is not a name"):
        storage.save(name, earlier, traces=False)


def _newer(values):
    values["schema_version"] = 99


def _foreign(values):
    values["kind"] = "something else"


def _lacks_a_column(values):
    del values["totals"]["accepted"]


def _short_column(values):
    values["totals"]["accepted"].pop()


def _torn_steps(values):
    first = next(iter(values["steps"]))
    values["steps"][first] = values["steps"][first][:-8]


def _twice(values):
    values["case_ids"][1] = values["case_ids"][0]


def _no_run(values):
    values["run"] = {"name": 3}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_newer, "has schema version 99, and this draftproof reads up to 3"),
        (_foreign, "is not a baseline"),
        (_lacks_a_column, "is corrupt"),
        (_short_column, "is corrupt"),
        (_torn_steps, "is corrupt"),
        (_twice, "is corrupt"),
        (_no_run, "the description of a run"),
    ],
)
def test_a_baseline_that_is_not_whole_is_refused_in_one_line(storage, earlier, harm, message):
    path = storage.save("main", earlier, traces=False)
    values = json.loads(path.read_text())
    harm(values)
    path.write_text(json.dumps(values))
    with pytest.raises(TraceError) as refusal:
        storage.load("main")
    assert message in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_half_a_file_is_refused(storage, earlier):
    path = storage.save("main", earlier, traces=False)
    path.write_text(path.read_text()[:1000])
    with pytest.raises(TraceError, match="is corrupt.*save the baseline again"):
        storage.load("main")


def test_a_folder_that_cannot_be_made_says_so(tmp_path, earlier):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DraftproofError, match="--spec-storage"):
        Storage(tmp_path / "file" / "below").save("main", earlier, traces=False)


def test_steps_of_a_baseline_of_version_1_are_all_of_them(storage, earlier):
    """Of an engine that told its counters alone they were those with a draft: 47 − 12, not 14."""
    path = storage.save("main", earlier, traces=False)
    values = json.loads(path.read_text())
    totals = values["totals"]
    told = list(totals["steps"])
    totals["steps"][0], totals["accepted"][0], totals["committed_tokens"][0] = 14, 12, 47
    values["schema_version"] = 1
    path.write_text(json.dumps(values))
    # Where the steps were told, they stay what they are.
    assert storage.load("main").totals["steps"].tolist() == [35, *told[1:]]


def test_a_baseline_of_an_older_version_is_ordered_when_it_is_read(storage, earlier):
    """Cases stood in the order in which they ended, and errors had no domain."""
    path = storage.save("main", earlier, traces=False)
    values = json.loads(path.read_text())
    order = np.random.default_rng(0).permutation(len(values["case_ids"]))
    for name in ("case_ids", "domains"):
        values[name] = [values[name][row] for row in order]
    for name in ("totals", "seconds"):
        values[name] = {
            total: [column[row] for row in order] for total, column in values[name].items()
        }
    values["errors"] = ["chat/lost"]
    values["schema_version"] = 2
    path.write_text(json.dumps(values))
    read = storage.load("main")
    assert read.case_ids == earlier.case_ids
    assert read.domains == earlier.domains
    for name in TOTALS:
        assert np.array_equal(read.totals[name], earlier.totals[name], equal_nan=True)
    assert read.errors == {"chat/lost": ""}


def _files(storage):
    return sorted(path.name for path in storage.folder.rglob("*"))


@pytest.mark.parametrize("failing", range(12))
def test_a_disk_that_is_full_at_any_write_leaves_the_old_baseline_whole(
    storage, earlier, monkeypatch, failing
):
    """Its traces too: half of them new would be compared with as if they were the old run's."""
    storage.save("main", earlier, traces=True)
    less = replace(earlier, run=replace(earlier.run, name="second"))
    files = _files(storage)
    left = [failing]
    fsync = os.fsync

    def full(descriptor):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    if failing < WRITES:
        told = "No space left.*give another --spec-storage; the earlier baseline main is as it was"
        with pytest.raises(DraftproofError, match=told):
            storage.save("main", less, traces=True)
        assert _files(storage) == files
    else:
        storage.save("main", less, traces=True)
        assert len(_files(storage)) == len(files)
    found = storage.load("main")
    assert found.run.name == ("second" if failing >= WRITES else earlier.run.name)
    assert load_run(*storage.folder.glob("main-*/")).run.name == found.run.name
    assert found.traces


WRITES = 8
"""Files of a baseline with its traces."""


def test_a_baseline_of_an_earlier_version_finds_its_traces(storage, earlier):
    path = storage.save("main", earlier, traces=True)
    (folder,) = storage.folder.glob("main-*")
    folder.rename(storage.folder / "main")
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "traces": True}))
    assert storage.load("main").traces
    storage.save("main", earlier, traces=False)
    assert _files(storage) == ["main.json"]
    assert storage.load("main").traces == {}


@pytest.mark.parametrize("named", ["../elsewhere", "/etc", "", ".", 3, None])
def test_no_baseline_leads_out_of_its_folder(storage, earlier, named):
    path = storage.save("main", earlier, traces=False)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "traces": named}))
    assert storage.load("main").traces == {}
    storage.save("main", earlier, traces=False)
