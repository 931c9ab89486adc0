"""The gate's options: saving, comparing, failing, and refusing before anything is run."""

import json
import re
import shutil
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from plugin_sources import SUITE

from draftproof.errors import INCONCLUSIVE_EXIT_CODE
from draftproof.gate import Storage
from draftproof.plugin.junit import add_gates

MANY = SUITE.replace(
    'prompts=["a b c", "c b a", "d e"]',
    "prompts=[f'{x} {y} c' for x in 'abcd' for y in 'abcd']",
)
FORGETFUL = """
import pytest
from draftproof.acceptance import GreedyRule


class KeepsNothing(GreedyRule):
    def accept(self, draft, target, randomness):
        extra = int(target[0].argmax())
        reached = draft.tree.children(-1)
        return type(super().accept(draft, target, randomness))(
            path=(), extra_token=extra, reached=reached
        )


@pytest.fixture(scope="session")
def acceptance_rule():
    return KeepsNothing()
"""


@pytest.fixture
def report(run):
    """A run with a report; the pair drafts for itself, so that much is accepted."""

    def report(*options):
        return run("--report", "--report-dir=out", "--spec-check-state=0", *options)

    return report


@pytest.fixture
def self_draft(pair):
    target = pair[0].partition("=")[2]
    return f"--spec-draft={target}"


def test_save_compare_pass_and_the_plan_before_it(report, pytester, self_draft):
    pytester.makepyfile(test_letters=MANY)
    result = report(self_draft, "--spec-save=main")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["Baseline: .draftproof/main.json"])
    result = report(self_draft, "--spec-compare=main", "--spec-fail=acceptance_rate:-0.02")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "draftproof: compared with main: 16 cases",
            "draftproof: gate acceptance_rate_drafted:-0.02: *",
            "GATE PASSED: this run against main, 16 cases, paired by prompt",
            "Identical: every step of 16 cases is the same.",
        ]
    )
    values = json.loads((pytester.path / "out" / "comparison.json").read_text())
    assert (values["outcome"], values["identical"]) == ("pass", True)
    assert (pytester.path / "out" / "comparison.md").read_text().startswith("# GATE PASSED")
    assert "Gate passed</h1>" in (pytester.path / "out" / "comparison.html").read_text()
    result.stdout.fnmatch_lines(["Comparison: out/comparison.html"])
    assert not (pytester.path / ".draftproof" / "main").exists()


def test_a_change_that_leaves_the_output_alone_fails_and_is_located(report, pytester, self_draft):
    pytester.makepyfile(test_letters=MANY)
    assert report(self_draft, "--spec-save=main", "--spec-save-traces").ret == 0
    pytester.makeconftest(FORGETFUL)
    result = report(
        self_draft,
        "--spec-compare=main",
        "--spec-fail=acceptance_rate:-0.02",
        "--spec-fail=identical",
    )
    result.assert_outcomes(passed=16)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "GATE FAILED: *",
            "acceptance_rate_drafted:-0.02 * fail",
            "16 of 16 cases are not the same.",
            "First difference: letters/0, step 0, node 0: the acceptance changed (accepted True*",
            "*look at the acceptance rule and its draws*",
            "  main * this run",
            "► * kept *► * reached",
        ]
    )
    result = report(self_draft, "--spec-compare=main")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["COMPARISON: *"])


