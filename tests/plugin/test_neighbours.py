"""Beside other plugins of pytest, and under each way of pytest-xdist to share tests out.

Each is run once for real, with the options that people give it. `tox -e neighbours` installs them.
"""

import importlib.util
import json
import re
import subprocess
import sys

import profiles
import pytest
from plugin_sources import SUITE

from draftproof.report import load_run

ALL = ["letters/0", "letters/1", "letters/2"]

NAMES = {
    "pytest_randomly": "randomly",
    "pytest_repeat": "repeat",
    "pytest_rerunfailures": "rerunfailures",
    "pytest_timeout": "timeout",
    "pytest_html": "html",
    "pytest_cov": "pytest_cov",
    "pytest_sugar": "sugar",
}
"""The modules of other plugins, and what pytest calls them."""


@pytest.fixture
def beside(pytester, pair):
    """Runs the suite with a report in a process of its own, beside a plugin that is installed."""

    def beside(module, *options, suite=SUITE):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module.replace('_', '-')} is not installed; tox -e neighbours has it")
        pytester.makepyfile(test_letters=suite)
        others = [f"-pno:{name}" for other, name in NAMES.items() if other != module]
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--report",
                "--report-dir=out", "--spec-max-new-tokens=8", *pair, *others, *options,
            ],
            cwd=pytester.path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return beside


def measured(pytester):
    """The ids of a whole report, in their order, each measured."""
    saved = load_run(pytester.path / "out")
    assert saved.complete
    assert {case.verdict for case in saved.cases} == {"identical"}
    return sorted(case.case_id for case in saved.cases)


def test_in_random_order(beside, pytester):
    """It shuffles tests and seeds Python's generators, neither of which changes a figure."""
    found, orders = [], set()
    for seed in (1, 2):
        code, text = beside(
            "pytest_randomly", "-v", f"--randomly-seed={seed}", "--spec-temperature=1"
        )
        assert code == 0, text
        orders.add(tuple(re.findall(r"letters/\d(?=\] PASSED)", text)))
        cases = {case.case_id: case for case in load_run(pytester.path / "out").cases}
        found.append({name: cases[name].speculative.token_ids for name in ALL})
    assert found[0] == found[1]
    assert len(orders) == 2, "no other order was tried"


def test_repeated(beside, pytester):
    """A test that is repeated measures its case anew; the case counts once."""
    code, text = beside("pytest_repeat", "--count=2")
    assert code == 0, text
    assert "6 passed" in text
    assert measured(pytester) == ALL


FAILS_ONCE = """
import pytest

pytestmark = pytest.mark.suite("letters", prompts=["a b c", "c b a", "d e"])
failed = []


def test_lossless(case, speculation):
    outcome = speculation.run(case)
    if case.prompt.prompt_id == "letters/1" and not failed:
        failed.append(1)
        raise OSError("the network was away")
    outcome.assert_lossless()
"""


def test_rerun(beside, pytester):
    code, text = beside("pytest_rerunfailures", "--reruns=1", suite=FAILS_ONCE)
    assert code == 0, text
    assert "1 rerun" in text
    assert measured(pytester) == ALL


SLEEPS = FAILS_ONCE.replace('raise OSError("the network was away")', "__import__('time').sleep(99)")

LIMITED = """
import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if "letters/1" in item.name:
            item.add_marker(pytest.mark.timeout(15))
"""


def test_a_test_that_takes_too_long_fails_alone(beside, pytester):
    pytester.makeconftest(LIMITED)
    code, text = beside("pytest_timeout", suite=SLEEPS)
    assert code == 1, text
    assert "Timeout (>15.0s)" in text
    assert "2 passed" in text
    assert measured(pytester) == ALL


def test_a_run_that_a_timeout_ends_is_no_whole_one(beside, pytester):
    """By the method `thread`, the plugin ends the whole process."""
    pytester.makeconftest(LIMITED)
    code, text = beside("pytest_timeout", "--timeout-method=thread", suite=SLEEPS)
    assert code != 0, text
    saved = load_run(pytester.path / "out")
    assert not saved.complete
    assert [case.case_id for case in saved.cases] == ["letters/0"]


def test_a_page_of_html(beside, pytester):
    code, text = beside("pytest_html", "--html=page.html", "--self-contained-html")
    assert code == 0, text
    assert "letters/0" in (pytester.path / "page.html").read_text()
    assert measured(pytester) == ALL


def test_coverage_of_what_a_suite_runs(beside, pytester):
    code, text = beside("pytest_cov", "--cov=test_letters", "--cov-report=json")
    assert code == 0, text
    (covered,) = json.loads((pytester.path / "coverage.json").read_text())["files"].values()
    assert covered["summary"]["percent_covered"] == 100
    assert measured(pytester) == ALL


def test_a_bar_of_progress(beside, pytester):
    code, text = beside("pytest_sugar", "--force-sugar")
    assert code == 0, text
    assert re.search(r"100%.*█", text)
    assert measured(pytester) == ALL


@pytest.mark.skipif(not profiles.IS_NIGHTLY, reason="takes minutes: HYPOTHESIS_PROFILE=nightly")
@pytest.mark.parametrize(
    "dist", ["load", "loadscope", "loadfile", "loadgroup", "worksteal", "each", "no"]
)
def test_every_way_to_share_tests_out(beside, pytester, dist):
    workers = "--tx=1*popen" if dist == "each" else "-n2"
    code, text = beside("xdist", workers, f"--dist={dist}")
    assert code == 0, text
    assert measured(pytester) == ALL
