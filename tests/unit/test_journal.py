import json
import resource
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.errors import TraceError
from draftproof.journal import Journal, read_journal, was_begun
from draftproof.trace import (
    NODE_COLUMNS,
    STEP_COLUMNS,
    CaseRecord,
    DecodedOutput,
    Verdict,
    columns_from,
)

RUN = {"fingerprint": "abc", "name": "test"}


def record(case_id="code/0", nodes=3, **fields):
    rng = np.random.default_rng(len(case_id) + nodes)
    output = DecodedOutput(token_ids=(1, 2, 3), stop_reason="length", seconds=0.25)
    return CaseRecord(
        case_id=case_id,
        domain="code",
        prompt_tokens=7,
        verdict=Verdict.IDENTICAL,
        plain=output,
        speculative=output,
        steps=columns_from(STEP_COLUMNS, {name: rng.integers(0, 9, 2) for name in STEP_COLUMNS}),
        nodes=columns_from(NODE_COLUMNS, {name: rng.random(nodes) * 7 for name in NODE_COLUMNS}),
        draws={"accept": 4},
        **fields,
    )


def assert_same(ours, theirs):
    assert ours.to_json() == theirs.to_json()


@given(st.integers(0, 20), st.text(max_size=10))
def test_a_record_survives_json_bit_for_bit(nodes, message):
    original = record(nodes=nodes, message=message)
    copy = CaseRecord.from_json(json.loads(json.dumps(original.to_json())))
    for name in NODE_COLUMNS:
        np.testing.assert_array_equal(copy.nodes[name], original.nodes[name])
        assert copy.nodes[name].dtype == original.nodes[name].dtype
    assert_same(copy, original)


def test_nan_survives(tmp_path):
    values = {name: [0] for name in NODE_COLUMNS} | {"draft_probability": [np.nan]}
    original = CaseRecord(
        case_id="a",
        domain="code",
        prompt_tokens=1,
        verdict=Verdict.SAMPLED,
        nodes=columns_from(NODE_COLUMNS, values),
    )
    with Journal(tmp_path / "j", RUN) as journal:
        journal.append(original)
    [copy] = read_journal(tmp_path / "j").cases
    assert np.isnan(copy.nodes["draft_probability"][0])


def write(path, *records, run=RUN):
    with Journal(path, run) as journal:
        for each in records:
            journal.append(each)
        return journal.finished


def test_cases_come_back_in_order_and_a_repeated_case_counts_once(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, record("a"), record("b"), record("a", nodes=9))
    contents = read_journal(path)
    assert contents.run == RUN
    assert [case.case_id for case in contents.cases] == ["a", "b"]
    assert len(contents.cases[0].nodes["node"]) == 9
    assert not contents.torn


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_killed_run_loses_only_the_case_in_flight(tmp_path, cut):
    path = tmp_path / "journal.jsonl"
    write(path, record("a"), record("b"), record("c"))
    path.write_bytes(path.read_bytes()[:-cut])
    contents = read_journal(path)
    assert [case.case_id for case in contents.cases] == ["a", "b"]
    assert contents.torn
    assert [case.case_id for case in write(path, record("c"))] == ["a", "b"]
    assert [case.case_id for case in read_journal(path).cases] == ["a", "b", "c"]


@given(st.data())
def test_no_bit_that_turns_over_is_read_as_another_figure(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    write(path, record("a"), record("b", message="é"))
    whole, content = read_journal(path), bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = read_journal(path)
    except TraceError:
        return
    # The end of the last line alone may be lost, and with it the last case.
    assert found.torn
    assert place == len(content) - 1
    assert [case.to_json() for case in found.cases] == [whole.cases[0].to_json()]


def test_a_journal_of_an_earlier_version_is_read_and_gone_on_with(tmp_path):
    path = tmp_path / "journal.jsonl"
    header = {"kind": "draftproof journal", "schema_version": 1, "run": RUN}
    lines = [json.dumps(header), json.dumps(record("a").to_json())]
    path.write_text("".join(f"{line}\n" for line in lines))
    assert [case.case_id for case in write(path, record("b"))] == ["a"]
    assert [case.case_id for case in read_journal(path).cases] == ["a", "b"]


@pytest.mark.parametrize("cut", [0, 1, 14, 40])
def test_a_journal_that_was_killed_before_its_first_line_is_begun_anew(tmp_path, cut):
    path = tmp_path / "journal.jsonl"
    write(path)
    path.write_bytes(path.read_bytes()[:cut])
    assert not was_begun(path)
    assert write(path, record("a")) == ()
    assert [case.case_id for case in read_journal(path).cases] == ["a"]


def test_an_odd_header_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    for header in ({"schema_version": "x", "run": {}}, {"schema_version": 1}, {"run": {}}):
        path.write_text(json.dumps({"kind": "draftproof journal", **header}) + "\n")
        with pytest.raises(TraceError, match="line 1 is corrupt: a header without"):
            read_journal(path)


def test_a_journal_of_another_run_is_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, record("a"))
    before = path.read_bytes()
    with pytest.raises(TraceError, match="journal of another run"):
        Journal(path, {"fingerprint": "xyz"})
    assert path.read_bytes() == before