def test_junit_has_what_the_gates_said(report, pytester, self_draft):
    pytester.makepyfile(test_letters=MANY)
    assert report(self_draft, "--spec-save=main").ret == 0
    pytester.makeconftest(FORGETFUL)
    report(
        self_draft,
        "--spec-compare=main",
        "--spec-fail=acceptance_rate:-0.02",
        "--spec-fail=accepted_length:<=2.5",
        "--junitxml=junit.xml",
    )
    tree = ElementTree.parse(pytester.path / "junit.xml")
    found = {each.get("name"): each.get("value") for each in tree.iter("property")}
    assert found["draftproof.gates"] == "fail"
    assert found["draftproof.gate.1"] == "acceptance_rate_drafted:-0.02@letters"
    assert found["draftproof.gate.1.outcome"] == "fail"
    assert float(found["draftproof.gate.1.high"]) < -0.02
    assert found["draftproof.gate.2.outcome"] == "pass"
    assert "draftproof.gate.2.change" not in found
    (suite,) = tree.iter("testsuite")
    counted = [suite.get(name) for name in ("tests", "failures", "errors", "skipped")]
    assert counted == ["18", "1", "0", "0"]
    gates = {each.get("name"): each for each in tree.iter("testcase")}
    failed = gates["acceptance_rate_drafted:-0.02@letters"]
    assert failed.get("classname") == "draftproof gates"
    said = failed.find("failure").get("message")
    assert said.startswith("acceptance_rate_drafted:-0.02 (letters): fail; ")
    assert re.search(r"\d before, \d\.\d+ now.*, change -\d\.\d+ \(-.* to -.*\); 16 prompts$", said)
    assert not list(gates["accepted_length:<=2.5@letters"].iter("failure"))


def test_junit_says_what_keeps_a_gate_from_a_verdict(report, pytester, self_draft):
    """Three prompts decide nothing: no failure, and no pass either."""
    assert report(self_draft, "--spec-save=main").ret == 0
    options = ["--spec-fail=acceptance_rate:-0.02", "--junitxml=junit.xml"]
    assert report(self_draft, "--spec-compare=main", *options).ret == INCONCLUSIVE_EXIT_CODE
    tree = ElementTree.parse(pytester.path / "junit.xml")
    (skipped,) = tree.iter("skipped")
    assert "inconclusive; " in skipped.get("message")
    assert "give at least" in skipped.get("message")


def test_junit_says_why_nothing_could_be_judged():
    reports = []
    file = SimpleNamespace(
        add_global_property=lambda name, value: None, pytest_runtest_logreport=reports.append
    )
    others = [SimpleNamespace(), SimpleNamespace(pytest_runtest_logreport=lambda report: 1 / 0)]
    plugins = SimpleNamespace(get_plugins=lambda: [*others, file])
    add_gates(SimpleNamespace(pluginmanager=plugins), None, "the baseline is another pair's")
    told, end = reports
    assert (told.nodeid, told.when, told.outcome) == ("draftproof gates::gates", "setup", "failed")
    assert told.longrepr == "the baseline is another pair's"
    assert (end.when, end.outcome) == ("teardown", "passed")


def test_inconclusive_is_an_exit_code_of_its_own(report, pytester, self_draft):
    """Three prompts can never fail a gate at α = .05."""
    assert report(self_draft, "--spec-save=main").ret == 0
    pytester.makeconftest(FORGETFUL)
    options = [self_draft, "--spec-compare=main", "--spec-fail=acceptance_rate:-0.02"]
    result = report(*options)
    assert result.ret == INCONCLUSIVE_EXIT_CODE
    result.stdout.fnmatch_lines(
        ["draftproof: gate acceptance_rate_drafted:-0.02: cannot fail *", "GATE INCONCLUSIVE: *"]
    )
    pytester.makepyfile(test_letters=SUITE + "\n\ndef test_other():\n    assert False\n")
    assert report(*options).ret == pytest.ExitCode.TESTS_FAILED


