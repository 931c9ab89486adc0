"""Where a run comes from: git as it is on disk, and the variables of CI systems."""

from __future__ import annotations

import subprocess

import pytest

from draftproof.history.provenance import Provenance, provenance

NOTHING = {}


def git(folder, *words):
    own = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *own, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A work tree with one commit on a branch called trunk."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "trunk")
    (folder / "engine.py").write_text("speed = 1\n")
    (folder / "storage").mkdir()
    (folder / "storage" / "main.json").write_text("{}\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def test_a_commit_and_its_branch_are_read_from_git(repository):
    found = provenance(repository, NOTHING)
    assert found.commit == git(repository, "rev-parse", "HEAD")
    assert (found.branch, found.dirty, found.shallow) == ("trunk", False, False)
    assert found.commit_time.endswith("+00:00")
    assert (found.ci, found.ci_run, found.ci_url, found.request) == (None,) * 4


def test_a_changed_file_makes_the_tree_dirty_and_an_untracked_one_does_not(repository):
    (repository / "notes.txt").write_text("mine\n")
    assert provenance(repository, NOTHING).dirty is False
    (repository / "engine.py").write_text("speed = 2\n")
    assert provenance(repository, NOTHING).dirty is True
    # Staged is changed too.
    git(repository, "add", "engine.py")
    assert provenance(repository, NOTHING).dirty is True


def test_what_the_run_itself_writes_does_not_make_the_tree_dirty(repository):
    (repository / "storage" / "main.json").write_text("[]\n")
    assert provenance(repository, NOTHING).dirty is True
    storage = repository / "storage"
    assert provenance(repository, NOTHING, unwatched=[storage]).dirty is False
    elsewhere = repository.parent / "elsewhere"
    assert provenance(repository, NOTHING, unwatched=[elsewhere]).dirty is True


def test_a_change_above_the_folder_counts_too(repository):
    (repository / "engine.py").write_text("speed = 2\n")
    assert provenance(repository / "storage", NOTHING).dirty is True


def test_a_shallow_clone_says_so(repository, tmp_path):
    (repository / "engine.py").write_text("speed = 2\n")
    git(repository, "commit", "-q", "-a", "-m", "two")
    git(tmp_path, "clone", "-q", "--depth=1", repository.as_uri(), "shallow")
    found = provenance(tmp_path / "shallow", NOTHING)
    assert found.shallow is True
    assert found.commit == git(repository, "rev-parse", "HEAD")


def test_a_detached_head_has_the_branch_of_the_ci_system(repository):
    git(repository, "checkout", "-q", "--detach")
    assert provenance(repository, NOTHING).branch is None
    found = provenance(
        repository,
        {
            "GITHUB_ACTIONS": "true",
            "GITHUB_SHA": "f" * 40,
            "GITHUB_REF_NAME": "trunk",
            "GITHUB_REF": "refs/heads/trunk",
            "GITHUB_RUN_ID": "42",
            "GITHUB_RUN_ATTEMPT": "2",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": "me/engine",
        },
    )
    # What lies in the folder was measured, whatever the CI system says that it started for.
    assert found.commit == git(repository, "rev-parse", "HEAD")
    assert (found.branch, found.ci, found.ci_run) == ("trunk", "GitHub Actions", "42.2")
    assert found.ci_url == "https://github.example/me/engine/actions/runs/42"


def test_variables_that_name_another_repository_are_not_followed(repository, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "no-such"))
    assert provenance(repository, NOTHING).branch == "trunk"


def test_without_a_repository_or_without_git_nothing_is_made_up(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance(tmp_path, NOTHING) == Provenance()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance(tmp_path, NOTHING) == Provenance()


def test_an_empty_repository_has_no_commit(tmp_path):
    git(tmp_path, "init", "-q")
    assert provenance(tmp_path, NOTHING).commit is None


def test_a_git_that_does_not_answer_is_not_waited_for(repository, monkeypatch):
    def stuck(*_words, **_settings):
        raise subprocess.TimeoutExpired("git", 10)

    monkeypatch.setattr(subprocess, "run", stuck)
    assert provenance(repository, NOTHING) == Provenance()


PULL = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SHA": "a" * 40,
    "GITHUB_HEAD_REF": "faster-drafts",
    "GITHUB_REF_NAME": "17/merge",
    "GITHUB_REF": "refs/pull/17/merge",
    "GITHUB_RUN_ID": "5",
}
MERGE = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_COMMIT_SHA": "b" * 40,
    "CI_COMMIT_TIMESTAMP": "2026-01-02T04:04:05+01:00",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "faster-drafts",
    "CI_COMMIT_REF_NAME": "refs/merge-requests/17/head",
    "CI_MERGE_REQUEST_IID": "17",
    "CI_JOB_ID": "99",
    "CI_JOB_URL": "https://gitlab.example/-/jobs/99",
}
JENKINS = {
    "JENKINS_URL": "https://ci.example",
    "GIT_COMMIT": "c" * 40,
    "GIT_BRANCH": "main",
    "BUILD_TAG": "engine-8",
}
BUILDKITE = {
    "BUILDKITE": "true",
    "BUILDKITE_COMMIT": "HEAD",
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_BUILD_NUMBER": "3",
    "BUILDKITE_PULL_REQUEST": "false",
}
CIRCLE = {
    "CIRCLECI": "true",
    "CIRCLE_SHA1": "d" * 40,
    "CIRCLE_BRANCH": "main",
    "CIRCLE_BUILD_NUM": "4",
}
AZURE = {
    "TF_BUILD": "True",
    "BUILD_SOURCEVERSION": "e" * 40,
    "BUILD_SOURCEBRANCH": "refs/heads/release/1",
    "BUILD_BUILDID": "6",
}


@pytest.mark.parametrize(
    ("environment", "known"),
    [
        (PULL, ("GitHub Actions", "a" * 40, "faster-drafts", "5", "17")),
        (MERGE, ("GitLab CI", "b" * 40, "faster-drafts", "99", "17")),
        (JENKINS, ("Jenkins", "c" * 40, "main", "engine-8", None)),
        (BUILDKITE, ("Buildkite", None, "main", "3", None)),
        (CIRCLE, ("CircleCI", "d" * 40, "main", "4", None)),
        (AZURE, ("Azure Pipelines", "e" * 40, "release/1", "6", None)),
        ({"CI": "1"}, ("unknown system", None, None, None, None)),
        ({"CI": "false"}, (None, None, None, None, None)),
        ({"GITHUB_ACTIONS": "true", "GITHUB_SHA": ""}, ("GitHub Actions", *[None] * 4)),
    ],
)
def test_each_system_says_what_it_says(environment, known, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = provenance(tmp_path, environment)
    assert (found.ci, found.commit, found.branch, found.ci_run, found.request) == known


def test_a_commit_has_the_time_that_gitlab_tells(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance(tmp_path, MERGE).commit_time == "2026-01-02T03:04:05+00:00"


def test_variables_are_text_of_somebody_else(tmp_path, monkeypatch):
    """A branch may be called anything; an address that is none is left out."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    odd = {**MERGE, "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "x\n::error::\x1b[31m" + "y" * 999}
    found = provenance(tmp_path, odd)
    assert "\n" not in found.branch
    assert "\x1b" not in found.branch
    assert len(found.branch) < 400
    for url in ("javascript:alert(1)", "https://user:word@host/x", 'https://x/"><script>'):
        assert provenance(tmp_path, {**MERGE, "CI_JOB_URL": url}).ci_url is None
    assert provenance(tmp_path, {**MERGE, "CI_COMMIT_SHA": "../../x"}).commit is None
