"""The CI recipes: the shell one is executed, and so is every line of the others but the install.

What only a runner can do is stood in for: artefacts are copied, and `gh` and `curl` are stubs that
take no option but those that the recipes give.
"""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from checkpoints import save_checkpoint
from plugin_sources import SUITE

from draftproof.errors import INCONCLUSIVE_EXIT_CODE
from draftproof.plugin.options import OPTIONS

ROOT = Path(__file__).parent.parent.parent
CI = ROOT / "docs" / "ci"

EMPTY_HANDED = """
import pytest
from draftproof.acceptance import GreedyRule


class KeepsNothing(GreedyRule):
    def accept(self, draft, target, randomness):
        kept = super().accept(draft, target, randomness)
        reached = draft.tree.children(-1)
        return type(kept)(path=(), extra_token=int(target[0].argmax()), reached=reached)


@pytest.fixture(scope="session")
def acceptance_rule():
    return KeepsNothing()
"""


@pytest.fixture
def gate(tmp_path):
    """Runs docs/ci/gate.sh in a folder with a suite of its own, on a tiny pair."""
    model = save_checkpoint(tmp_path / "model", stops=False)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_letters.py").write_text(SUITE)

    def run(*words, **environment):
        return subprocess.run(
            [
                "bash",
                str(CI / "gate.sh"),
                *words,
                *(f"--spec-{role}={model}" for role in ("target", "draft")),
                "--spec-max-new-tokens=6",
                "-p",
                "no:cacheprovider",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PYTHON": sys.executable,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'harness'}",
                "SPEC_SUITES": "test_letters.py",
                "SPEC_SUMMARY": "summary.md",
                **environment,
            },
        )

    return run


def test_the_shell_recipe_saves_compares_fails_and_posts(gate, tmp_path):
    missing = gate("compare")
    assert missing.returncode == 4
    assert "there is no baseline 'main'" in missing.stderr
    assert gate("save").returncode == 0
    assert (tmp_path / ".draftproof" / "main.json").is_file()
    (tmp_path / "conftest.py").write_text(EMPTY_HANDED)
    failed = gate("compare", SPEC_GATES="identical acceptance_rate:-0.02")
    assert failed.returncode == 1, failed.stdout
    assert "GATE FAILED" in failed.stdout
    assert (tmp_path / "summary.md").read_text().startswith("# GATE FAILED")


def test_the_shell_recipe_refuses_an_unknown_mode(gate):
    refused = gate("compere")
    assert refused.returncode == 4
    assert "neither save nor compare" in refused.stderr


INSTALL = "python -m pip install -c constraints.txt -e '.[test]'"
SAVE = "docs/ci/gate.sh save"
SMALL = "--spec-limit=9 --spec-max-new-tokens=4 --spec-check-state=0 -p no:cacheprovider"
STUBS = {
    "python": "import os, sys\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n",
    "gh": """
import argparse, os, shutil
parser = argparse.ArgumentParser()
parser.add_argument("what", choices=["run"])
commands = parser.add_subparsers(required=True)
listing = commands.add_parser("list")
for option in ("workflow", "branch", "event", "status", "limit", "json", "jq"):
    listing.add_argument(f"--{option}", required=True)
listing.set_defaults(do=lambda given: os.environ.get("GH_HAS_NO_RUN") or print("4217"))
download = commands.add_parser("download")
download.add_argument("run", choices=["4217"])
download.add_argument("--name", choices=["spec-baseline"], required=True)
download.add_argument("--dir", required=True)
download.set_defaults(do=lambda given: shutil.copytree(os.environ["ARTEFACT"], given.dir))
given = parser.parse_args()
given.do(given)
""",
    "curl": """
import argparse, os, shutil
parser = argparse.ArgumentParser()
for option in ("--fail", "--location"):
    parser.add_argument(option, action="store_true", required=True)
parser.add_argument("--output", required=True)
parser.add_argument("--header", choices=["JOB-TOKEN: a-token"], required=True)
parser.add_argument("url")
given = parser.parse_args()
assert given.url == (
    "https://gitlab.example/api/v4/projects/7/jobs/artifacts/main/download"
    "?job=speculation-baseline"
), given.url
shutil.copy(os.environ["ARTEFACT"], given.output)
""",
}


def github_steps(event):
    """The steps of the workflow that an event runs."""
    (job,) = yaml.safe_load((CI / "github.yml").read_text())["jobs"].values()
    conditions = (None, "always()", f"github.event_name == '{event}'")
    return [step for step in job["steps"] if step.get("if") in conditions]


def commands(steps):
    return [step["run"] for step in steps if "run" in step]


