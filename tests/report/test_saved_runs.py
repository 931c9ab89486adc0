"""Saved runs: read back bit for bit, small on disk, and refused by name when damaged."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from draftproof.errors import TraceError
from draftproof.journal import Journal
from draftproof.report import JOURNAL_FILE, load_run, point_latest, stored, write_report
from draftproof.report import columns as report_columns
from draftproof.statistics import prompt_sums
from draftproof.trace import (
    NODE_COLUMNS,
    STEP_COLUMNS,
    CaseRecord,
    Counts,
    DecodedOutput,
    Verdict,
    empty_columns,
)

FILES = ("run.json", "cases.parquet", "steps.parquet", "nodes.parquet")
STEPS = [
    "case_id",
    "domain",
    "step",
    "nodes",
    "depth",
    "accepted_length",
    "committed_tokens",
    "root_position",
    "draft_seconds",
    "verify_seconds",
]
NODES = [
    "case_id",
    "domain",
    "step",
    "node",
    "parent",
    "depth",
    "sibling_rank",
    "position",
    "token_id",
    "target_probability",
    "draft_probability",
    "acceptance_probability",
    "overlap",
    "target_entropy",
    "draft_entropy",
    "target_rank",
    "draft_rank",
    "reached",
    "accepted",
]


def odd_cases(cases):
    """The cases, and some with nothing, with odd values and with odd text."""
    nodes = {name: column.copy() for name, column in cases[0].nodes.items()}
    # A NaN with a payload, a negative zero, a subnormal, an infinity: bits must survive.
    bits = np.array([0x7FC0_1234, 0x8000_0000, 1, 0x7F80_0000], np.uint32).view(np.float32)
    nodes["target_probability"][:4] = bits
    nodes["draft_rank"][:] = -1
    return [
        replace(cases[0], nodes=nodes, verdict=Verdict.ALGORITHMIC, message="token 3 | 'é\n☃'"),
        CaseRecord(
            case_id="own/1", domain="own", prompt_tokens=0, verdict=Verdict.ERROR, message="why"
        ),
        *cases[1:],
        CaseRecord(
            case_id="own/2",
            domain="own",
            prompt_tokens=1,
            verdict=Verdict.SAMPLED,
            plain=DecodedOutput(token_ids=(), stop_reason="length", seconds=0.1),
            speculative=DecodedOutput(token_ids=(2**31 - 1,), stop_reason="stop_token", seconds=0),
        ),
    ]


@pytest.mark.parametrize("rows_at_once", [1, 60, 1 << 20])
def test_a_run_comes_back_bit_for_bit(
    tmp_path, make_cases, run_info, same_record, monkeypatch, rows_at_once
):
    monkeypatch.setattr(report_columns, "_ROWS_AT_ONCE", rows_at_once)
    cases = odd_cases(make_cases())
    write_report(tmp_path, run_info, cases)
    saved = load_run(tmp_path)
    assert saved.complete
    assert saved.run == run_info
    assert len(saved.cases) == len(cases)
    assert all(same_record(*pair) for pair in zip(saved.cases, cases, strict=True))


@pytest.fixture
def large(monkeypatch):
    """Treats every run as one that is too large to be read whole, in small row groups."""
    monkeypatch.setattr(report_columns, "_ROWS_AT_ONCE", 60)
    monkeypatch.setattr(report_columns, "_CASES_AT_ONCE", 3)
    monkeypatch.setattr(stored, "WHOLE_ROWS", 0)


@pytest.mark.parametrize("kept", [0, 1 << 28])
def test_a_large_run_comes_back_bit_for_bit(
    tmp_path, make_cases, run_info, same_record, monkeypatch, large, kept
):
    monkeypatch.setattr(stored, "_KEPT_BYTES", kept)
    cases = odd_cases(make_cases())
    write_report(tmp_path, run_info, cases)
    saved = load_run(tmp_path)
    assert all(same_record(*pair) for pair in zip(saved.cases, cases, strict=True))
    # Nobody may write into what other cases are read from.
    with pytest.raises(ValueError, match="read-only"):
        saved.cases[0].nodes["accepted"][0] = True


def test_of_a_large_run_little_is_kept_in_memory(
    tmp_path, make_cases, run_info, monkeypatch, large
):
    monkeypatch.setattr(stored, "_KEPT_BYTES", 1000)
    write_report(tmp_path, run_info, make_cases(prompts=40, steps=20))
    cases = load_run(tmp_path).cases
    table = cases[0].nodes.table
    assert not table._kept
    for case in cases:
        for name in case.nodes:
            case.nodes[name]
        assert sum(column.nbytes for column in table._kept.values()) == table._bytes <= 1000


def test_summing_a_large_run_reads_each_row_group_once(
    tmp_path, make_cases, run_info, monkeypatch, large
):
    # In memory, in the order of ids and in the reverse: the same sums.
    cases = make_cases(prompts=20, steps=10)[::-1]
    write_report(tmp_path, run_info, cases)
    saved = load_run(tmp_path).cases
    reads = []
    whole = stored.StoredTable._read

    def counted(self, group, name):
        reads.append((self.path.name, group, name))
        return whole(self, group, name)

    monkeypatch.setattr(stored.StoredTable, "_read", counted)
    monkeypatch.setattr(stored, "_KEPT_BYTES", 40_000)
    found, expected = prompt_sums(saved), prompt_sums(cases[::-1])
    assert found.case_ids == expected.case_ids
    for name in found.totals:
        np.testing.assert_array_equal(found.totals[name], expected.totals[name])
    for name in found.by_depth:
        np.testing.assert_array_equal(found.by_depth[name], expected.by_depth[name])
    assert len(reads) == len(set(reads)) > 40


def test_a_corrupt_page_of_a_large_run_is_named_when_it_is_read(
    tmp_path, make_cases, run_info, large
):
    write_report(tmp_path, run_info, make_cases(prompts=40, steps=20))
    path = tmp_path / "nodes.parquet"
    group = pq.ParquetFile(path).metadata.row_group(3)
    index = {group.column(i).path_in_schema: i for i in range(group.num_columns)}
    column = group.column(index["target_entropy"])
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 0x10
    path.write_bytes(data)
    cases = load_run(tmp_path).cases
    with pytest.raises(TraceError, match=r"nodes.parquet is corrupt"):
        [case.nodes["target_entropy"] for case in cases]


@pytest.mark.parametrize("cases", [[], [CaseRecord(
    case_id="a", domain="code", prompt_tokens=1, verdict=Verdict.ERROR)]])  # fmt: skip
def test_a_run_without_a_node_comes_back(tmp_path, run_info, same_record, cases):
    write_report(tmp_path, run_info, cases)
    saved = load_run(tmp_path)
    assert all(same_record(*pair) for pair in zip(saved.cases, cases, strict=True))


def test_columns_are_the_documented_ones(tmp_path, make_cases, run_info):
    write_report(tmp_path, run_info, make_cases())
    assert pq.read_schema(tmp_path / "steps.parquet").names == STEPS
    assert pq.read_schema(tmp_path / "nodes.parquet").names == NODES
    for name in FILES[1:]:
        schema = pq.read_schema(tmp_path / name)
        assert schema.metadata[b"draftproof_schema_version"] == b"4"
        assert pa.types.is_dictionary(schema.field("case_id").type)
        assert pa.types.is_dictionary(schema.field("domain").type)
        assert pq.ParquetFile(tmp_path / name).metadata.row_group(0).column(0).compression == "ZSTD"
    tokens = pq.read_schema(tmp_path / "cases.parquet").field("plain_token_ids").type
    assert tokens == pa.list_(pa.int32())


def test_at_most_64_bytes_a_node_on_disk(tmp_path, make_cases, run_info):
    cases = make_cases(prompts=100, steps=40)
    nodes = sum(len(case.nodes["node"]) for case in cases)
    assert nodes >= 50_000
    write_report(tmp_path, run_info, cases)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.parquet"))
    assert size / nodes <= 64
    # Incompressible: five floats, a token. All else has to shrink to next to nothing.
    assert (tmp_path / "nodes.parquet").stat().st_size / nodes <= 32


def test_a_killed_run_is_read_from_its_journal(tmp_path, make_cases, run_info, same_record):
    cases = odd_cases(make_cases())
    with Journal(tmp_path / JOURNAL_FILE, run_info.to_json()) as journal:
        for case in cases:
            journal.append(case)
    whole = load_run(tmp_path)
    assert not whole.complete
    assert whole.run == run_info
    assert all(same_record(*pair) for pair in zip(whole.cases, cases, strict=True))
    path = tmp_path / JOURNAL_FILE
    path.write_bytes(path.read_bytes()[:-100])
    assert [case.case_id for case in load_run(tmp_path).cases] == [c.case_id for c in cases[:-1]]


def test_a_killed_run_of_the_same_settings_is_not_hidden_by_an_earlier_report(
    tmp_path, make_cases, run_info
):
    """It began at another time; only the journal of the report's own run is left aside."""
    cases = make_cases()
    write_report(tmp_path, run_info, cases)
    later = replace(run_info, started="2031-01-01T00:00:00+00:00")
    with Journal(tmp_path / JOURNAL_FILE, later.to_json()) as journal:
        journal.append(cases[0])
    saved = load_run(tmp_path)
    assert (saved.run.started, saved.complete, len(saved.cases)) == (later.started, False, 1)
    (tmp_path / JOURNAL_FILE).unlink()
    with Journal(tmp_path / JOURNAL_FILE, run_info.to_json()) as journal:
        journal.append(cases[0])
    assert load_run(tmp_path).complete


