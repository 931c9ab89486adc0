"""A run that was interrupted goes on where it stopped, with more prompts too, and loses nothing."""

import json
import re

import pytest
from checkpoints import save_checkpoint
from plugin_sources import SUITE

from draftproof.cli.main import main
from draftproof.journal import read_journal
from draftproof.report import load_run
from draftproof.summed_lines import summed

INTERRUPTED = (
    SUITE
    + """

def test_interrupt():
    raise KeyboardInterrupt
"""
)


def interrupted(run, pytester, *options):
    """Measure `letters/0` and `letters/1`, then stop as Ctrl-C does."""
    pytester.makepyfile(
        test_letters=SUITE.replace(
            "def test_lossless(case, speculation):",
            "def test_lossless(case, speculation):\n"
            "    if case.prompt.prompt_id == 'letters/2':\n"
            "        raise KeyboardInterrupt",
        )
    )
    folder = () if any(option.startswith("--report-dir") for option in options) else ("out",)
    result = run("--report", *(f"--report-dir={name}" for name in folder), *options)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    pytester.makepyfile(test_letters=SUITE)
    return result


def rewrite(journal, pattern, replacement):
    """Change what a journal says as a version that wrote something else would have written it."""
    written = []
    for line in journal.read_text().splitlines():
        values = {name: value for name, value in json.loads(line).items() if name != "crc32"}
        text = json.dumps(values, separators=(",", ":"))
        written.append(summed(re.sub(pattern, replacement, text)))
    journal.write_text("".join(f"{line}\n" for line in written))


def test_an_interrupted_run_reports_what_it_has_and_how_to_go_on(run, pytester, metrics):
    result = interrupted(run, pytester)
    result.stdout.fnmatch_lines(["The run is unfinished*--report-dir*out*--spec-resume*"])
    assert metrics()["overall"]["prompts"] == 2
    assert len(read_journal(pytester.path / "out" / "journal.jsonl").cases) == 2