def gitlab_jobs():
    return yaml.safe_load((CI / "gitlab.yml").read_text())


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a line as a runner's shell does, in a checkout, on few prompts of the suites."""
    stubs = tmp_path_factory.mktemp("stubs")
    for name, source in STUBS.items():
        (stubs / name).write_text(f"#!{sys.executable}\n{source}")
        (stubs / name).chmod(0o755)

    def run(line, folder, **environment):
        return subprocess.run(
            ["bash", "-eo", "pipefail", "-c", line],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PATH": f"{stubs}{os.pathsep}{os.environ['PATH']}",
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'harness'}",
                "PYTEST_ADDOPTS": SMALL,
                **environment,
            },
        )

    return run


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A function that makes a folder with what a checkout of this repository has."""

    def make(name):
        folder = tmp_path_factory.mktemp(name)
        for entry in ("docs", "suites", "harness", "fixtures", "pyproject.toml"):
            (folder / entry).symlink_to(ROOT / entry)
        return folder

    return make


@pytest.fixture(scope="module")
def saved(shell, checkout):
    """The folder in which the recipe measured a baseline."""
    folder = checkout("main-branch")
    done = shell(SAVE, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_on_the_main_branch_both_recipes_install_and_run_the_line_that_is_executed_here(saved):
    install, fetch, measure = commands(github_steps("push"))
    assert (install, measure) == (INSTALL, SAVE)
    assert "--dir .draftproof" in fetch
    jobs = gitlab_jobs()
    assert jobs[".speculation"]["before_script"] == [INSTALL]
    assert jobs["speculation-baseline"]["script"] == [SAVE]
    assert (ROOT / "constraints.txt").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "test" in project["optional-dependencies"]
    assert (CI / "gate.sh").stat().st_mode & 0o111
    # What both keep is what the line wrote.
    (kept,) = (s["with"] for s in github_steps("push") if s.get("name") == "Keep the baseline")
    assert kept["include-hidden-files"], "the folder's name starts with a dot"
    for path in (kept["path"], *jobs[".speculation"]["artifacts"]["paths"]):
        assert any((saved / path).iterdir())
    for path in jobs[".speculation"]["artifacts"]["reports"].values():
        assert (saved / path).is_file()
    [history] = jobs["speculation-baseline"]["cache"]["paths"]
    assert len((saved / history).read_text().splitlines()) == 1
    assert "block efficiency over commits" in (saved / "spec-report/history.html").read_text()
    assert (saved / "spec-report" / "tables" / "figures.csv").is_file()
    assert (saved / "spec-report" / "badge.svg").read_text().startswith("<svg")


def test_on_the_main_branch_the_history_of_before_is_gone_on_with(shell, checkout, saved):
    """The first run finds no artefact; a later one finds the last's."""
    _, fetch, _ = commands(github_steps("push"))
    folder = checkout("first")
    assert shell(fetch, folder, GH_HAS_NO_RUN="1").returncode == 0
    assert not (folder / ".draftproof").exists()
    done = shell(fetch, folder, ARTEFACT=str(saved / ".draftproof"))
    assert done.returncode == 0, done.stderr
    assert (folder / ".draftproof" / "history.jsonl").is_file()


def test_the_github_recipe_compares_a_pull_request(shell, checkout, saved):
    folder = checkout("pull-request")
    steps = github_steps("pull_request")
    assert commands(steps)[0] == INSTALL
    lines = commands(steps)[1:]
    assert [line.split()[-1] for line in lines] == [".draftproof", "compare"]
    # The artefact holds what lies in the folder, and not the folder.
    environment = {
        "ARTEFACT": str(saved / ".draftproof"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
    }
    for line in lines:
        done = shell(line, folder, **environment)
        assert done.returncode == 0, line + done.stdout + done.stderr
    assert "GATE PASSED: this run against main, 36 cases" in done.stdout
    summary = (folder / "summary.md").read_text()
    assert summary.startswith("# GATE PASSED")
    assert "# draftproof: builtin" in summary
    # Whatever the run prints is no command: they are off from before it until after it.
    printed = done.stdout.splitlines()
    stop = next(i for i, line in enumerate(printed) if line.startswith("::stop-commands::"))
    again = printed.index(f"::{printed[stop].rpartition('::')[2]}::")
    begun = next(i for i, line in enumerate(printed) if "test session starts" in line)
    ended = next(i for i, line in enumerate(printed) if "GATE PASSED" in line)
    assert stop < begun < ended < again
    # What is not in the figures is said where the job is looked at.
    assert any(line.startswith("::warning title=draftproof::code") for line in printed[again:])
    (report,) = (step["with"]["path"] for step in steps if step.get("if") == "always()")
    assert (folder / report / "comparison.html").is_file()
    assert "--workflow speculation.yml " in lines[0]
    assert "/speculation.yml" in (CI / "github.yml").read_text().splitlines()[0]


def test_the_gitlab_recipe_compares_a_merge_request(shell, checkout, saved, tmp_path):
    folder = checkout("merge-request")
    jobs = gitlab_jobs()
    with zipfile.ZipFile(tmp_path / "artefact.zip", "w") as archive:
        for path in jobs[".speculation"]["artifacts"]["paths"]:
            for file in (saved / path).rglob("*"):
                archive.write(file, file.relative_to(saved))
    variables = {
        "ARTEFACT": str(tmp_path / "artefact.zip"),
        "CI_JOB_TOKEN": "a-token",
        "CI_API_V4_URL": "https://gitlab.example/api/v4",
        "CI_PROJECT_ID": "7",
        "CI_DEFAULT_BRANCH": "main",
    }
    for line in jobs["speculation-gate"]["script"]:
        done = shell(line, folder, **variables)
        assert done.returncode == 0, line + done.stdout + done.stderr
    assert "GATE PASSED: this run against main, 36 cases" in done.stdout
    assert jobs["speculation-gate"]["allow_failure"] == {"exit_codes": INCONCLUSIVE_EXIT_CODE}


def test_every_option_of_the_recipes_and_the_page_exists():
    known = {option.flag for option in OPTIONS}
    texts = [path.read_text() for path in (*CI.iterdir(), ROOT / "docs" / "gate.md")]
    used = {flag for text in texts for flag in re.findall(r"--spec-[a-z-]+", text)}
    assert used
    assert used <= known


def test_measured_false_alarms_are_at_most_alpha():
    """Of the table in docs/gate.md: no row's 95% interval lies above .05."""
    page = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| (\d+) \| (\d+) \| ([\d.]+)% \| ([\d.]+)%–([\d.]+)% \|", page)
    assert len(rows) >= 5
    for _, comparisons, share, low, _ in rows:
        assert int(comparisons) >= 1000
        assert float(low) <= 5.0, share