@pytest.mark.parametrize("missing", FILES)
def test_a_report_killed_while_being_written_is_read_from_its_journal(
    tmp_path, make_cases, run_info, missing
):
    cases = make_cases()
    with Journal(tmp_path / JOURNAL_FILE, run_info.to_json()) as journal:
        for case in cases:
            journal.append(case)
    write_report(tmp_path, run_info, cases)
    assert load_run(tmp_path).complete
    (tmp_path / missing).unlink()
    saved = load_run(tmp_path)
    assert not saved.complete
    assert len(saved.cases) == len(cases)


@pytest.mark.parametrize("missing", FILES)
def test_a_missing_file_is_named(tmp_path, make_cases, run_info, missing):
    write_report(tmp_path, run_info, make_cases())
    (tmp_path / missing).unlink()
    with pytest.raises(TraceError, match=missing):
        load_run(tmp_path)


def test_no_folder_at_all_is_an_error(tmp_path):
    with pytest.raises(TraceError, match=r"there is no report at .*nowhere"):
        load_run(tmp_path / "nowhere")


@pytest.mark.parametrize("damaged", FILES)
@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "flipped"])
def test_a_corrupt_file_is_named(tmp_path, make_cases, run_info, damaged, damage):
    write_report(tmp_path, run_info, make_cases())
    path = tmp_path / damaged
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = bytearray()
    elif damage == "foreign":
        data = bytearray(b"\xff\xfe something else")
    else:
        data[:200] = bytes(byte ^ 0x5A for byte in data[:200])
    path.write_bytes(data)
    with pytest.raises(TraceError, match=damaged):
        load_run(tmp_path)


