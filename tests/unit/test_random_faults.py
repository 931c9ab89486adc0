"""Samples of changes: what is journaled is gone on from, and shares weigh each file."""

import json
from pathlib import Path

import pytest

from draftproof.errors import TraceError
from draftproof.selftest import fault_journal, random_faults
from draftproof.selftest.fault_journal import Examination, read
from draftproof.selftest.kill_rates import kill_rate
from draftproof.selftest.random_faults import (
    Ending,
    Sound,
    examine_again,
    examine_sample,
    summary,
    table,
)
from draftproof.selftest.source_mutants import SourceMutant, every_mutant, sample
from draftproof.statistics.small_samples import share_interval


def found(file, index, ending, source="s"):
    return Examination(
        mutant=SourceMutant(file, index, 9, "1 becomes 2", "a = 1"),
        ending=ending,
        message="",
        seconds=1.0,
        source=source,
    )


@pytest.fixture
def examined(monkeypatch):
    """Every change survives at once; those that were asked for are listed."""
    asked = []

    def verified(command, most_seconds):
        asked.append(command[-1])
        if "draftproof.selftest.noting" in command:
            every = {file: list(range(2000)) for file in {m.file for m in every_mutant()}}
            Path(command[-1]).write_text(json.dumps(every))
        return Ending.SURVIVED, "", 1.0

    monkeypatch.setattr(random_faults, "_verified", verified)
    return asked


def test_a_sample_goes_on_from_its_journal(tmp_path, examined):
    path, told = tmp_path / "changes.jsonl", []
    few = examine_sample(3, 5, path, "draftproof selftest", told.append)
    assert [entry.mutant for entry in few] == sample(every_mutant(), 3, 5)
    assert any("left)" in line for line in told)
    assert len(examined) == 1 + 3
    # The last line is cut off, as where the machine went down.
    path.write_bytes(path.read_bytes()[:-7])
    more = examine_sample(5, 5, path, "draftproof selftest", told.append)
    assert [entry.mutant for entry in more] == sample(every_mutant(), 5, 5)
    # The source as it is need not be verified again, and what is whole in the file neither.
    assert examined[4:] == [entry.mutant.name for entry in more[2:]]
    assert [entry.mutant for entry in read(path).first] == [entry.mutant for entry in more]
    assert len(examine_sample(5, 5, path, "", told.append)) == 5
    assert len(examined) == 4 + 3, "nothing was left to examine"


def test_a_journal_of_another_seed_or_source_is_refused(tmp_path, examined, monkeypatch):
    path = tmp_path / "changes.jsonl"
    examine_sample(1, 5, path, "", print)
    with pytest.raises(TraceError, match="another seed"):
        examine_sample(1, 6, path, "", print)
    monkeypatch.setattr(random_faults, "source_hash", lambda: "edited")
    with pytest.raises(TraceError, match="another source"):
        examine_sample(2, 5, path, "", print)
    path.write_text("[1, 2]\n")
    with pytest.raises(TraceError, match="not a journal of random changes"):
        read(path)
    with pytest.raises(TraceError, match="cannot be read"):
        read(tmp_path)


def test_survivors_are_examined_again_under_their_names(tmp_path, examined, monkeypatch):
    path = tmp_path / "changes.jsonl"
    examine_sample(2, 5, path, "", print)
    monkeypatch.setattr(random_faults, "source_hash", lambda: "edited")
    ends = iter([(Ending.CAUGHT, "self-draft", 1.0), (Ending.SURVIVED, "", 1.0)])
    monkeypatch.setattr(random_faults, "require_sound", lambda: Sound(seconds=1.0))
    monkeypatch.setattr(random_faults, "_verified", lambda *arguments: next(ends))
    again = examine_again(path, print)
    assert [entry.ending for entry in again] == ["caught", "survived"]
    contents = read(path)
    assert [entry.ending for entry in contents.first] == ["survived", "survived"]
    last = [entry.ending for entry in contents.last.values()]
    assert last == ["caught", "survived"]


def test_the_hash_is_of_every_module(tmp_path):
    (tmp_path / "a.py").write_text("1")
    one = fault_journal.source_hash(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.py").write_text("1")
    two = fault_journal.source_hash(tmp_path)
    (tmp_path / "a.py").write_text("2")
    assert len({one, two, fault_journal.source_hash(tmp_path)}) == 3


def test_shares_are_those_of_all_changes_that_the_files_allow():
    """By hand: 1 of 2 changes of a file with 10, and all 3 of one with 90."""
    some = [found("a.py", 0, "caught"), found("a.py", 1, "survived")]
    others = [found("b.py", n, "stopped") for n in range(3)]
    rate = kill_rate([*some, *others], {"a.py": 10, "b.py": 90})
    assert (rate.seen, rate.of) == (4, 5)
    assert rate.share == pytest.approx(0.95)
    assert 0.3 < rate.low < 0.95 < rate.high < 1
    alone = kill_rate(some, {"a.py": 10})
    assert (alone.low, alone.high) == pytest.approx(share_interval(1, 2, 0.95))
    sure = kill_rate(others, {"b.py": 90})
    assert (sure.share, sure.low, sure.high) == pytest.approx((1.0, *share_interval(3, 3, 0.95)))
    none = kill_rate([found("a.py", 0, "survived")], {"a.py": 10})
    assert (none.share, none.low, none.high) == pytest.approx((0.0, *share_interval(0, 1, 0.95)))
    assert kill_rate(some, {"a.py": 10}, equivalent=["a.py:1"]).share == 1.0
    assert kill_rate(some[1:], {"a.py": 10}, equivalent=["a.py:1"]) is None


def test_the_table_counts_by_file_and_names_survivors():
    entries = [found("a.py", 0, "caught"), found("b.py", 7, "survived")]
    text = table(entries, {"a.py": 4, "b.py": 1000})
    assert "| a.py | 4 | 1 | 1 | 0 | 0 | 0 | 1.00 [0.03, 1.00] |" in text
    assert "| all | 1,004 | 2 | 1 | 0 | 0 | 1 | 0.00 [" in text
    assert "- b.py:9: 1 becomes 2 in `a = 1` (`b.py:7`)" in text
    assert summary(entries, {"a.py": 4, "b.py": 1000}, 5).startswith(
        "of 2 changes of the source (seed 5) 1 were caught by a check, 0 ended in an error"
    )


def test_a_change_has_four_times_as_long_as_the_source_itself():
    assert Sound(seconds=100.0).most_seconds == 400.0
    assert Sound(seconds=1.0).most_seconds == 120.0