def test_the_ini_file_can_hold_the_gate(report, pytester, self_draft):
    pytester.makepyfile(test_letters=MANY)
    assert report(self_draft, "--spec-save=main", "--spec-storage=kept").ret == 0
    pytester.makeini(
        """
        [pytest]
        spec_storage = kept
        spec_compare = main
        spec_alpha = 0.01
        spec_fail =
            acceptance_rate:-0.02
            identical
        """
    )
    result = report(self_draft)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["GATE PASSED: *", "Fails beyond the margin or bound at level 0.01 *"]
    )
    assert Storage(pytester.path / "kept").names() == ["main"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--spec-compare=main"], "there is no baseline 'main'"),
        (["--spec-fail=acceptance_rate:-1%"], "is about a change and needs something to compare"),
        (["--spec-fail=acceptance_rate:>=2"], "acceptance_rate_drafted lies between 0 and 1"),
        (["--spec-fail=acceptance_rate:>=0.3"], "never above 0.214 and this gate could not pass"),
        (["--spec-save=a/b"], "--spec-save: 'a/b' is not a name"),
        (["--spec-save=x", "--spec-alpha=0"], "--spec-alpha: 0.0 is not between 0 and 1"),
        (["--spec-against=tree"], "--spec-against: 'tree' is not KEY=VALUE"),
        (
            ["--spec-against=treee=2x2"],
            "--spec-against: unknown value 'treee'; did you mean 'tree'",
        ),
        (["--spec-against=tree=3x2"], "these are the run's own settings"),
        (["--spec-against=tree=2x2", "--spec-compare=main"], "cannot be combined with"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_run(report, options, message):
    result = report(*options)
    assert result.ret == 4
    errors = [line for line in result.errlines + result.outlines if "ERROR: " in line]
    assert len(errors) == 1
    assert message in errors[0]
    result.stdout.no_fnmatch_line("*PASSED*")


def test_the_gate_needs_a_report(run):
    result = run("--spec-save=main")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --spec-save needs --report: add it"])


@pytest.fixture
def saved(report, self_draft):
    assert report(self_draft, "--spec-save=main").ret == 0
    return [self_draft, "--spec-compare=main", "--spec-fail=acceptance_rate:-0.02"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda text: text[:500], "is corrupt"),
        (
            lambda text: text.replace('"schema_version": 3', '"schema_version": 9', 1),
            "has schema version 9, and this draftproof reads up to 3; install a newer one",
        ),
        (lambda text: text.replace("draftproof baseline", "else", 1), "is not a baseline"),
    ],
)
def test_a_baseline_that_cannot_be_read_is_refused_at_once(report, pytester, saved, harm, message):
    path = pytester.path / ".draftproof" / "main.json"
    path.write_text(harm(path.read_text()))
    result = report(*saved)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: *{message}*"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--spec-tree=2x2", "setting tree: 3x2 → 2x2"),
        ("--spec-temperature=1", "setting sampling.temperature: 0.0 → 1.0"),
        ("--spec-fail=speed:-1%", "metric: unknown value 'speed'; did you mean 'speedup'?"),
        ("--spec-fail=accepted_length@letter:-1%", "domain: unknown value 'letter'; did you mean"),
    ],
)
def test_other_settings_and_unknown_figures_are_refused_at_once(
    report, pytester, saved, option, message
):
    shutil.rmtree(pytester.path / "out")
    result = report(*saved, option)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: *{message}*"])


def test_other_prompts_are_refused_before_the_first_test(report, pytester, saved):
    pytester.makepyfile(test_letters=SUITE.replace('"d e"', '"d e a"'))
    result = report(*saved)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *text of prompt letters/2: * → *"])
    result.assert_outcomes()
    pytester.makepyfile(test_letters=SUITE.replace('"letters", ', '"words", '))
    result = report(*saved)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *no case in common: it has letters/0*words/0*"])


def test_other_models_are_refused_when_they_are_loaded(report, pytester, saved, pair):
    shutil.rmtree(pytester.path / "out")
    result = report(*saved[1:], pair[1])
    assert result.ret == 4
    result.stdout.fnmatch_lines(["*draftproof: cannot compare with main*draft sha256: *"])
    assert len(result.parseoutcomes()) <= 1
    # What was measured before the models were known is kept, as of any run that is cut short.
    assert (pytester.path / "out" / "journal.jsonl").is_file()
    shutil.rmtree(pytester.path / "out")
    result = report(*saved[1:], pair[1], "--spec-compare-anyway")
    assert result.ret in (1, INCONCLUSIVE_EXIT_CODE)
    result.stdout.fnmatch_lines(["Compared although the runs differ in more than the change: *"])