@pytest.mark.parametrize("damaged", FILES[1:])
@pytest.mark.parametrize("place", [0.1, 0.3, 0.5])
def test_one_changed_byte_of_data_is_noticed(tmp_path, make_cases, run_info, damaged, place):
    cases = make_cases(prompts=40, steps=20)
    write_report(tmp_path, run_info, cases)
    path = tmp_path / damaged
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(TraceError, match=damaged):
        load_run(tmp_path)


def rewrite(path, change):
    table = pq.read_table(path)
    pq.write_table(change(table), path)


def with_version(table, version):
    return table.replace_schema_metadata({b"draftproof_schema_version": version})


@pytest.mark.parametrize("name", FILES[1:])
def test_newer_and_foreign_parquet_files_are_refused(tmp_path, make_cases, run_info, name):
    write_report(tmp_path, run_info, make_cases())
    rewrite(tmp_path / name, lambda table: with_version(table, b"5"))
    with pytest.raises(TraceError, match=rf"{name} has schema version 5.*install a newer one"):
        load_run(tmp_path)
    rewrite(tmp_path / name, lambda table: table.replace_schema_metadata(None))
    with pytest.raises(TraceError, match=rf"{name} was not written by draftproof"):
        load_run(tmp_path)
    rewrite(tmp_path / name, lambda table: with_version(table.drop_columns(["domain"]), b"1"))
    with pytest.raises(TraceError, match=rf"{name} is corrupt or of another run .its columns"):
        load_run(tmp_path)


