"""--spec-save keeps a history: what a session adds to it, and what it does not."""

from __future__ import annotations

import json
import shutil

import pytest

from draftproof.history.file import read_history
from draftproof.history.trend import trend


@pytest.fixture
def save(run, pytester, monkeypatch):
    """A run that is saved, outside of any repository and CI system."""
    for name in ("CI", "GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(pytester.path.parent))

    def save(*options, name="main"):
        return run("--report", "--report-dir=out", f"--spec-save={name}", *options)

    return save


@pytest.fixture
def history(pytester):
    return lambda: read_history([pytester.path / ".draftproof"]).entries


def test_each_save_adds_an_entry_with_the_figures_of_its_report(save, history, metrics, pytester):
    result = save()
    result.stdout.fnmatch_lines(["History: .draftproof/history.jsonl (draftproof history)"])
    save("--spec-fail=accepted_length@overall:<=2.9", name="other")
    first, second = history()
    assert (first.name, second.name) == ("main", "other")
    assert (first.gates, second.gates) != ("", "")
    assert first.provenance.commit is None
    stored = metrics()
    for scope, group in (*stored["domains"].items(), ("overall", stored["overall"])):
        for name, figure in second.figures[scope].items():
            if name != "speedup":
                assert figure.value == pytest.approx(group[name]["value"], rel=1e-6)
                assert figure.n == group[name]["n"]
    described = json.loads((pytester.path / "out" / "run.json").read_text())
    assert second.versions["torch"] == described["versions"]["torch"]
    assert second.verdicts["identical"] == second.measured == 3
    assert not second.is_partial
    # Both are of one line.
    assert len(trend(history()).series) == 1


def test_a_ci_job_is_noted_and_other_settings_are_another_line(
    save, history, monkeypatch, pytester
):
    save("--spec-tree=chain:2")
    monkeypatch.setenv("GITLAB_CI", "true")
    monkeypatch.setenv("CI_COMMIT_SHA", "a" * 40)
    monkeypatch.setenv("CI_COMMIT_BRANCH", "main")
    monkeypatch.setenv("CI_JOB_ID", "7")
    shutil.rmtree(pytester.path / "out")
    save()
    found = history()[-1].provenance
    assert (found.ci, found.commit, found.branch, found.ci_run) == (
        "GitLab CI", "a" * 40, "main", "7",
    )  # fmt: skip

    assert [series.described for series in trend(history()).series] == [
        ("branch main", "setting tree 3x2"),
        ("setting tree chain:2",),
    ]


def test_a_run_of_some_of_the_prompts_is_partial(save, history):
    save("-k", "letters/0 or letters/1")
    [entry] = history()
    assert entry.missing == {"letters": 1}
    assert entry.is_partial


def test_without_save_or_where_the_run_is_not_whole_nothing_is_added(run, save, history, pytester):
    run("--report", "--report-dir=out")
    assert not (pytester.path / ".draftproof").exists()
    pytester.makeconftest(
        "import pytest\n\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_teardown(item, nextitem):\n"
        "    item.session.shouldstop = 'enough'\n"
    )
    save()
    assert not (pytester.path / ".draftproof").exists()


def test_a_history_that_cannot_be_written_costs_neither_report_nor_baseline(save, pytester):
    (pytester.path / ".draftproof" / "history.jsonl").mkdir(parents=True)
    result = save()
    assert result.ret == 4
    result.stdout.fnmatch_lines(["ERROR: cannot add this run to the history *", "Baseline: *"])
    assert (pytester.path / ".draftproof" / "main.json").exists()
    assert (pytester.path / "out" / "summary.md").exists()


def test_under_xdist_the_controller_alone_writes(save, history):
    pytest.importorskip("xdist", reason="needs pytest-xdist")
    save("-n2")
    assert len(history()) == 1