def test_other_settings_can_be_run_in_turn(report, pytester, self_draft):
    pytester.makepyfile(test_letters=MANY)
    result = report(self_draft, "--spec-against=tree=chain:1", "--spec-fail=block_efficiency:-5%")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["GATE PASSED: this run against other settings, 16 cases, measured in turn"]
    )
    described = json.loads((pytester.path / "out" / "against" / "run.json").read_text())
    assert described["config"]["tree"] == "chain:1"
    shutil.rmtree(pytester.path / "out")
    result = report(
        self_draft,
        "--spec-tree=chain:1",
        "--spec-against=tree=chain:4",
        "--spec-fail=block_efficiency:-5%",
        "--spec-fail=speedup:-99%",
    )
    assert result.ret == 1
    result.stdout.fnmatch_lines(["block_efficiency:-5% * fail", "speedup:-99% * pass"])


def test_a_run_that_is_cut_short_is_neither_compared_nor_saved(report, pytester, saved):
    result = report(*saved, "--spec-save=second", "--maxfail=1", "-x", "-k", "letters/0")
    assert result.ret == INCONCLUSIVE_EXIT_CODE
    pytester.makepyfile(test_letters=SUITE + "\n\ndef test_stop():\n    raise KeyboardInterrupt\n")
    result = report(*saved, "--spec-save=third")
    assert result.ret == 2
    result.stdout.no_fnmatch_line("GATE *")
    assert Storage(pytester.path / ".draftproof").names() == ["main", "second"]


def test_a_part_of_the_prompts_is_compared_with_its_own(report, saved):
    """One prompt decides nothing, and that is said before it is run."""
    result = report(*saved, "-k", "letters/1")
    assert result.ret == INCONCLUSIVE_EXIT_CODE
    result.stdout.fnmatch_lines(
        [
            "draftproof: gate *: cannot fail in letters (1): at least 6 prompts are needed",
            "GATE INCONCLUSIVE: this run against main, 1 case, paired by prompt",
            "*1 prompt decides nothing; give at least 5*",
            "2 cases of main are not in the other run.",
        ]
    )


@pytest.mark.parametrize(
    ("gate", "code", "headline"),
    [
        ("acceptance_rate:>=0.1", 0, "GATE PASSED: this run, 16 cases"),
        ("block_efficiency:<=1.5", 1, "GATE FAILED: this run, 16 cases"),
    ],
)
def test_a_floor_needs_no_baseline(report, pytester, self_draft, gate, code, headline):
    pytester.makepyfile(test_letters=MANY)
    result = report(self_draft, f"--spec-fail={gate}")
    assert result.ret == code
    result.stdout.fnmatch_lines(["draftproof: gate *", headline])
    values = json.loads((pytester.path / "out" / "comparison.json").read_text())
    assert values["before"] is None
    assert not (pytester.path / "out" / "comparison.html").exists()


def test_useless_speculation_fails_a_floor(report, pytester, self_draft):
    """Every output is right, and nothing is ever kept."""
    pytester.makepyfile(test_letters=MANY + FORGETFUL)
    result = report(self_draft, "--spec-fail=acceptance_rate:>=0.2")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["GATE FAILED: this run, 16 cases", "*>=0.2 * 0.0000 * fail"])


def test_the_completion_order_of_workers_does_not_move_the_gate(report, pytester, self_draft):
    pytester.makepyfile(test_letters=MANY)
    assert report(self_draft, "--spec-save=main").ret == 0
    found = []
    for options in ([], ["-n2", "-p", "xdist"]):
        report(
            self_draft, "--spec-tree=3x2", "--spec-compare=main", "--spec-save=again",
            "--spec-fail=block_efficiency:-5%", "--spec-fail=identical", *options,
        )  # fmt: skip
        stored = json.loads((pytester.path / ".draftproof" / "again.json").read_text())
        values = json.loads((pytester.path / "out" / "comparison.json").read_text())
        found.append((stored["case_ids"], stored["totals"], values["gates"], values["outcome"]))
    assert found[0] == found[1]
    assert found[0][0] == sorted(found[0][0])


def test_other_prompts_are_refused_at_the_end_under_xdist(report, pytester, saved):
    """There the controller learns the prompts' texts from the workers only."""
    pytester.makepyfile(test_letters=SUITE.replace('"d e"', '"d e a"'))
    result = report(*saved, "-n1", "-p", "xdist")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: *text of prompt letters/2: * → *"])
