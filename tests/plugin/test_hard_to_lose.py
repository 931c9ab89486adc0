"""Reports that something else would have written over, lost or put in another place."""

import subprocess
import sys

import pytest
from plugin_sources import SUITE

from draftproof.report import load_run
from draftproof.report.reading import JOURNAL_FILE

RERUNS = """
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for _ in range(2):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if not any(report.failed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""

EVERY_REPORT = RERUNS.replace(
    "        if not any(report.failed for report in reports):\n            break\n"
    "    for report in reports:\n        item",
    "        for report in reports:\n            item",
)
"""As pytest-rerunfailures does: what failed is reported, too."""

FLAKY = """
import os
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine


class Flaky:
    name = "flaky"
    capabilities = frozenset({Capability.PLAIN})
    failed = set()

    def __init__(self, config, pair):
        self.inner = ReferenceEngine(pair, config)
        self.plain, self.describe, self.close = (
            self.inner.plain, self.inner.describe, self.inner.close
        )

    def speculate(self, request):
        if request.request_id == "letters/1" and "once" not in self.failed:
            self.failed.add("once")
            raise OSError("flaky")
        return self.inner.speculate(request)


class Wanders(Flaky):
    def __init__(self, config, pair):
        super().__init__(config, pair)
        self.failed.add("once")
        os.makedirs("elsewhere", exist_ok=True)
        os.chdir("elsewhere")


class Circle(Flaky):
    def speculate(self, request):
        error = ValueError("boom")
        raise error from error
