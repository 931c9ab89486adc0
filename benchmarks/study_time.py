"""Seconds of the whole study by an earlier commit and by this one in batches, in turn.

    python benchmarks/study_time.py COMMIT [--rounds N] [--write] [-- OPTIONS of pytest]

The study is `pytest suites --report --spec-preset acceptance-dynamics`: four domains, plain and
with speculation, judged and reported. Everything is in its seconds, from starting pytest on.
"""

from __future__ import annotations

import argparse
import os
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
MARKER = "<!-- study time -->"


def study(sources, report, options):
    """Seconds of one study by the sources in a folder.

    Raises:
        RuntimeError: It failed, and would have been short for that.
    """
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "suites"]
    preset = ["--report", "--report-dir", str(report), "--spec-preset", "acceptance-dynamics"]
    command = [*pytest, *preset, *options]
    environment = {**os.environ, "PYTHONPATH": str(sources / "harness")}
    began = time.perf_counter()
    done = subprocess.run(
        command, cwd=sources, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr}")
    print(f"{report.name}: {seconds:.1f} s, {done.stdout.splitlines()[-1]}", flush=True)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="the earlier one")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the row into README.md")
    parser.add_argument("options", nargs="*", help="of pytest, after --, for both")
    asked = parser.parse_args()
    before, now = [], []
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder) / "earlier"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(earlier), asked.commit], check=True)
        try:
            for number in range(asked.rounds):
                out = Path(folder)
                before.append(study(earlier, out / f"earlier-{number}", asked.options))
                batches = ["--spec-batch", "auto", *asked.options]
                now.append(study(ROOT, out / f"now-{number}", batches))
        finally:
            subprocess.run([*git, "remove", "-f", str(earlier)], check=True)
    ratio = statistics.median(a / b for a, b in zip(before, now, strict=True))
    machine, packages = hardware(), versions()
    where = (machine.get("accelerators") or [f"{machine['cpus']} × {machine['cpu']}"])[0]
    command = shlex.join(["python", "benchmarks/study_time.py", *sys.argv[1:]])
    listed = (", ".join(f"{seconds:.1f}" for seconds in times) for times in (before, now))
    row = (
        f"| {asked.commit} | {' | '.join(listed)} | {ratio:.2f} | {where} | {packages['torch']}, "
        f"{packages['transformers']} | `{command}` |"
    )
    print(row)
    if asked.write:
        text = README.read_text(encoding="utf-8")
        README.write_text(text.replace(MARKER, f"{row}\n{MARKER}"), encoding="utf-8")


if __name__ == "__main__":
    main()
