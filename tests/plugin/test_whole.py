"""A run without one of its cases is not called whole, not saved, and passes no gate."""

import pytest
from plugin_sources import SUITE

from draftproof.report import load_run

SAVED = ("--spec-save=main", "--spec-save-traces")
JUDGED = (*SAVED, "--spec-fail=block_efficiency:>=1.0001")
SKIPS = """
import pytest
from draftproof.acceptance import GreedyRule


class Skips(GreedyRule):
    def accept(self, draft, target, randomness):
        {action}


@pytest.fixture(scope="session")
def acceptance_rule():
    return Skips()
"""


def fixture(body):
    return (
        "import pytest\n"
        "@pytest.fixture(autouse=True)\n"
        "def around(request):\n"
        "    last = 'letters/2' in request.node.nodeid\n"
        f"    {body}\n"
    )


def hook(name, *body):
    lines = "".join(f"    {line}\n" for line in body)
    return f"import os, pytest\n@pytest.hookimpl(tryfirst=True)\ndef {name}:\n{lines}"


ITEMS = "pytest_collection_modifyitems(config, items)"
PROTOCOL = "pytest_runtest_protocol(item, nextitem)"
IS_LAST = "if 'letters/2' in item.nodeid:"

LEFT_OUT = {
    "setup fails": (fixture("assert not last"), (), 1, "1 failed in the set-up"),
    "setup skips": (fixture("pytest.skip('no') if last else None"), (), 3, "1 skipped"),
    "marked to be skipped": (
        hook(ITEMS, "items[-1].add_marker(pytest.mark.skip)"), (), 3, "1 skipped",
    ),
    "left out by a hook": (hook(ITEMS, "del items[-1]"), (), 3, "1 deselected"),
    "never run": (hook(PROTOCOL, IS_LAST, "    return True"), (), 3, "1 not run"),
    "exit with success": (
        hook(PROTOCOL, IS_LAST, "    pytest.exit('enough', returncode=0)"), (), 3, "1 not run",
    ),
    "stopped": (
        hook("pytest_runtest_teardown(item)", "item.session.shouldstop = 'enough'"), (), 2,
        "2 not run",
    ),
    "another plugin's error": (
        hook(PROTOCOL, IS_LAST, "    raise ValueError('theirs')"), (), 3, None,
    ),
    "collection": (
        "", ("test_letters.py", "test_broken.py", "--continue-on-collection-errors"), 1,
        "test_broken.py could not be collected",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_run_that_lacks_a_case_is_not_whole(run, pytester, name):
    """Whatever left the case out, but for a user who asked for some of the tests."""
    lacks(run, pytester, *LEFT_OUT[name])


@pytest.mark.parametrize("name", ["setup fails", "left out by a hook", "never run", "collection"])
def test_what_workers_left_out_is_known_too(run, pytester, name):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    conftest, words, code, said = LEFT_OUT[name]
    lacks(run, pytester, conftest, (*words, "-n1"), code, said)


def lacks(run, pytester, conftest, words, code, said):
    """Run the suite, and see that it is not called whole, with the reason, and not saved."""
    pytester.makeconftest(conftest)
    pytester.makepyfile(test_broken="import nothing_of_that_name\n")
    if not any(word.startswith("test_letters") for word in words):
        words = (*words, "test_letters.py")
    result = run("--report", "--report-dir=out", *JUDGED, *words)
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == code, text
    if said is not None:  # else pytest prints no summary
        for reason in ("Not whole: ", said, "no gate was judged and no baseline was saved"):
            assert reason in text
    assert not (pytester.path / ".draftproof").exists()
    assert not load_run(pytester.path / "out").complete
    assert (pytester.path / "out" / "journal.jsonl").exists(), "the run can be gone on with"


def test_a_run_that_lacked_a_case_is_whole_once_it_is_measured(run, pytester):
    conftest = pytester.makeconftest(hook(ITEMS, "del items[1:]"))
    run("--report", "--report-dir=out").assert_outcomes(passed=1)
    assert not load_run(pytester.path / "out").complete
    conftest.unlink()
    result = run("--report", "--report-dir=out", "--spec-resume", *SAVED)
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    assert load_run(pytester.path / "out").complete
    assert (pytester.path / ".draftproof" / "main.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("-k", "letters/0"),
        ("test_letters.py::test_lossless[letters/0]",),
        (
            "--deselect=test_letters.py::test_lossless[letters/1]",
            "--deselect=test_letters.py::test_lossless[letters/2]",
        ),
    ],
    ids=lambda words: words[0].partition("=")[0].partition("::")[0],
)
def test_a_run_of_what_was_asked_for_is_whole(run, pytester, words):
    result = run("--report", "--report-dir=out", *words)
    assert result.ret == 0
    assert "Not whole" not in result.stdout.str()
    saved = load_run(pytester.path / "out")
    assert saved.complete
    assert [case.case_id for case in saved.cases] == ["letters/0"]


def test_a_gate_is_not_passed_where_no_case_was_measured(run, pytester):
    pytester.makeconftest(fixture("pytest.skip('no')"))
    result = run("--report", "--report-dir=out", *JUDGED)
    assert result.ret == 3
    result.stdout.fnmatch_lines(["ERROR: the run is not whole*3 of 3 cases*3 skipped*"])


def test_words_that_measure_nothing_are_as_they_were(run):
    for word in ("--collect-only", "--setup-plan", "--help"):
        assert run("--report", "--report-dir=out", *JUDGED, word).ret == 0, word


@pytest.mark.parametrize("failing", ["teardown", "other tests", "last case"])
def test_a_run_that_measured_every_case_is_whole(run, pytester, failing):
    """Although another thing failed: nothing is missing that could be measured again."""
    options = ()
    if failing == "teardown":
        pytester.makeconftest(
            "import pytest\n@pytest.fixture(autouse=True)\ndef last():\n    yield\n    assert 0\n"
        )
    elif failing == "other tests":
        pytester.makepyfile(test_zebra="import os\n\ndef test_more():\n    assert 0\n")
    else:
        pytester.makepyfile(test_letters=SUITE + "    assert case.prompt.prompt_id[-1] != '2'\n")
        options = ("-x",)
    result = run("--report", "--report-dir=out", *options)
    assert result.ret == 1
    assert "Not whole" not in result.stdout.str()
    assert load_run(pytester.path / "out").complete
    assert not (pytester.path / "out" / "journal.jsonl").exists()


def test_a_case_that_one_of_two_tests_measures_is_not_missing(run, pytester):
    source = "\n\ndef test_text(case):\n    assert case.prompt.text\n"
    pytester.makepyfile(test_letters=SUITE + source)
    for options in ((), ("-k", "lossless")):
        result = run("--report", "--report-dir=out", *options)
        assert "Not whole" not in result.stdout.str()
    result = run("--report", "--report-dir=more", "-k", "text", "--spec-save=main")
    assert result.ret == 3
    assert "Nothing was measured" in result.stdout.str()


def test_a_suite_of_which_no_test_was_collected_is_no_part_of_the_run(run, pytester):
    pytester.makepyfile(test_numbers=SUITE.replace('"letters"', '"numbers"'))
    result = run("--report", "--report-dir=out", *SAVED, "test_letters.py")
    assert result.ret == 0
    assert load_run(pytester.path / "out").complete


@pytest.mark.parametrize("action", ["pytest.skip('no')", "pytest.exit('no', returncode=0)"])
def test_parts_of_an_engine_cannot_leave_cases_out(run, pytester, action):
    pytester.makeconftest(SKIPS.format(action=action))
    result = run("--report", "--report-dir=out", *JUDGED)
    assert result.ret in (1, 3)
    assert not (pytester.path / ".draftproof").exists()
