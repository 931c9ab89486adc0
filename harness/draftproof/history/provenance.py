"""Which commit, branch and CI run a measurement is of: from git and from the environment."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from draftproof.errors import TraceError, clean_text

GIT_SECONDS = 10.0
"""How long git is waited for; what it has not said by then is unknown."""
_MOST_TEXT = 300
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a run comes from; whatever is not known is None.

    Attributes:
        commit: The full hash.
        commit_time: When it was committed: ISO 8601, UTC.
        branch: The branch; of a pull or merge request, its source branch.
        dirty: Whether tracked files differed from the commit.
        shallow: Whether the clone lacked older commits.
        ci: The CI system; None outside of one.
        ci_run: Its number or id of the run.
        ci_url: Where that run can be looked at.
        request: Number of the pull or merge request.
    """

    commit: str | None = None
    commit_time: str | None = None
    branch: str | None = None
    dirty: bool | None = None
    shallow: bool | None = None
    ci: str | None = None
    ci_run: str | None = None
    ci_url: str | None = None
    request: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values by field."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The inverse of `to_json`; fields that this version does not know are left out.

        Raises:
            TraceError: A field has another type.
        """
        if not isinstance(values, dict):
            raise TraceError("where a run comes from is not a JSON object")
        known = {f.name: values.get(f.name) for f in dataclasses.fields(cls)}
        for name, value in known.items():
            kind = bool if name in ("dirty", "shallow") else str
            if value is not None and not isinstance(value, kind):
                raise TraceError(f"where a run comes from: '{name}' is not a {kind.__name__}")
        return cls(**known)


def provenance(
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    unwatched: Sequence[Path] = (),
) -> Provenance:
    """Where a run that is made in a folder comes from.

    What git says of the folder counts before what the CI system says, since it is what was
    measured. In a checkout without a branch, as CI systems make them, the branch is the CI
    system's.

    Args:
        folder: In the work tree.
        environment: Variables; the process's own by default.
        unwatched: Files and folders whose changes do not make the work tree dirty: what the run
            itself writes.

    Returns:
        What is known. Without git, outside of a repository, or where git does not answer: what the
        environment says.
    """
    told = _from_ci(os.environ if environment is None else environment)
    found = _from_git(folder, unwatched)
    return dataclasses.replace(
        told, **{name: value for name, value in found.items() if value is not None}
    )


def _from_git(folder: Path, unwatched: Sequence[Path]) -> dict[str, Any]:
    head = _git(folder, "log", "-1", "--no-show-signature", "--format=%H %ct", "HEAD")
    commit, _, seconds = (head or "").partition(" ")
    if not _COMMIT.fullmatch(commit):
        return {}
    branch = _git(folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    inside = [os.path.relpath(path, folder) for path in unwatched]
    excluded = [f":(exclude){path}" for path in inside if not path.startswith("..")]
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/", *excluded)
    shallow = _git(folder, "rev-parse", "--is-shallow-repository")
    return {
        "commit": commit,
        "commit_time": _moment(seconds),
        "branch": None if branch is None else _text(branch),
        "dirty": None if changed is None else bool(changed),
        "shallow": {"true": True, "false": False}.get(shallow or ""),
    }


def _git(folder: Path, *words: str) -> str | None:
    """What a git command prints; None where it fails, is not there or does not answer."""
    # No lock is taken, nothing is asked, and the repository is the folder's own: a variable such as
    # GIT_DIR, which hooks have set, would name another one.
    environment = {name: value for name, value in os.environ.items() if not _is_of_git(name)}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def _is_of_git(name: str) -> bool:
    """Whether a variable says which repository, index or work tree git looks at."""
    return name in (
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_COMMON_DIR",
        "GIT_OBJECT_DIRECTORY",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
    )


def _from_ci(environment: Mapping[str, str]) -> Provenance:
    for system, sign, read in _SYSTEMS:
        if environment.get(sign):
            told: dict[str, Any] = dict(read(_Variables(environment)))
            return Provenance(ci=system, **told)
    return Provenance(ci="unknown system") if _is_true(environment.get("CI")) else Provenance()


class _Variables:
    """Variables of the environment as they may stand in a file: one line, no longer than a line."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def first(self, *names: str) -> str | None:
        """The first that is set and not empty."""
        for name in names:
            if text := _text(self._environment.get(name, "")):
                return text
        return None


