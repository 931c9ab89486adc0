"""draftproof compare: what it prints, its exit codes, and how it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from study_traces import study_run

from draftproof.cli import main
from draftproof.errors import INCONCLUSIVE_EXIT_CODE
from draftproof.gate import Storage, measured_run
from draftproof.report import write_report


def run(capsys, *words):
    code = main(["compare", *(str(word) for word in words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def folders(tmp_path_factory, run_info):
    """Two reports, the later of which accepts a little less, and a storage with the earlier one."""
    root = tmp_path_factory.mktemp("compare")
    cases = study_run(prompts=8, steps=6)
    worse = []
    for number, case in enumerate(cases):
        lengths = case.steps["accepted_length"].copy()
        lengths[number % 3 :: 2] = 0
        worse.append(replace(case, steps={**case.steps, "accepted_length": lengths}))
    write_report(root / "before", run_info, cases)
    write_report(root / "worse", run_info, worse)
    write_report(root / "other", replace(run_info, config={**run_info.config, "seed": 9}), cases)
    Storage(root / "baselines").save("main", measured_run("main", run_info, cases), traces=False)
    return root


def test_a_gate_that_fails_is_exit_code_1(capsys, folders):
    gate = "--fail=accepted_length@overall:-1%"
    code, out, err = run(capsys, folders / "before", folders / "worse", gate)
    assert (code, err) == (1, "")
    assert out.startswith("GATE FAILED: worse against before, 32 cases, paired by prompt")
    assert "First difference: synthetic/" in out


def test_a_gate_that_passes_is_exit_code_0(capsys, folders):
    code, out, _ = run(capsys, folders / "before", folders / "before", "--fail=identical")
    assert code == 0
    assert "GATE PASSED" in out


def test_a_gate_that_is_inconclusive_has_an_exit_code_of_its_own(capsys, folders):
    """A fall of about the margin."""
    gate = "--fail=accepted_length@overall:-60%"
    words = [folders / "before", folders / "worse", gate, "--alpha=0.001"]
    code, out, _ = run(capsys, *words)
    assert code == INCONCLUSIVE_EXIT_CODE == 7
    assert code not in set(pytest.ExitCode)
    assert "prompts would decide" in out


def test_a_baseline_is_found_by_name(capsys, folders):
    words = ["main", folders / "worse", "--storage", folders / "baselines"]
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert out.startswith("COMPARISON: worse against main")


def test_one_run_is_judged_by_its_own_figures(capsys, folders):
    code, out, err = run(capsys, folders / "before", "--fail=accepted_length@overall:>=9")
    assert (code, err) == (1, "")
    assert out.startswith("GATE FAILED: before, 32 cases\n")
    code, out, _ = run(
        capsys, "main", "--storage", folders / "baselines", "--fail=accepted_length@overall:<=9",
        "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["outcome"] == "pass"


def test_a_gate_without_a_verdict_is_not_a_pass(capsys, folders):
    """The only gate is on equality, and the runs need not be equal."""
    words = [folders / "before", folders / "other", "--anyway", "--fail=identical"]
    code, out, _ = run(capsys, *words)
    assert code == INCONCLUSIVE_EXIT_CODE
    assert out.startswith("GATE WITHOUT A VERDICT: other against before")


def test_json_and_markdown(capsys, folders):
    words = [folders / "before", folders / "worse", "--fail=accepted_length@overall:-1%"]
    code, out, _ = run(capsys, *words, "--json")
    assert code == 1
    assert json.loads(out, parse_constant=pytest.fail)["outcome"] == "fail"
    code, out, _ = run(capsys, *words, "--markdown")
    assert code == 1
    assert out.startswith("# GATE FAILED")


def test_the_page_is_written_where_it_is_asked_for(capsys, folders, tmp_path):
    path = tmp_path / "page.html"
    words = [folders / "before", folders / "worse", "--html", path]
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert out.endswith(f"\nComparison: {path}\n")
    assert path.read_text(encoding="utf-8").count('class="outline"') == 2
    path.unlink()
    _, out, _ = run(capsys, *words, "--json")
    assert json.loads(out)["cases_compared"] == 32
    assert path.is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["before", "worse", "--html=nowhere/page.html"], "there is no folder nowhere"),
        (["before", "worse", "--html=before"], "--html before: it is a folder"),
        (["nowhere", "before"], "there is no baseline 'nowhere'"),
        (["before", "before", "--fail=speed:-1%"], "metric: unknown value 'speed'; did you mean"),
        (["before", "before", "--fail=speedup@sql:-1%"], "domain: unknown value 'sql'"),
        (["before", "before", "--alpha=2"], "--alpha: 2.0 is not between 0 and 1"),
        (["before", "other"], "setting seed: 7 → 9"),
        ([], "NOW"),
        (["before"], "there is one run (before), and nothing to compare it with"),
        (["before", "--fail=speedup:-5%"], "there is one run (before), and nothing to compare"),
        (["before", "--fail=speedup:>=1", "--html=x.html"], "--html is about two runs"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_exit_code_4(
    capsys, folders, words, message, monkeypatch
):
    monkeypatch.chdir(folders)
    code, out, err = run(capsys, *words)
    assert (code, out) == (4, "")
    assert err.count("\n") == 1, err
    assert message in err


def test_runs_that_differ_are_compared_where_that_is_asked_for(capsys, folders):
    code, out, _ = run(capsys, folders / "before", folders / "other", "--anyway")
    assert code == 0
    assert "setting seed: 7 → 9" in out
