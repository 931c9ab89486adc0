"""Runs the worked example of the gate and writes what it printed into ``docs/gate-example.md``.

    python docs/make_gate_example.py [--limit 50] [--page FILE]

An engine of one's own (``docs/examples/my_engine.py``) is measured, one line of it is changed, and it
is measured again, by the commands that the page shows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gate-example.md"
ENGINE = ROOT / "docs" / "examples" / "my_engine.py"
RIGHT = "kept = path[: len(self._levels)]"
WRONG = "kept = [level[0] for level in self._levels[: len(path)]]"
BEGIN, END = "<!-- example:begin -->", "<!-- example:end -->"
GATES = ("acceptance_rate@overall:-1%", "identical")


def options(limit: int) -> list[str]:
    """The settings of both runs."""
    return [
        "--report",
        "--spec-engine=my_engine:make_engine",
        f"--spec-limit={limit}",
        "--spec-tree=5x2",
        "--spec-max-new-tokens=48",
        "--spec-check-state=0",
    ]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs the suites in a folder that holds the engine."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--import-mode=importlib",
         "--rootdir", str(folder), str(ROOT / "suites"), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def example(limit: int, page: Path | None) -> str:
    """What the page shows between its markers.

    Args:
        limit: Prompts a domain.
        page: Where to keep ``comparison.html``, or None.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = ENGINE.read_text(encoding="utf-8")
        assert source.count(RIGHT) == 1
        (folder / "my_engine.py").write_text(source, encoding="utf-8")
        saving = ["--spec-save=main", "--spec-save-traces"]
        before = run(folder, *options(limit), "--report-dir=before", *saving)
        assert before.returncode == 0, before.stdout + before.stderr
        (folder / "my_engine.py").write_text(source.replace(RIGHT, WRONG), encoding="utf-8")
        comparing = ["--spec-compare=main", *(f"--spec-fail={gate}" for gate in GATES)]
        after = run(folder, *options(limit), "--report-dir=after", *comparing)
        comparison = json.loads((folder / "after" / "comparison.json").read_text("utf-8"))
        metrics = json.loads((folder / "after" / "metrics.json").read_text("utf-8"))
        described = json.loads((folder / "after" / "run.json").read_text("utf-8"))
        if page is not None:
            shutil.copy(folder / "after" / "comparison.html", page)
    printed = re.search(r"^GATE .*?(?=^Comparison: )", after.stdout, flags=re.DOTALL | re.MULTILINE)
    plan = re.findall(r"^draftproof: (?:compared|gate) .*$", after.stdout, flags=re.MULTILINE)
    assert printed is not None, after.stdout
    gate = comparison["gates"][0]
    lossless, versions = metrics["lossless"], described["versions"]
    shown = [word for word in options(limit) if word != "--report"]
    command = f"pytest suites/ --report {' '.join(shown)}"
    return "\n".join(
        [
            "```diff",
            f"-        {RIGHT}",
            f"+        {WRONG}",
            "```",
            "",
            "```",
            f"{command} {' '.join(saving)}",
            f"{command} {' '.join(comparing)}",
            "```",
            "",
            f"Every test of the second run passes: {lossless['identical']} of {lossless['cases']} "
            f"outputs are identical to the target's own. The acceptance rate changed by "
            f"{gate['change']:+.1%} ({gate['low']:+.1%} to {gate['high']:+.1%}), and pytest ends "
            f"with exit code {after.returncode}:",
            "",
            "```",
            *plan,
            "",
            printed[0].rstrip(),
            "```",
            "",
            f"Built-in pair (a toy pair: the figures describe only it), {limit} prompts a domain; "
            f"{described['hardware']['cpus']} × {described['hardware']['cpu']}, torch "
            f"{versions['torch']}, transformers {versions['transformers']}; made by `python "
            f"docs/make_gate_example.py --limit {limit}`.",
        ]
    )


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--page", type=Path, help="keep the comparison's page there")
    arguments = parser.parse_args()
    text = example(arguments.limit, arguments.page)
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