def test_a_run_that_grew_has_the_cases_of_the_smaller_one_and_says_what_it_is_now(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, record("a"))
    before = path.read_bytes()
    grown = {"fingerprint": "xyz"}
    with Journal(path, grown, grown_from=RUN["fingerprint"]) as journal:
        assert [case.case_id for case in journal.finished] == ["a"]
        journal.append(record("b"))
    assert path.read_bytes().startswith(before)
    contents = read_journal(path)
    assert contents.run == grown
    assert [case.case_id for case in contents.cases] == ["a", "b"]
    lines = path.read_bytes().count(b"\n")
    with Journal(path, grown, grown_from=RUN["fingerprint"]) as journal:
        assert len(journal.finished) == 2
    assert path.read_bytes().count(b"\n") == lines
    with pytest.raises(TraceError, match="journal of another run"):
        Journal(path, RUN)


def test_a_journal_without_a_fingerprint_is_no_smaller_run(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, record("a"), run={"name": "old"})
    with pytest.raises(TraceError, match="journal of another run"):
        Journal(path, RUN)


def test_corruption_before_the_last_line_is_named(tmp_path):
    path = tmp_path / "journal.jsonl"
    write(path, record("a"), record("b"))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:50] + "\n" + lines[2])
    with pytest.raises(TraceError, match="line 2 is corrupt"):
        read_journal(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a draftproof journal"),
        ("{}\n", "not a draftproof journal"),
        ("hello\n", "line 1 is corrupt"),
        ('{"kind": "draftproof journal", "schema_version": 99, "run": {}}\n', "install a newer"),
        (
            '{"kind": "draftproof journal", "schema_version": 1, "run": {}}\n{"a": 1}\n',
            "line 2: not a case record",
        ),
    ],
)
def test_foreign_files_are_refused(tmp_path, content, message):
    path = tmp_path / "journal.jsonl"
    path.write_text(content)
    with pytest.raises(TraceError, match=message):
        read_journal(path)


def test_a_missing_journal_is_named(tmp_path):
    with pytest.raises(TraceError, match="cannot read the journal"):
        read_journal(tmp_path / "none.jsonl")


def test_columns_must_be_the_schemas():
    with pytest.raises(TraceError, match="differ in length"):
        columns_from(STEP_COLUMNS, {name: [0] * (name == "step") for name in STEP_COLUMNS})
    with pytest.raises(TraceError, match="not those of the schema"):
        columns_from(STEP_COLUMNS, {"step": [0]})


@pytest.mark.parametrize("room", [0, 1, 60, 200])
def test_a_disk_that_is_full_leaves_a_whole_journal(tmp_path, room):
    """The kernel writes what fits of a line, and refuses the rest."""
    path = tmp_path / "journal.jsonl"
    with Journal(path, RUN) as journal:
        journal.append(record("code/0"))
        whole = path.read_bytes()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + room, before[1]))
        try:
            with pytest.raises(TraceError, match=r"cannot write the journal .* Free space"):
                journal.append(record("code/1"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert path.read_bytes() == whole
        journal.append(record("code/2"))
    assert [case.case_id for case in read_journal(path).cases] == ["code/0", "code/2"]


@pytest.mark.parametrize("field", ["seconds", "untold_seconds"])
def test_no_number_that_json_lacks_is_written(tmp_path, field):
    """Seconds that are not told are NaN, and null in JSON; an infinity is nothing there."""
    path = tmp_path / "journal.jsonl"
    numbers = {"seconds": 1.0, field: float("inf")}
    output = DecodedOutput(token_ids=(1,), stop_reason="length", **numbers)
    odd = CaseRecord(
        case_id="x", domain="code", prompt_tokens=1, verdict=Verdict.IDENTICAL, plain=output
    )
    with Journal(path, RUN) as journal:
        with pytest.raises(TraceError, match="not JSON compliant"):
            journal.append(odd)
        journal.append(record())
    assert len(read_journal(path).cases) == 1


@pytest.mark.parametrize("content", ["mine, without a line's end", '{"kind":"another journal"'])
def test_a_file_of_somebody_elses_is_not_overwritten(tmp_path, content):
    """Though it has no whole line, as a journal that was killed at its beginning has none."""
    path = tmp_path / "journal.jsonl"
    path.write_text(content)
    assert was_begun(path)
    with pytest.raises(TraceError):
        Journal(path, RUN)
    assert path.read_text() == content


def test_the_header_of_a_run_that_grew_is_checked_too(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path, RUN) as journal:
        journal.append(record())
    with Journal(path, {"fingerprint": "def", "limit": 50}, grown_from="abc"):
        pass
    assert read_journal(path).run["limit"] == 50
    path.write_text(path.read_text().replace('"limit":50', '"limit":70'))
    with pytest.raises(TraceError, match="line 3 is not what was written: its checksum differs"):
        read_journal(path)


def test_every_line_is_on_the_disk_before_the_next(tmp_path, monkeypatch):
    """What the system has written is not lost with its power."""
    path, synced = tmp_path / "journal.jsonl", []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(path.stat().st_size))
    with Journal(path, RUN) as journal:
        for number in range(2):
            journal.append(record(f"code/{number}"))
            assert synced[-1] == path.stat().st_size
    assert len(set(synced)) == 3
