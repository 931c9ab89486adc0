"""Engines that fail in every way they can: each case ends with a reason, and the run goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from chaos.attack import Attack

FAULTS = {
    "raises an error": "raise ValueError('no')",
    "raises SystemExit": "raise SystemExit(0)",
    "raises KeyboardInterrupt": "raise KeyboardInterrupt",
    "raises MemoryError": "raise MemoryError",
    "raises an error with a text of 50 MB": "raise ValueError('x' * 50_000_000)",
    "raises an error with raw escapes": "raise ValueError('\\x1b]0;own\\x07 \\ud800')",
    "raises an error that has no text": "raise Unspeakable",
    "recurses for ever": "return self.again(request)",
    "returns nothing": "return None",
    "returns an id that no tokenizer has": "return replace(sound, token_ids=(10**30,) * 8)",
    "returns NaN seconds": "return replace(sound, seconds=float('nan'))",
    "returns fewer tokens than asked": "return replace(sound, token_ids=sound.token_ids[:2])",
    "returns token ids without end": "return replace(sound, token_ids=iter(int, 1))",
    "returns counts that cannot be": "return replace(sound, counts=Counts(drafted=-1, accepted=9))",
    "returns steps that are no steps": "return replace(sound, steps={'step': [0, 'x']})",
    "does not answer": "time.sleep(3600)",
}
"""What an engine does, survived in one process. The last is not asked again after it."""

DEATHS = {
    "ends its process with exit code 0": "os._exit(0)",
    "exits in native code": "ctypes.CDLL(None).exit(0)",
    "is ended by SIGSEGV": "os.kill(os.getpid(), signal.SIGSEGV)",
    "is ended by SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "aborts": "os.abort()",
}
"""What an engine does, survived under pytest-xdist."""

ENGINE = """
import ctypes, os, signal, time
from dataclasses import replace
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine
from draftproof.trace import Counts


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Faulty:
    name = "faulty"
    capabilities = ReferenceEngine.capabilities - {{Capability.BATCHES}}

    def __init__(self, config, pair):
        self.inner = ReferenceEngine(pair, config)
        self.plain = self.inner.plain

    def speculate(self, request):
        name = request.request_id
        sound = self.inner.speculate(request)
{branches}
        return sound

    def again(self, request):
        return self.again(request)

    def describe(self):
        return {{"name": "faulty", "odd": float("nan"), 1: {{2}}, "half": "\\ud800"}}

    def close(self):
        time.sleep(3600)
"""


def attacks() -> list[Attack]:
    """One run of every fault in turn, and one of every death."""
    return [
        Attack(
            kind="fault of an engine: in its process",
            name=f"faults of an engine: {len(FAULTS)} in one process",
            run=lambda folder: _lost(folder, FAULTS),
            tried=len(FAULTS),
        ),
        Attack(
            kind="fault of an engine: its process ends",
            name=f"faults of an engine: {len(DEATHS)} under -n 1",
            run=lambda folder: _lost(folder, DEATHS, "-n1", f"--max-worker-restart={len(DEATHS)}"),
            tried=len(DEATHS),
        ),
    ]


def _lost(folder: Path, faults: dict[str, str], *options: str) -> str:
    """Run a suite in which every second case meets a fault, and say what became of it."""
    from draftproof.report import load_run

    faulty = {f"letters/{2 * number + 1}": code for number, code in enumerate(faults.values())}
    branches = "\n".join(
        f"        if name == {case_id!r}:\n            {code}" for case_id, code in faulty.items()
    )
    prompts = ["a b c"] * (2 * len(faults))
    texts = [f"{prompt} {'d ' * (number % 9)}e" for number, prompt in enumerate(prompts)]
    (folder / "faulty.py").write_text(ENGINE.format(branches=branches))
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_letters.py").write_text(
        f"import pytest\n\npytestmark = pytest.mark.suite('letters', prompts={texts!r})\n\n\n"
        "def test_lossless(case, speculation):\n    speculation.run(case).assert_lossless()\n"
    )
    pair = [f"--spec-{role}={folder.parent / role}" for role in ("target", "draft")]
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--report",
            "--report-dir=out", "--spec-dtype=float64", "--spec-max-new-tokens=8",
            "--spec-engine=faulty:Faulty", "--spec-engine-timeout=20", *pair, *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=900,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if done.returncode != 1:
        return f"the exit code is {done.returncode}: {said[-2000:]}"
    if len(said) > 500_000 or "\x1b]" in said:
        return "a text of an engine is printed whole, or as it is"
    saved = load_run(folder / "out")
    if not saved.complete or len(saved.cases) != 2 * len(faults):
        return f"the report has {len(saved.cases)} of {2 * len(faults)} cases"
    for case in saved.cases:
        is_faulty = case.case_id in faulty
        # Counters that cannot be leave the output what it is, and are told as contradictions.
        reasons = (*case.contradictions, *([case.message] if case.verdict == "error" else []))
        if any(reasons) != is_faulty:
            return f"{case.case_id} ({faulty.get(case.case_id, 'sound')}) is {case.verdict}"
    return ""
