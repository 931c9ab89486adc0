"""Runs that are killed, and gone on with: at random moments, and at moments chosen to hurt.

A killed run goes on with `--spec-resume` until it ends, and is then compared with one that nothing
happened to: every case, its tokens, steps and nodes. What the journal held when the run was killed
must be in the end what it was then. No killed run may end with an exit code of success, and none
may be read as a whole one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from chaos.attack import Attack
from checkpoints import save_checkpoint

CASES = 6
SUITE = f"""
import pytest

PROMPTS = ["a b c", "c b a", "d e", "f g h", "a a", "h g f e"]
pytestmark = pytest.mark.suite("letters", prompts=PROMPTS[:{CASES}])


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
"""

ENGINE = """
import multiprocessing, os, signal, time
from pathlib import Path
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine


class Slow:
    '''Takes its time, says where it is, and asks a child process, as engines of servers do.'''

    name = "slow"
    capabilities = ReferenceEngine.capabilities - {Capability.BATCHES}

    def __init__(self, config, pair):
        self.inner = ReferenceEngine(pair, config)
        self.child = None
        self.asked = 0

    def speculate(self, request):
        self._ask_child()
        return self.inner.speculate(request)

    def plain(self, request):
        return self.inner.plain(request)

    def _ask_child(self):
        if self.child is None:
            context = multiprocessing.get_context("fork")
            self.pipe, theirs = context.Pipe()
            self.child = context.Process(target=_answer, args=(theirs, self.pipe), daemon=True)
            self.child.start()
            theirs.close()
        Path("child").write_text(str(self.child.pid))
        Path("worker").write_text(str(os.getpid()))
        self.asked += 1
        try:
            self.pipe.send(self.asked)
            self.pipe.recv()
        except (EOFError, OSError) as error:
            self.child = None
            raise RuntimeError("the engine's child is gone") from error

    def describe(self):
        return {**self.inner.describe(), "name": "slow"}

    def close(self):
        if self.child is not None:
            self.child.kill()


def _answer(pipe, end_of_the_other):
    end_of_the_other.close()  # else the pipe would never end, and this process neither
    while True:
        try:
            asked = pipe.recv()
        except EOFError:
            return
        time.sleep(0.15)
        pipe.send(asked)
"""

WATCHED = """
import os, signal
import draftproof.journal as journal
import draftproof.files as files

MOMENT, SIDE = {moment}, {side!r}
done = [0]
fsync = os.fsync


def watched(descriptor):
    if done[0] == MOMENT and SIDE == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
    if done[0] == MOMENT and SIDE == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    done[0] += 1


if MOMENT is not None:
    os.fsync = watched
