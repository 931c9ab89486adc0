"""Under pytest-xdist the controller reports what the workers measured."""

import pytest
from plugin_sources import WRONG_RULE

from draftproof.report import load_run

pytest.importorskip("xdist", reason="pytest-xdist is not installed")


def test_two_workers_report_as_one_process_does(run, pytester):
    run("--report", "--report-dir=one").assert_outcomes(passed=3)
    result = run("--report", "--report-dir=two", "-n2")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["letters *", "Report: *two"])
    one, two = (
        {case.case_id: case for case in load_run(pytester.path / folder).cases}
        for folder in ("one", "two")
    )
    assert one.keys() == two.keys()
    for case_id in one:
        assert one[case_id].speculative.token_ids == two[case_id].speculative.token_ids
        for name in ("token_id", "parent", "accepted", "target_rank"):
            assert (one[case_id].nodes[name] == two[case_id].nodes[name]).all()


def test_failures_and_models_come_from_the_workers(run, pytester):
    pytester.makeconftest(WRONG_RULE)
    result = run("--report", "--report-dir=out", "-n2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    saved = load_run(pytester.path / "out")
    assert any(case.verdict == "algorithmic" for case in saved.cases)
    assert saved.run.models["draft"]["sha256"]


def test_a_bad_option_is_refused_before_workers_start(run):
    result = run("-n2", "--spec-tree=bush")
    assert result.ret == 4


def test_models_that_cannot_be_loaded_end_the_run_with_the_reason(run, tmp_path):
    from checkpoints import save_checkpoint

    broken = save_checkpoint(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"garbage")
    result = run("-n2", f"--spec-draft={broken}")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["*--spec-draft: cannot load the model of*"])