"""


def cases_of(folder):
    saved = load_run(folder)
    return saved.complete, {case.case_id: str(case.verdict) for case in saved.cases}


def test_a_finished_report_is_not_overwritten_by_other_settings(run, pytester):
    run("--report", "--report-dir=out", "--spec-tree=3x2").assert_outcomes(passed=3)
    before = cases_of(pytester.path / "out")
    other = run("--report", "--report-dir=out", "--spec-tree=chain:2")
    assert other.ret == 4
    other.stderr.fnmatch_lines(["*of a run with other settings (tree: 3x2 → chain:2), which*"])
    assert cases_of(pytester.path / "out") == before
    run("--report", "--report-dir=out", "--spec-tree=3x2").assert_outcomes(passed=3)


def test_a_report_that_came_meanwhile_is_not_overwritten_either(run, pytester):
    """Another run finishes there after this one was configured, and before its first case."""
    run("--report", "--report-dir=other", "--spec-tree=3x2").assert_outcomes(passed=3)
    pytester.makeconftest(
        "import shutil\ndef pytest_collection_finish():\n"
        "    shutil.copytree('other', 'out', dirs_exist_ok=True)\n"
    )
    result = run("--report", "--report-dir=out", "--spec-tree=chain:2")
    assert result.ret != 0
    complete, cases = cases_of(pytester.path / "out")
    assert complete
    assert len(cases) == 3
    assert load_run(pytester.path / "out").run.config["tree"] == "3x2"


@pytest.mark.parametrize("conftest", [RERUNS, EVERY_REPORT])
def test_a_case_that_is_measured_when_its_test_is_run_again_is_no_error(run, pytester, conftest):
    pytester.makeconftest(conftest)
    pytester.makepyfile(again_engine=FLAKY)
    run("--report", "--report-dir=out", "--spec-engine=again_engine:Flaky")
    complete, cases = cases_of(pytester.path / "out")
    assert complete
    assert len(cases) == 3
    assert "error" not in cases.values()


def test_a_measured_case_whose_worker_dies_afterwards_stays_measured(run, pytester):
    pytester.makeconftest(
        "import os, pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def last(request):\n"
        "    yield\n"
        "    if 'letters/1' in request.node.nodeid and not os.path.exists('died'):\n"
        "        open('died', 'w').close()\n"
        "        os._exit(0)\n"
    )
    run("--report", "--report-dir=out", "-n1")
    _, cases = cases_of(pytester.path / "out")
    assert cases["letters/1"] != "error"


def test_an_engine_that_goes_elsewhere_takes_no_report_with_it(run, pytester, monkeypatch):
    monkeypatch.chdir(pytester.path)  # and back at the end
    pytester.makepyfile(wandering_engine=FLAKY)
    run("--report", "--report-dir=out", "--spec-engine=wandering_engine:Wanders")
    assert cases_of(pytester.path / "out")[0]
    assert not (pytester.path / "elsewhere" / "out").exists()


def test_an_error_that_was_raised_from_itself_is_told(run, pytester):
    pytester.makepyfile(circular_engine=FLAKY)
    result = run("--report", "--report-dir=out", "--spec-engine=circular_engine:Circle")
    assert result.ret == 1
    assert set(cases_of(pytester.path / "out")[1].values()) == {"error"}


@pytest.mark.parametrize("where", ["folder", "name"])
def test_a_word_that_is_no_text_loses_no_report(pytester, pair, where):
    """A folder of such a name is refused at once; elsewhere the word is written as escapes."""
    pytester.makepyfile(test_letters=SUITE)
    word = b"--report-dir=caf\xe9" if where == "folder" else b"--spec-name=caf\xe9"
    words = ["-q", "-p", "no:cacheprovider", *pair, "--spec-max-new-tokens=8", "--report"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, word],
        cwd=pytester.path,
        capture_output=True,
        check=False,
    )
    if where == "folder":
        assert done.returncode == 4
        assert b"is no text in UTF-8" in done.stdout + done.stderr
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        saved = load_run(pytester.path / "reports" / "latest")
        assert saved.complete
        assert "--spec-name=caf" in " ".join(saved.run.command)


def test_a_run_that_has_nothing_left_to_do_knows_the_models(run, pytester):
    """Stopped after its last case: what goes on loads no model, and finishes the report."""
    stopped = SUITE + "\n\ndef test_stop():\n    raise KeyboardInterrupt\n"
    pytester.makepyfile(test_letters=stopped)
    run("--report", "--report-dir=out")
    known = load_run(pytester.path / "out").run.models
    assert set(known) == {"target", "draft", "engine"}
    pytester.makepyfile(test_letters=SUITE)
    run("--report", "--report-dir=out", "--spec-resume")
    assert not (pytester.path / "out" / JOURNAL_FILE).exists()
    assert load_run(pytester.path / "out").run.models == known


def test_a_run_that_goes_on_knows_the_models_before_its_first_case(run, pytester):
    stop = SUITE.replace(
        "def test_lossless(case, speculation):",
        "def test_lossless(case, speculation):\n"
        "    if case.prompt.prompt_id == 'letters/1':\n"
        "        raise KeyboardInterrupt",
    )
    pytester.makepyfile(test_letters=stop)
    run("--report", "--report-dir=out")
    known = load_run(pytester.path / "out").run.models
    assert set(known) == {"target", "draft", "engine"}
    pytester.makepyfile(test_letters=stop.replace("letters/1", "letters/0"))
    run("--report", "--report-dir=out", "--spec-resume")
    assert load_run(pytester.path / "out").run.models == known


FAILS = FLAKY.replace(
    'if request.request_id == "letters/1" and "once" not in self.failed:\n'
    '            self.failed.add("once")',
    'if request.request_id == "letters/1" and os.path.exists("fails"):',
)


def test_a_case_that_ended_in_an_error_is_measured_again_when_the_run_goes_on(run, pytester):
    pytester.makepyfile(fails_engine=FAILS)
    (pytester.path / "fails").touch()
    words = ("--report", "--report-dir=out", "--spec-engine=fails_engine:Flaky")
    conftest = pytester.makeconftest(
        "def pytest_collection_modifyitems(items):\n    del items[2:]\n"
    )
    run(*words).assert_outcomes(passed=1, failed=1)
    conftest.unlink()
    assert cases_of(pytester.path / "out")[1]["letters/1"] == "error"
    (pytester.path / "fails").unlink()
    run(*words, "--spec-resume").assert_outcomes(passed=3)
    complete, cases = cases_of(pytester.path / "out")
    assert complete
    assert "error" not in cases.values()


def test_a_run_whose_page_cannot_be_written_has_not_passed(run, pytester):
    (pytester.path / "out" / "report.html" / "mine").mkdir(parents=True)
    result = run("--report", "--report-dir=out")
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*report.html*"])
    assert load_run(pytester.path / "out").complete


@pytest.mark.parametrize(("limit", "may"), [(50, True), (51, True), (None, True), (49, False)])
def test_a_run_goes_on_with_as_many_prompts_or_more(limit, may):
    from draftproof.config import RunConfig
    from draftproof.plugin.resuming import _goes_on

    before = RunConfig(limit=50)
    run = {"fingerprint": before.fingerprint(), "config": before.to_json()}
    assert _goes_on(RunConfig(limit=limit), run) is may
