"""Seconds that draftproof adds to the start of pytest, in a project that does not use it and in one
that does.

    python benchmarks/start.py [--rounds N] [--write]

Each row is a command with draftproof and one without, each in a process of its own, in turn; the
difference is the median over rounds of one less the other.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from draftproof.environment import hardware, versions

ROOT = Path(__file__).parent.parent
README = Path(__file__).parent / "README.md"
MARKER = "<!-- start -->"
PYTEST = (sys.executable, "-m", "pytest", "-q", "--co", "-p", "no:cacheprovider")
LINES = 200_000


def seconds(command, folder):
    """Wall seconds of a command.

    Raises:
        RuntimeError: It failed, and would have been short for that.
    """
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr}")
    return taken


def rows(folder):
    """What is compared: a name, the command with draftproof, and the one without."""
    empty = folder / "empty"
    empty.mkdir()
    (empty / "test_own.py").write_text("def test_own(): pass\n")
    without = [*PYTEST, "-p", "no:draftproof", str(empty)]
    suites = str(ROOT / "suites")
    own = folder / "own.jsonl"
    own.write_text("".join(f'{{"prompt": "Count to {n}."}}\n' for n in range(LINES)))
    yield "a project that does not use it", [*PYTEST, str(empty)], without
    yield "the suites, collected", [*PYTEST, suites], without
    yield "the suites, collected with --report", [*PYTEST, suites, "--report"], without
    jsonl = [f"--spec-jsonl={own}", "--spec-limit=50"]
    yield f"the suites with {LINES:,} lines of --spec-jsonl", [*PYTEST, suites, *jsonl], without


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--write", action="store_true", help="put the rows into README.md")
    asked = parser.parse_args()
    machine, packages = hardware(), versions()
    command = shlex.join(["python", "benchmarks/start.py", *sys.argv[1:]])
    written = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for what, ours, without in rows(folder):
            pairs = [(seconds(ours, folder), seconds(without, folder)) for _ in range(asked.rounds)]
            added = sorted(one - other for one, other in pairs)
            written.append(
                f"| {what} | {statistics.median(other for _, other in pairs):.2f} "
                f"| {statistics.median(added):.3f} | {added[0]:.3f}–{added[-1]:.3f} "
                f"| {asked.rounds} | {machine['cpus']} × {machine['cpu']} "
                f"| {packages['python']}, {packages['pytest']} | `{command}` |"
            )
            print(written[-1], flush=True)
    if asked.write:
        text = README.read_text(encoding="utf-8")
        README.write_text(text.replace(MARKER, "\n".join([*written, MARKER])), encoding="utf-8")


if __name__ == "__main__":
    main()
