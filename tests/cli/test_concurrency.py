"""draftproof concurrency: runs beside each other by their requests in flight."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from study_traces import study_run

from draftproof.cli import main
from draftproof.report import write_report
from draftproof.report.concurrency_table import LoadedRun
from draftproof.statistics import Resampling, summarise


def run(capsys, *words):
    code = main(["concurrency", *(str(word) for word in words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def arrived(case, gap):
    """The case, of which every token but the first came after the same time."""
    pieces = tuple((0.5 + gap * n, 1) for n in range(len(case.speculative.token_ids)))
    return replace(
        case,
        speculative=replace(case.speculative, arrivals=pieces, seconds=pieces[-1][0]),
        plain=replace(case.plain, arrivals=None),
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory, run_info):
    """Runs with 8 and with 1 request in flight, in this order; waits are longer in the first."""
    found = []
    for in_flight, gap in ((8, 0.25), (1, 0.125)):
        directory = tmp_path_factory.mktemp("loads") / f"run-{in_flight}"
        config = {**run_info.config, "concurrency": in_flight}
        info = replace(run_info, name=f"at {in_flight}", config=config)
        cases = [arrived(case, gap) for case in study_run(prompts=3, steps=4)]
        write_report(directory, info, cases)
        found.append(directory)
    return found


def test_rows_are_in_the_order_of_requests_in_flight(capsys, folders):
    code, out, err = run(capsys, *folders)
    assert (code, err) == (0, "")
    first = [line.split() for line in out.splitlines() if line.strip()[:2] in ("1 ", "8 ")]
    assert [words[0] for words in first][:2] == ["1", "8"]
    waits = [line for line in out.splitlines() if "inter-token latency, ms" in line]
    assert [line.split()[0] for line in waits] == ["1", "8"]
    assert "125.0" in waits[0]
    assert "250.0" in waits[1]
    assert "differs from" not in out


def test_json_and_markdown_hold_the_same(capsys, folders):
    code, out, _ = run(capsys, *folders, "--json")
    found = json.loads(out)
    assert code == 0
    assert [one["in_flight"] for one in found["runs"]] == [1, 8]
    first = found["runs"][0]
    assert first["cases"] == sum(first["verdicts"].values()) == 12
    assert first["latency"]["speculative"]["inter_token"]["p50"] == 0.125
    low, value, high = (
        first["metrics"]["acceptance_rate_drafted"][key] for key in ("low", "value", "high")
    )
    assert low <= value <= high
    code, out, _ = run(capsys, *folders, "--markdown")
    assert "| in flight |" in out
    assert f"{value:.3f}"[1:] in out


def test_runs_that_differ_in_more_than_the_load_are_named(capsys, folders, tmp_path, run_info):
    other = tmp_path / "other"
    info = replace(run_info, name="another", config={**run_info.config, "seed": 8})
    write_report(other, info, study_run(prompts=3, steps=4))
    _, out, _ = run(capsys, folders[1], other)
    assert "another differs from at 1 in more than the load: seed" in out
    _, out, _ = run(capsys, other)
    assert "No run was told when its tokens arrived" in out
    code, _, err = run(capsys, tmp_path / "nothing")
    assert code == 4
    assert "nothing" in err


def test_of_a_run_in_batches_the_prompts_at_once_are_its_load(run_info):
    cases = study_run(prompts=2, steps=3)
    models = {"engine": {"prompts at once": 5}}
    loaded = LoadedRun(
        run=replace(run_info, models=models), summary=summarise(cases, Resampling()), cases=cases
    )
    assert loaded.in_flight == 5
