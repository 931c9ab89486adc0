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
    result.stdout.fnmatch_lines(["*Seconds are those of a shared machine: 2 processes*"])
    one, two = (
        {case.case_id: case for case in load_run(pytester.path / folder).cases}
        for folder in ("one", "two")
    )
    assert one.keys() == two.keys()
    for case_id in one:
        assert one[case_id].speculative.token_ids == two[case_id].speculative.token_ids
        for name in ("token_id", "parent", "accepted", "target_rank"):
            assert (one[case_id].nodes[name] == two[case_id].nodes[name]).all()


def test_each_worker_sees_a_gpu_of_its_own(run, pytester, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    pytester.makeconftest(
        """
import os


def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        with open(os.environ["PYTEST_XDIST_WORKER"] + ".txt", "w") as file:
            file.write(os.environ["CUDA_VISIBLE_DEVICES"])
"""
    )
    run("-n2").assert_outcomes(passed=3)
    seen = {path.name: path.read_text() for path in pytester.path.glob("gw*.txt")}
    assert seen == {"gw0.txt": "4", "gw1.txt": "7"}


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


DIES = """
import os, signal
from draftproof.engines.reference import ReferenceEngine


class Dies(ReferenceEngine):
    def __init__(self, config, pair):
        self.when = dict(config.engine_options)
        super().__init__(pair, config)

    def speculate(self, request):
        if request.request_id == self.when.get("exits"):
            os._exit(0)
        if request.request_id == self.when.get("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().speculate(request)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_takes_one_case_with_it(run, pytester, workers):
    """The replacement goes on in the same folder; the case is in the report, with the reason."""
    pytester.makepyfile(engines=DIES)
    options = ["exits=letters/0", "killed=letters/2"] if workers == 1 else ["exits=letters/1"]
    result = run(
        "--report", "--report-dir=out", f"-n{workers}", "--spec-engine=engines:Dies",
        *(f"--spec-engine-option={option}" for option in options),
    )  # fmt: skip
    result.assert_outcomes(passed=3 - len(options), failed=len(options))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    saved = load_run(pytester.path / "out")
    assert saved.complete
    cases = {case.case_id: case for case in saved.cases}
    assert sorted(cases) == ["letters/0", "letters/1", "letters/2"]
    for option in options:
        case = cases.pop(option.partition("=")[2])
        assert case.verdict == "error"
        assert case.domain == "letters"
        assert "the process that measured this case died" in case.message
    assert {case.verdict for case in cases.values()} == {"identical"}
    assert not (pytester.path / "out" / "journal.jsonl").exists()
    again = run("--report", "--report-dir=again", f"-n{workers}")
    again.assert_outcomes(passed=3)


def test_a_worker_that_dies_before_a_case_began_leaves_the_run_unfinished(run, pytester):
    pytester.makepyfile(
        engines="""
import os


def make(config, pair):
    os._exit(0)
"""
    )
    result = run(
        "--report", "--report-dir=out", "-n1", "--max-worker-restart=0",
        "--spec-engine=engines:make",
    )  # fmt: skip
    assert result.ret != 0