Told = Iterator[tuple[str, str | None]]


def _github(variables: _Variables) -> Told:
    yield from _common(variables, "GITHUB_SHA", "GITHUB_HEAD_REF", "GITHUB_REF_NAME")
    run, attempt = variables.first("GITHUB_RUN_ID"), variables.first("GITHUB_RUN_ATTEMPT")
    yield "ci_run", f"{run}.{attempt}" if run and attempt else run
    server, repository = variables.first("GITHUB_SERVER_URL"), variables.first("GITHUB_REPOSITORY")
    if server and repository and run:
        yield "ci_url", _url(f"{server}/{repository}/actions/runs/{run}")
    pull = re.fullmatch(r"refs/pull/(\d+)/.*", variables.first("GITHUB_REF") or "")
    yield "request", pull[1] if pull else None


def _gitlab(variables: _Variables) -> Told:
    yield from _common(
        variables,
        "CI_COMMIT_SHA",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME",
        "CI_COMMIT_BRANCH",
        "CI_COMMIT_REF_NAME",
    )
    yield "ci_run", variables.first("CI_JOB_ID", "CI_PIPELINE_ID")
    yield "ci_url", _url(variables.first("CI_JOB_URL", "CI_PIPELINE_URL"))
    yield "request", variables.first("CI_MERGE_REQUEST_IID")
    yield "commit_time", _moment(variables.first("CI_COMMIT_TIMESTAMP") or "")


def _jenkins(variables: _Variables) -> Told:
    yield from _common(variables, "GIT_COMMIT", "CHANGE_BRANCH", "BRANCH_NAME", "GIT_BRANCH")
    yield "ci_run", variables.first("BUILD_TAG", "BUILD_NUMBER")
    yield "ci_url", _url(variables.first("BUILD_URL"))
    yield "request", variables.first("CHANGE_ID")


def _buildkite(variables: _Variables) -> Told:
    yield from _common(variables, "BUILDKITE_COMMIT", "BUILDKITE_BRANCH")
    yield "ci_run", variables.first("BUILDKITE_BUILD_NUMBER")
    yield "ci_url", _url(variables.first("BUILDKITE_BUILD_URL"))
    number = variables.first("BUILDKITE_PULL_REQUEST")
    yield "request", None if number == "false" else number


def _circle(variables: _Variables) -> Told:
    yield from _common(variables, "CIRCLE_SHA1", "CIRCLE_BRANCH")
    yield "ci_run", variables.first("CIRCLE_BUILD_NUM")
    yield "ci_url", _url(variables.first("CIRCLE_BUILD_URL"))
    yield "request", variables.first("CIRCLE_PR_NUMBER")


def _azure(variables: _Variables) -> Told:
    yield from _common(
        variables, "BUILD_SOURCEVERSION", "SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"
    )
    yield "ci_run", variables.first("BUILD_BUILDID")
    yield "request", variables.first("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER")


def _common(variables: _Variables, commit: str, *branches: str) -> Told:
    found = (variables.first(commit) or "").lower()
    yield "commit", found if _COMMIT.fullmatch(found) else None
    branch = variables.first(*branches)
    yield "branch", None if branch is None else branch.removeprefix("refs/heads/")


_SYSTEMS = (
    ("GitHub Actions", "GITHUB_ACTIONS", _github),
    ("GitLab CI", "GITLAB_CI", _gitlab),
    ("Buildkite", "BUILDKITE", _buildkite),
    ("CircleCI", "CIRCLECI", _circle),
    ("Azure Pipelines", "TF_BUILD", _azure),
    ("Jenkins", "JENKINS_URL", _jenkins),
)
"""Each system with the variable that tells it, and what reads the others."""


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() not in ("", "0", "false", "no")


def _text(text: str) -> str:
    """Text of the environment on one line."""
    return " ".join(clean_text(text, _MOST_TEXT).split())


def _url(text: str | None) -> str | None:
    """An address that a browser opens and that holds no password; else None."""
    if text is None or not re.fullmatch(r"https?://[^\s@\"'<>\\]+", text):
        return None
    return text


def _moment(text: str) -> str | None:
    """A time in seconds of Unix, or in ISO 8601, as ISO 8601 in UTC."""
    try:
        when = (
            datetime.fromtimestamp(int(text), UTC)
            if text.isdecimal()
            else datetime.fromisoformat(text)
        )
        return when.astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return None