"""

MODES: dict[str, tuple[str, ...]] = {
    "one process": (),
    "-n 1": ("-n1",),
    "-n 2": ("-n2",),
    "--spec-batch": ("--spec-batch=3",),
}
WRITES = 1 + CASES + 7
"""Times that a run makes sure that a file is on the disk: its header, its cases, its report."""

_MOST_RESUMES = 4
_SECONDS = 240


def attacks(seed: int, count: int) -> list[Attack]:
    """So many kills of each kind: at chosen moments, and of each victim at random ones."""
    rng = random.Random(f"{seed} kills")
    chosen = []
    for number in range(count):
        moment, side = rng.randrange(WRITES), rng.choice(["before", "after"])
        mode = rng.choice(["one process", "-n 1", "--spec-batch"])
        chosen.append(_chosen(number, mode, moment, side))
        for victim, modes in (
            ("the run", list(MODES)),
            ("the process that works", ["one process", "--spec-batch"]),
            ("a worker of pytest-xdist", ["-n 1", "-n 2"]),
            ("a child of the engine", ["one process", "-n 1"]),
            ("Ctrl-C", list(MODES)),
            ("SIGTERM", list(MODES)),
        ):
            chosen.append(_random(number, victim, rng.choice(modes), round(rng.random(), 3)))
    return chosen


def _chosen(number: int, mode: str, moment: int, side: str) -> Attack:
    return Attack(
        kind="kill at a chosen moment: around a write",
        name=f"kill {number}: {mode}, {side} write {moment + 1} of {WRITES}",
        run=lambda folder: _Run(folder, mode).killed_at(moment, side),
    )


def _random(number: int, victim: str, mode: str, share: float) -> Attack:
    return Attack(
        kind=f"kill at a random moment: {victim}",
        name=f"kill {number}: {victim}, {mode}, {share:g} of the run",
        run=lambda folder: _Run(folder, mode).killed_when(victim, share),
    )


class _Run:
    """A run in a folder of its own.

    Args:
        folder: Empty; what all runs share lies beside it.
        mode: One of `MODES`.
    """

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        self.mode = mode
        self.shared = folder.parent
        self.engine = () if mode == "--spec-batch" else ("--spec-engine=slow:Slow",)

    def killed_at(self, moment: int, side: str) -> str:
        """Kill the process that writes, around one of its writes."""
        self._prepare(moment, side)
        process = self._start()
        code = self._ended(process)
        if code is None:
            return "the run hung"
        return self._after(code, f"killed {side} write {moment + 1}", must_fail=True)

    def killed_when(self, victim: str, share: float) -> str:
        """Kill something after a share of the time that the run takes once it measures."""
        self._prepare(None, "")
        process = self._start()
        sign = self.folder / ("worker" if self.engine else "out/journal.jsonl")
        until = time.monotonic() + _SECONDS
        while process.poll() is None and not (sign.exists() and sign.stat().st_size):
            if time.monotonic() > until:
                process.kill()
                return "the run did not begin"
            time.sleep(0.02)
        time.sleep(share * CASES * 0.5)
        is_hit = self._hit(process, victim)
        code = self._ended(process)
        if code is None:
            return "the run hung after it was hit"
        # A run that was over already is not killed; one whose child or worker died goes on.
        must_fail = is_hit and victim in ("the run", "the process that works")
        return self._after(code, f"{victim} killed", must_fail=must_fail)

    def _hit(self, process: subprocess.Popen[str], victim: str) -> bool:
        if process.poll() is not None:
            return False
        try:
            if victim == "Ctrl-C":
                os.killpg(process.pid, signal.SIGINT)
            elif victim == "SIGTERM":
                process.terminate()
            elif victim == "the run":
                process.kill()
            elif victim == "the process that works":
                (working,) = _children(process.pid)
                os.kill(working, signal.SIGKILL)
            else:
                name = "child" if "child" in victim else "worker"
                os.kill(int((self.folder / name).read_text()), signal.SIGKILL)
        except (ProcessLookupError, ValueError, FileNotFoundError):
            return False
        return True

    def _prepare(self, moment: int | None, side: str) -> None:
        (self.folder / "test_letters.py").write_text(SUITE)
        (self.folder / "slow.py").write_text(ENGINE)
        (self.folder / "conftest.py").write_text(WATCHED.format(moment=moment, side=side))
        (self.folder / "pytest.ini").write_text("[pytest]\n")

    def _start(self, *more: str) -> subprocess.Popen[str]:
        log = (self.folder / "log").open("a")
        with log:
            return subprocess.Popen(
                self.command(*more),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )

    def command(self, *more: str) -> list[str]:
        """The command line of the run."""
        pair = [f"--spec-{role}={self.shared / role}" for role in ("target", "draft")]
        return [
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--report",
            "--report-dir=out", "--spec-dtype=float64", "--spec-max-new-tokens=8", *pair,
            *self.engine, *MODES[self.mode], *more,
        ]  # fmt: skip

    def _ended(self, process: subprocess.Popen[str]) -> int | None:
        try:
            return process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None

    def _after(self, code: int, what: str, *, must_fail: bool) -> str:
        from draftproof.errors import TraceError
        from draftproof.report import load_run

        out = self.folder / "out"
        kept: dict[str, str] = {}
        clocks = True
        if must_fail and code == 0:
            return f"{what}, and the exit code is 0"
        try:
            saved = load_run(out)
        except TraceError:
            pass  # killed before the first case
        else:
            # A kill may come when all is measured and written, and the page is still to be made.
            if code and must_fail and saved.complete and len(saved.cases) < CASES:
                return f"{what}, and the report of {len(saved.cases)} cases is read as a whole one"
            # A run that came to its end without what was killed is made anew, not gone on with.
            clocks = not saved.complete
            kept = {
                case.case_id: facts(case, clocks=clocks)
                for case in saved.cases
                if case.verdict != "error"
            }
        (self.folder / "conftest.py").write_text("")
        for _ in range(_MOST_RESUMES):
            found = self._ended(self._start("--spec-resume"))
            if found == 0:
                break
        else:
            return (
                f"{what}, and the run does not go on: {(self.folder / 'log').read_text()[-2000:]}"
            )
        saved = load_run(out)
        cases = {case.case_id: facts(case, clocks=clocks) for case in saved.cases}
        if not saved.complete or (out / "journal.jsonl").exists():
            return f"{what}, and the run that went on is no whole one"
        for case_id, before in kept.items():
            if cases.get(case_id) != before:
                return f"{what}, and {case_id} is lost or changed"
        if {case.case_id: facts(case, clocks=False) for case in saved.cases} != self.reference():
            return f"{what}, and the cases are others than those of a run that nothing happened to"
        return ""

    def reference(self) -> dict[str, str]:
        """The cases of a run that nothing happened to, measured once for each engine."""
        from draftproof.report import load_run

        name = "reference" if self.engine else "reference-batch"
        folder = self.shared / name
        if not (folder / "out" / "run.json").exists():
            folder.mkdir(exist_ok=True)
            other = _Run(folder, "one process" if self.engine else "--spec-batch")
            other._prepare(None, "")
            if other._ended(other._start()) != 0:
                raise RuntimeError((folder / "log").read_text())
        saved = load_run(folder / "out")
        return {case.case_id: facts(case, clocks=False) for case in saved.cases}


def facts(case: Any, *, clocks: bool) -> str:
    """What a case's record says, with or without what a clock said: that differs between runs."""
    tables = {
        name: {
            column: np.asarray(values).tolist()
            for column, values in getattr(case, name).items()
            if clocks or "seconds" not in column
        }
        for name in ("steps", "nodes")
    }
    outputs = {
        name: (list(output.token_ids), output.stop_reason, output.seconds if clocks else None)
        for name, output in (("plain", case.plain), ("speculative", case.speculative))
    }
    said = (case.case_id, case.domain, str(case.verdict), case.message, case.prompt_tokens)
    return json.dumps([said, outputs, tables, dict(case.draws)], sort_keys=True)


def make_pair(folder: Path) -> None:
    """The models that all runs of a folder share."""
    for seed, role in enumerate(("target", "draft")):
        if not (folder / role).exists():
            save_checkpoint(folder / role, seed=seed, stops=False)


def _children(process: int) -> Sequence[int]:
    return [
        int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]