def test_a_newer_run_description_is_refused(tmp_path, make_cases, run_info):
    write_report(tmp_path, run_info, make_cases())
    path = tmp_path / "run.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "schema_version": 5}))
    with pytest.raises(TraceError, match=r"run.json has schema version 5"):
        load_run(tmp_path)


@pytest.mark.parametrize("name", ["steps.parquet", "nodes.parquet"])
def test_files_of_two_runs_are_not_mixed(tmp_path, make_cases, run_info, name):
    write_report(tmp_path / "one", run_info, make_cases(prompts=8))
    write_report(tmp_path / "other", run_info, make_cases(prompts=8, steps=6))
    (tmp_path / "one" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(TraceError, match=rf"{name} is corrupt or of another run"):
        load_run(tmp_path / "one")


@pytest.mark.parametrize("name", ["steps.parquet", "nodes.parquet"])
def test_files_without_their_rows_are_refused(tmp_path, make_cases, run_info, name):
    write_report(tmp_path, run_info, make_cases())
    rewrite(tmp_path / name, lambda table: table.slice(0, 0))
    with pytest.raises(TraceError, match=rf"{name} is corrupt or of another run \(0 rows"):
        load_run(tmp_path)


def test_sorted_rows_are_refused_not_given_to_the_wrong_case(tmp_path, make_cases, run_info):
    write_report(tmp_path, run_info, make_cases())
    rewrite(tmp_path / "nodes.parquet", lambda table: table.take(list(range(len(table)))[::-1]))
    with pytest.raises(TraceError, match="not in the order of cases"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": None}, "no 'name'"),
        ({"config": []}, "'config' is not a dict"),
        ({"models": {"target": "x"}}, "'models'"),
        ({"extra": 1}, "unknown field 'extra'"),
    ],
)
def test_a_run_description_with_other_fields_is_refused(tmp_path, run_info, change, problem):
    values = {**run_info.to_json(), **change}
    values = {name: value for name, value in values.items() if value is not None}
    with pytest.raises(TraceError, match=problem):
        type(run_info).from_json(values)


def test_a_run_description_survives_json(run_info):
    text = json.dumps(run_info.to_json(), allow_nan=False)
    assert type(run_info).from_json(json.loads(text)) == run_info


@pytest.mark.parametrize("symlinks", [True, False])
def test_latest_leads_to_the_report(tmp_path, make_cases, run_info, monkeypatch, symlinks):
    if not symlinks:

        def refuse(*args, **kwargs):
            raise OSError("no symbolic links here")

        monkeypatch.setattr("os.symlink", refuse)
    for name in ("one", "two"):
        write_report(tmp_path / name, replace(run_info, name=name), make_cases())
        pointer = point_latest(tmp_path, tmp_path / name)
        assert pointer.is_symlink() is symlinks
        assert load_run(tmp_path / "latest").run.name == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "one", "two"]


def test_when_tokens_arrived_is_kept(tmp_path, make_cases, run_info):
    arrivals = ((0.125, 1), (0.25, 3), (0.25, 2))
    case = make_cases()[0]
    streamed = replace(case, speculative=replace(case.speculative, arrivals=arrivals))
    write_report(tmp_path, run_info, [streamed])
    [found] = load_run(tmp_path).cases
    assert found.speculative.arrivals == arrivals
    assert found.plain.arrivals is None
    again = CaseRecord.from_json(json.loads(json.dumps(streamed.to_json())))
    assert again.speculative.arrivals == arrivals
    assert "| speculative | time to first token, ms | 125.0" in (tmp_path / "summary.md").read_text(
        encoding="utf-8"
    )


def test_what_a_servers_clock_says_is_kept(tmp_path, make_cases, run_info):
    case = make_cases()[0]
    told = replace(
        case,
        plain=replace(case.plain, server_seconds=(0.5, 2.0)),
        speculative=replace(case.speculative, server_seconds=(math.nan, 1.5)),
    )
    write_report(tmp_path, run_info, [told, make_cases()[1]])
    found, other = load_run(tmp_path).cases
    again = CaseRecord.from_json(json.loads(json.dumps(told.to_json())))
    for record in (found, again):
        assert record.plain.server_seconds == (0.5, 2.0)
        assert str(record.speculative.server_seconds) == "(nan, 1.5)"
    assert other.plain.server_seconds is None