def test_a_resumed_run_equals_one_in_one_go(run, pytester):
    interrupted(run, pytester)
    run("--report", "--report-dir=out", "--spec-resume").assert_outcomes(passed=3)
    run("--report", "--report-dir=whole").assert_outcomes(passed=3)
    ours, theirs = (load_run(pytester.path / folder).cases for folder in ("out", "whole"))
    assert [case.case_id for case in ours] == [case.case_id for case in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.speculative.token_ids == other.speculative.token_ids
        for name in one.nodes:
            assert (one.nodes[name] == other.nodes[name]).all()
    assert not (pytester.path / "out" / "journal.jsonl").exists()


def test_measured_cases_are_not_measured_again(run, pytester):
    interrupted(run, pytester)
    before = load_run(pytester.path / "out").cases
    run("--report", "--report-dir=out", "--spec-resume")
    after = load_run(pytester.path / "out").cases
    for old, new in zip(before, after, strict=False):
        assert new.plain.seconds == old.plain.seconds


def test_a_resumed_run_began_when_its_first_session_did(run, pytester):
    interrupted(run, pytester)
    journal = pytester.path / "out" / "journal.jsonl"
    rewrite(journal, '"started":"[^"]*"', '"started":"2026-01-02T03:04:05+00:00"')
    run("--report", "--report-dir=out", "--spec-resume").assert_outcomes(passed=3)
    assert load_run(pytester.path / "out").run.started == "2026-01-02T03:04:05+00:00"


def test_an_unfinished_run_is_not_overwritten(run, pytester):
    interrupted(run, pytester)
    journal = pytester.path / "out" / "journal.jsonl"
    before = journal.read_bytes()
    result = run("--report", "--report-dir=out")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: out holds an unfinished run; add --spec-resume*"])
    assert journal.read_bytes() == before


def test_other_settings_cannot_go_on_with_it(run, pytester):
    interrupted(run, pytester)
    result = run("--report", "--report-dir=out", "--spec-resume", "--spec-tree=chain:2")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *run with other settings (tree: * → chain:2); give*"])


def test_evidence_of_another_version_cannot_be_added_to(run, pytester):
    """The sums of the anytime-valid test stand for that version's alternatives."""
    interrupted(run, pytester, "--spec-temperature=1")
    journal = pytester.path / "out" / "journal.jsonl"
    rewrite(journal, r'"catalogue": ?"\w+"', f'"catalogue":"{"0" * 16}"')
    before = journal.read_bytes()
    result = run("--report", "--report-dir=out", "--spec-resume", "--spec-temperature=1")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *journal.jsonl cannot be gone on with: its evidence was*"])
    assert journal.read_bytes() == before
    assert len(load_run(pytester.path / "out").cases) == 2


def test_a_corrupt_journal_is_refused_and_kept(run, pytester):
    interrupted(run, pytester)
    journal = pytester.path / "out" / "journal.jsonl"
    journal.write_text("nonsense\n" + journal.read_text())
    before = journal.read_bytes()
    result = run("--report", "--report-dir=out", "--spec-resume")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *journal.jsonl, line 1 is corrupt*"])
    assert journal.read_bytes() == before


def test_other_models_under_the_same_name_cannot_go_on_with_it(run, pytester):
    save_checkpoint(pytester.path / "draft", seed=1)
    models = ("--spec-target=draft", "--spec-draft=draft")
    interrupted(run, pytester, *models)
    journal = pytester.path / "out" / "journal.jsonl"
    before = journal.read_bytes()
    save_checkpoint(pytester.path / "draft", seed=2)
    result = run("--report", "--report-dir=out", "--spec-resume", *models)
    assert result.ret == 4
    result.stdout.fnmatch_lines(["*journal of a run with another * model than draft is now*"])
    assert journal.read_bytes() == before
    save_checkpoint(pytester.path / "draft", seed=1)
    again = run("--report", "--report-dir=out", "--spec-resume", *models)
    again.assert_outcomes(passed=3)


MATH = """
import pytest

pytestmark = pytest.mark.suite("math")


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
"""
PROMPTS = ["a b c", "c b a", "d e", "e a d"]


@pytest.fixture
def sample(run, pytester):
    """Measures a sample of a file of prompts; stopped after some cases as by Ctrl-C."""

    def measured(limit, *options, prompts=PROMPTS, stopped_after=0, folder="out"):
        pytester.makepyfile(test_letters=MATH)
        (pytester.path / "mine.jsonl").write_text(
            "".join(json.dumps({"prompt": prompt, "domain": "math"}) + "\n" for prompt in prompts)
        )
        if stopped_after:
            pytester.makeconftest(
                "import pytest\n"
                "ended = []\n"
                "@pytest.hookimpl(trylast=True)\n"
                "def pytest_runtest_logreport(report):\n"
                "    ended.extend([report] if report.when == 'teardown' else [])\n"
                f"    if len(ended) == {stopped_after}: raise KeyboardInterrupt\n"
            )
        result = run(
            "--report", f"--report-dir={folder}", "--spec-jsonl=mine.jsonl",
            f"--spec-limit={limit}", *options,
        )  # fmt: skip
        (pytester.path / "conftest.py").unlink(missing_ok=True)
        return result

    return measured


def facts(pytester, folder):
    found = load_run(pytester.path / folder)
    return {case.case_id: (case.plain.token_ids, case.nodes["step"].size) for case in found.cases}


@pytest.mark.parametrize("limit", ["4", "all"])
def test_an_unfinished_run_goes_on_with_more_prompts(sample, pytester, metrics, limit):
    sample(2, stopped_after=1)
    [first] = load_run(pytester.path / "out").cases
    sample(limit, "--spec-resume").assert_outcomes(passed=4)
    sample(limit, folder="whole")
    assert facts(pytester, "out") == facts(pytester, "whole")
    assert metrics()["overall"]["prompts"] == 4
    found = load_run(pytester.path / "out")
    assert found.run.config["limit"] == (None if limit == "all" else 4)
    assert first.plain.seconds in [case.plain.seconds for case in found.cases]
    assert not (pytester.path / "out" / "journal.jsonl").exists()


def test_a_run_that_grew_and_was_stopped_again_goes_on_as_what_it_is_now(sample, pytester):
    sample(2, stopped_after=1)
    sample(3, "--spec-resume", stopped_after=2)
    journal = pytester.path / "out" / "journal.jsonl"
    assert read_journal(journal).run["config"]["limit"] == 3
    before = journal.read_bytes()
    fewer = sample(2, "--spec-resume")
    assert fewer.ret == 4
    fewer.stderr.fnmatch_lines(["ERROR: *run with other settings*--spec-limit may have grown*"])
    assert journal.read_bytes() == before
    sample(3, "--spec-resume").assert_outcomes(passed=3)


def test_a_run_does_not_grow_on_prompts_that_have_changed(sample, pytester):
    sample(2, stopped_after=1)
    journal = pytester.path / "out" / "journal.jsonl"
    before = journal.read_bytes()
    result = sample(4, "--spec-resume", prompts=[f"{prompt} b" for prompt in PROMPTS])
    assert result.ret == 4
    assert journal.read_bytes() == before
    result.stderr.fnmatch_lines(["ERROR: *those of math have changed since*"])


def test_a_run_does_not_grow_with_other_settings(sample):
    sample(2, stopped_after=1)
    result = sample(4, "--spec-resume", "--spec-seed=1")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *journal of a run with other settings*"])


def test_a_suites_own_prompts_may_not_have_changed_either(run, pytester):
    interrupted(run, pytester)
    pytester.makepyfile(test_letters=SUITE.replace('"c b a"', '"c b a d"'))
    result = run("--report", "--report-dir=out", "--spec-resume")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *those of letters have changed since*"])


def test_a_suites_own_prompts_may_become_more(run, pytester):
    interrupted(run, pytester, "--spec-limit=2", "--spec-seed=0")
    run("--report", "--report-dir=out", "--spec-resume", "--spec-limit=3").assert_outcomes(passed=3)


def asked(capsys, *words):
    """What a command of ``draftproof`` prints, and its exit code."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("with_journal", [True, False])
def test_a_partial_run_is_told_as_one_by_every_reader(run, pytester, capsys, with_journal):
    """Also where the folder was copied without the journal: that a run is partial is stored."""
    interrupted(run, pytester)
    folder = pytester.path / "out"
    if not with_journal:
        (folder / "journal.jsonl").unlink()
    said = "the run is unfinished: these are the cases that it came to"
    for command in ("report", "metrics", "study"):
        code, out, _ = asked(capsys, command, folder)
        assert code == 0
        assert said in " ".join(out.split()), command
    assert "The run is unfinished" in (folder / "report.html").read_text()
    code, _, err = asked(capsys, "compare", folder, "--fail", "block_efficiency:>=1.1")
    assert code == 4
    assert "did not come to its end: it has 2 cases" in err
    code, _, _ = asked(capsys, "compare", folder, "--fail", "block_efficiency:>=1.1", "--anyway")
    assert code != 4
    run("--report", "--report-dir=whole").assert_outcomes(passed=3)
    code, _, err = asked(capsys, "compare", folder, pytester.path / "whole")
    assert (code, "did not come to its end" in err) == (4, True)
    refused = run("--report", f"--spec-compare={folder}", "--spec-fail=block_efficiency:-50%")
    assert refused.ret == 4
    refused.stderr.fnmatch_lines(["*did not come to its end*"])
    assert not any(said in asked(capsys, name, pytester.path / "whole")[1] for name in ("study",))


def test_an_older_whole_report_does_not_hide_a_newer_killed_run(run, pytester, capsys):
    run("--report", "--report-dir=out").assert_outcomes(passed=3)
    interrupted(run, pytester, "--report-dir=killed", "--spec-tree=chain:2")
    (pytester.path / "out" / "journal.jsonl").write_bytes(
        (pytester.path / "killed" / "journal.jsonl").read_bytes()
    )
    saved = load_run(pytester.path / "out")
    assert not saved.complete
    assert saved.run.config["tree"] == "chain:2"
    assert len(saved.cases) == 2


FULL = """
import errno, os
import draftproof.journal as journal
import draftproof.files as files
left = [{writes}]
fsync = os.fsync
def full(descriptor):
    if left[0] == 0:
        raise OSError(errno.ENOSPC, "No space left on device")
    left[0] -= 1
    fsync(descriptor)
os.fsync = full
def pytest_unconfigure():
    os.fsync = fsync
"""
HEADER, CASES, REPORT = 1, 3, 7


@pytest.mark.parametrize("writes", range(HEADER + CASES + REPORT))
def test_a_disk_that_is_full_at_any_write_loses_no_case_that_was_written(run, pytester, writes):
    pytester.makeconftest(FULL.format(writes=writes))
    result = run("--report", "--report-dir=out")
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert "No space left on device" in text
    assert "INTERNALERROR" not in text
    journal = pytester.path / "out" / "journal.jsonl"
    if writes < HEADER:
        assert not (pytester.path / "out" / "run.json").exists()
    else:
        # What the report lacks is where the message says it is.
        assert f"(what was measured is in {journal.relative_to(pytester.path)})" in text
        assert len(read_journal(journal).cases) == min(writes - HEADER, CASES)
    pytester.makeconftest("")
    result = run("--report", "--report-dir=out", "--spec-resume")
    assert result.ret == 0
    assert len(load_run(pytester.path / "out").cases) == CASES


@pytest.mark.parametrize("kind", ["file", "below a file", "link", "below a link"])
def test_a_report_folder_that_cannot_be_is_refused_before_anything_is_loaded(run, pytester, kind):
    if "file" in kind:
        (pytester.path / "out").write_text("mine")
    else:
        (pytester.path / "out").symlink_to("nowhere")
    result = run("--report", f"--report-dir=out{'/more' if 'below' in kind else ''}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = "out is a file" if "file" in kind else "out is a link to nowhere, which is not there"
    result.stderr.fnmatch_lines([f"ERROR: --report-dir out*{said}*"])
    assert "passed" not in result.stdout.str()
