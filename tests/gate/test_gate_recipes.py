"""The CI recipes: the shell one is executed, the others are checked against what they call."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from checkpoints import save_checkpoint
from plugin_sources import SUITE

from harness.plugin.options import OPTIONS

ROOT = Path(__file__).parent.parent.parent
CI = ROOT / "docs" / "ci"

EMPTY_HANDED = """
import pytest
from harness.acceptance import GreedyRule


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
                "PYTHONPATH": str(ROOT),
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


def steps_of(recipe):
    if recipe == "github.yml":
        (job,) = yaml.safe_load((CI / recipe).read_text())["jobs"].values()
        return [step["run"] for step in job["steps"] if "run" in step]
    jobs = yaml.safe_load((CI / recipe).read_text())
    return [line for job in jobs.values() for line in job.get("script", [])]


@pytest.mark.parametrize("recipe", ["github.yml", "gitlab.yml"])
def test_a_recipe_saves_on_the_main_branch_and_compares_elsewhere(recipe):
    called = [line for step in steps_of(recipe) for line in re.findall(r"gate\.sh (\w+)", step)]
    assert called == ["save", "compare"]
    assert (CI / "gate.sh").stat().st_mode & 0o111


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