def as_version_1(directory):
    """Rewrite a report as schema version 1 would have: without what version 2 added."""
    added = {
        "cases.parquet": [
            "forks",
            "contradictions",
            "counts",
            "plain_score",
            "speculative_score",
            "plain_untold_seconds",
            "speculative_untold_seconds",
            "plain_engine",
            "speculative_engine",
            "plain_verdict",
            "plain_arrivals",
            "speculative_arrivals",
            "plain_length",
            "speculative_length",
            "plain_server_seconds",
            "speculative_server_seconds",
        ],
        "nodes.parquet": ["overlap"],
    }
    for name in FILES[1:]:
        drop = added.get(name, [])
        rewrite(directory / name, lambda t, drop=drop: with_version(t.drop_columns(drop), b"1"))
    path = directory / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 1}))


def test_a_report_of_schema_version_1_is_read(tmp_path, make_cases, run_info, same_record):
    cases = make_cases()
    write_report(tmp_path, run_info, cases)
    as_version_1(tmp_path)
    for found, written in zip(load_run(tmp_path).cases, cases, strict=True):
        assert np.isnan(found.nodes["overlap"]).all()
        unknown = {**written.nodes, "overlap": found.nodes["overlap"]}
        assert same_record(found, replace(written, nodes=unknown))


def counting_cases(cases, counts):
    """The cases as of an engine that tells its counters and no steps."""
    nothing = {"steps": empty_columns(STEP_COLUMNS), "nodes": empty_columns(NODE_COLUMNS)}
    return [replace(case, counts=counts, **nothing) for case in cases]


def test_counts_survive_a_report_and_a_journal_line(tmp_path, make_cases, run_info):
    told = Counts(drafted=9, accepted=4, drafted_steps=3, longest_draft=3, lengths=(1, 0, 2))
    cases = counting_cases(make_cases(), told)
    cases[0] = replace(cases[0], counts=None)
    write_report(tmp_path, run_info, cases)
    assert [case.counts for case in load_run(tmp_path).cases] == [case.counts for case in cases]
    assert CaseRecord.from_json(json.loads(json.dumps(cases[1].to_json()))).counts == told


def test_counts_of_schema_version_2_are_read_as_steps_with_a_draft(tmp_path, make_cases, run_info):
    """Which the one number of them was cannot be known; the steps are never fewer."""
    cases = counting_cases(make_cases(), Counts(drafted=9, accepted=4, drafted_steps=3))
    cases[0] = replace(cases[0], counts=None)
    write_report(tmp_path, run_info, cases)
    old = pa.struct([("steps", pa.int64()), ("drafted", pa.int64()), ("accepted", pa.int64())])

    def as_version_2(table):
        index = table.schema.get_field_index("counts")
        column = table.column("counts").to_pylist()
        values = [c and {**{n: c[n] for n in ("drafted", "accepted")}, "steps": 3} for c in column]
        return with_version(table.set_column(index, "counts", pa.array(values, old)), b"2")

    rewrite(tmp_path / "cases.parquet", as_version_2)
    for name in ("steps.parquet", "nodes.parquet"):
        rewrite(tmp_path / name, lambda table: with_version(table, b"2"))
    assert [case.counts for case in load_run(tmp_path).cases] == [case.counts for case in cases]
    line = json.loads(json.dumps(cases[1].to_json()))
    line["counts"] = {"steps": 3, "drafted": 9, "accepted": 4}
    assert CaseRecord.from_json(line).counts == cases[1].counts


def test_a_journal_line_of_schema_version_1_is_read(make_cases):
    values = make_cases()[0].to_json()
    del values["forks"], values["contradictions"], values["nodes"]["overlap"]
    values["verdict"] = "different"
    found = CaseRecord.from_json(values)
    assert found.verdict is Verdict.ALGORITHMIC
    assert np.isnan(found.nodes["overlap"]).all()
    assert len(found.nodes["overlap"]) == len(found.nodes["node"])
    del values["nodes"]["depth"]
    with pytest.raises(TraceError, match="not those of the schema"):
        CaseRecord.from_json(values)
