"""A seeded sample of small changes of the source, each examined by what users run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from draftproof.errors import StateError
from draftproof.selftest.source_mutants import SourceMutant

VERIFY = ("verify", "--fail-fast")
"""What examines a change: ``draftproof verify`` at its defaults, up to the first fault."""
_SHOWN = 200


class Ending(StrEnum):
    """How the examination of a change ended."""

    CAUGHT = "caught"
    """A check found a fault."""
    STOPPED = "stopped"
    """The command ended with an error of its own: nobody would take that for a pass."""
    ENDLESS = "endless"
    """It did not end within the time that is given: it is seen, but not by a check."""
    SURVIVED = "survived"
    """Every check passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomFault:
    """What became of a change.

    Attributes:
        mutant: The change.
        ending: How its examination ended.
        message: The check that caught it, or the last line of an error.
        seconds: How long it took.
    """

    mutant: SourceMutant
    ending: Ending
    message: str
    seconds: float


def require_sound(arguments: Sequence[str] = (), most_seconds: float = 1800.0) -> None:
    """Verify that the source passes as it is: else every change would seem to be caught.

    Args:
        arguments: More options of ``draftproof verify``.
        most_seconds: After so long it is ended.

    Raises:
        StateError: It does not pass here; says what it ended with.
    """
    ending, message = _verified([sys.executable, "-m", "draftproof.cli"], arguments, most_seconds)
    if ending is not Ending.SURVIVED:
        raise StateError(
            f"`draftproof {' '.join([*VERIFY, *arguments])}` does not pass on the source as it is "
            f"({ending}: {message}), so that nothing could be said of changes; mend that first"
        )


def examine(
    mutants: Iterable[SourceMutant],
    *,
    arguments: Sequence[str] = (),
    most_seconds: float = 1800.0,
) -> Iterator[RandomFault]:
    """Examine changes one after another, each in a process of its own.

    Args:
        mutants: What is changed.
        arguments: More options of ``draftproof verify``.
        most_seconds: After so long an examination is ended.
    """
    for mutant in mutants:
        command = [sys.executable, "-m", "draftproof.selftest.mutated", mutant.name]
        start = time.perf_counter()
        ending, message = _verified(command, arguments, most_seconds)
        yield RandomFault(
            mutant=mutant,
            ending=ending,
            message=message,
            seconds=time.perf_counter() - start,
        )


def _verified(
    command: Sequence[str], arguments: Sequence[str], most_seconds: float
) -> tuple[Ending, str]:
    """How a verification by a command ended."""
    try:
        done = subprocess.run(
            [*command, *VERIFY, *arguments],
            capture_output=True,
            text=True,
            timeout=most_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ending.ENDLESS, f"no end within {most_seconds:g} s"
    return _read(done)


def _read(done: subprocess.CompletedProcess[str]) -> tuple[Ending, str]:
    """How a verification ended, and what said so."""
    failed = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    if failed:
        return Ending.CAUGHT, " ".join(failed[0].split("failed")[0].split()[1:])
    if done.returncode:
        lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or [""]
        return Ending.STOPPED, lines[-1][:_SHOWN]
    return Ending.SURVIVED, ""


def table(faults: Sequence[RandomFault]) -> str:
    """The share of changes that were seen, by file, and each survivor, as Markdown."""
    by_file: dict[str, list[RandomFault]] = defaultdict(list)
    for fault in faults:
        by_file[fault.mutant.file].append(fault)
    endings = tuple(Ending)
    lines = [
        "| file | changes | " + " | ".join(endings) + " |",
        "|---|" + "---:|" * (1 + len(endings)),
    ]
    for file, found in [*sorted(by_file.items()), ("all", list(faults))]:
        counts = [sum(fault.ending is ending for fault in found) for ending in endings]
        lines.append(f"| {file} | {len(found)} | " + " | ".join(map(str, counts)) + " |")
    survivors = [fault.mutant for fault in faults if fault.ending is Ending.SURVIVED]
    if survivors:
        lines += ["", "Survivors:", ""]
        lines += [f"- {mutant} (`{mutant.name}`)" for mutant in survivors]
    return "\n".join(lines)


def summary(faults: Sequence[RandomFault], seed: int) -> str:
    """How many of a sample were seen, and how, in a sentence."""
    counts = {ending: sum(fault.ending is ending for fault in faults) for ending in Ending}
    return (
        f"of {len(faults)} changes of the source (seed {seed}) {counts[Ending.CAUGHT]} were caught "
        f"by a check, {counts[Ending.STOPPED]} ended in an error, {counts[Ending.ENDLESS]} did not "
        f"end, and {counts[Ending.SURVIVED]} survived: each of these is either without effect on "
        "what is promised, or a gap"
    )
