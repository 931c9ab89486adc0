"""A seeded sample of small changes of the source, each examined by what users run."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from draftproof.environment import hardware, versions
from draftproof.errors import StateError
from draftproof.selftest import kill_rates
from draftproof.selftest.fault_journal import Examination, append, begin, read, source_hash
from draftproof.selftest.kill_rates import kill_rate
from draftproof.selftest.reached import Reached, is_reached, read_reached
from draftproof.selftest.source_mutants import (
    SourceMutant,
    every_mutant,
    same_change,
    sample,
    sizes,
)

try:
    import resource
except ImportError:  # not on Windows, where only the time on the clock is limited
    resource = None  # type: ignore[assignment]

VERIFY = ("verify", "--fail-fast")
"""What examines a change: ``draftproof verify`` at its defaults, up to the first fault."""
_SHOWN = 200
_TIMES, _LEAST_SECONDS = 4, 120.0
"""How many times as long as without a change an examination may take the processor, and how long
at least."""
_WAITING = 20
"""How many times as long it may take by the clock, where others use the processor, too."""
_OUT_OF_TIME = -getattr(signal, "SIGXCPU", 24)


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


Tell = Callable[[str], None]

UNREACHED = "no check reaches its statement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """What `draftproof verify` does with the source as it is.

    Attributes:
        seconds: Of the processor.
        reached: The statements that it reaches; every one where it is None.
    """

    seconds: float
    reached: Reached | None = None

    @property
    def most_seconds(self) -> float:
        """How long a change may take the processor: more is taken for endless."""
        return max(_LEAST_SECONDS, _TIMES * self.seconds)


def require_sound(most_seconds: float = 3600.0) -> Sound:
    """Verify that the source passes as it is: else every change would seem to be caught.

    Args:
        most_seconds: Of the processor; after so many it is ended.

    Raises:
        StateError: It does not pass here; says what it ended with.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "reached.json"
        command = [sys.executable, "-m", "draftproof.selftest.noting", str(file)]
        ending, message, seconds = _verified(command, most_seconds)
        if ending is not Ending.SURVIVED:
            raise StateError(
                f"`draftproof {' '.join(VERIFY)}` does not pass on the source as it is ({ending}: "
                f"{message}), so that nothing could be said of changes; mend that first"
            )
        return Sound(seconds=seconds, reached=read_reached(file))


def examine(mutants: Iterable[SourceMutant], sound: Sound) -> Iterator[Examination]:
    """Examine changes one after another, each in a process of its own.

    A change of a statement that the source as it is does not reach survives: it is not run.

    Args:
        mutants: What is changed.
        sound: What the verification does without a change.
    """
    source = source_hash()
    for mutant in mutants:
        found = Ending.SURVIVED, UNREACHED, 0.0
        if sound.reached is None or is_reached(mutant, sound.reached):
            command = [sys.executable, "-m", "draftproof.selftest.mutated", mutant.name]
            found = _verified(command, sound.most_seconds)
        ending, message, seconds = found
        yield Examination(
            mutant=mutant,
            ending=ending.value,
            message=message,
            seconds=round(seconds, 1),
            source=source,
        )


def examine_sample(
    n: int, seed: int, journal: Path | None, command: str, tell: Tell
) -> list[Examination]:
    """Examine a sample, or what a journal does not hold of it, and append each to the journal.

    Args:
        n: Changes.
        seed: Of the sample.
        journal: Where there is a file to go on from, and to append to.
        command: What is run, for the journal's header.
        tell: Told of each as it ends, with how much time the others may take.

    Raises:
        StateError: The source does not pass as it is.
        TraceError: The journal is another sample's.
    """
    every = every_mutant()
    wanted = sample(every, n, seed)
    run: dict[str, Any] = {"seed": seed, "source": source_hash(), "sizes": sizes(every)}
    known: dict[str, Examination] = {}
    sound = None
    if journal is not None and journal.exists():
        contents = begin(journal, run)
        known = {found.mutant.name: found for found in contents.first}
        sound = _sound_of(contents.run)
        tell(f"{len(known)} changes are in {journal} already")
    missing = [mutant for mutant in wanted if mutant.name not in known]
    if missing and sound is None:
        sound = _told_sound(tell)
        if journal is not None:
            about = {"command": command, "versions": versions(), "hardware": hardware()}
            begin(journal, {**run, **about, **_as_json(sound)})
    if missing and sound is not None:
        for found in _told(missing, sound, tell):
            known[found.mutant.name] = found
            if journal is not None:
                append(journal, found)
    return [known[mutant.name] for mutant in wanted]


def _told_sound(tell: Tell) -> Sound:
    tell("verifying the source as it is")
    sound = require_sound()
    tell(
        f"it passes, in {sound.seconds:.0f} s of the processor; more than "
        f"{sound.most_seconds:.0f} s is endless"
    )
    return sound


def _as_json(sound: Sound) -> dict[str, Any]:
    reached = sound.reached or {}
    return {
        "seconds": round(sound.seconds, 1),
        "reached": {file: sorted(lines) for file, lines in reached.items()},
    }


def _sound_of(run: dict[str, Any]) -> Sound | None:
    """What a journal's header says of the source; it need not be verified a second time."""
    if "reached" not in run:
        return None
    reached = {file: frozenset(lines) for file, lines in run["reached"].items()}
    return Sound(seconds=run["seconds"], reached=reached)


def examine_again(journal: Path, tell: Tell) -> list[Examination]:
    """Examine the survivors of a journal with the source of today; its file has both.

    Raises:
        StateError: The source does not pass as it is.
        TraceError: It is no journal of random changes.
    """
    contents = read(journal)
    every = every_mutant()
    survivors = [
        found.mutant for found in contents.last.values() if found.ending == Ending.SURVIVED
    ]
    today = {old.name: same_change(every, old) for old in survivors}
    names = {mutant.name: old for old, mutant in today.items() if mutant is not None}
    for old in survivors:
        if today[old.name] is None:
            tell(f"gone from the source: {old}")
    present = [mutant for mutant in today.values() if mutant is not None]
    if not present:
        return []
    results = []
    for found in _told(present, _told_sound(tell), tell):
        old = next(old for old in survivors if old.name == names[found.mutant.name])
        # Under its name in the sample, by which it is looked up.
        again = replace(found, mutant=old)
        append(journal, again)
        results.append(again)
    return results


def _told(mutants: Sequence[SourceMutant], sound: Sound, tell: Tell) -> Iterator[Examination]:
    """Examine changes, and tell of each, and of the time that is left."""
    start = time.perf_counter()
    for done, found in enumerate(examine(mutants, sound), start=1):
        left = (len(mutants) - done) * (time.perf_counter() - start) / done
        tell(
            f"[{done}/{len(mutants)}] {found.ending:<9} {found.seconds:5.0f} s  {found.mutant}  "
            f"{found.message}" + (f"  ({_duration(left)} left)" if done < len(mutants) else "")
        )
        yield found


def _duration(seconds: float) -> str:
    """A time in words.

    Example:
        >>> _duration(40), _duration(400), _duration(9000)
        ('about 40 s', 'about 7 min', 'about 2.5 h')
    """
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def _verified(command: Sequence[str], most_seconds: float) -> tuple[Ending, str, float]:
    """How a verification by a command ended, and how long it took the processor."""
    before = os.times()
    try:
        done = subprocess.run(
            [*command, *VERIFY],
            capture_output=True,
            text=True,
            timeout=_WAITING * most_seconds,
            check=False,
            preexec_fn=None if resource is None else partial(_limit, math.ceil(most_seconds)),
        )
    except subprocess.TimeoutExpired:
        return Ending.ENDLESS, f"no end within {_WAITING * most_seconds:.0f} s", most_seconds
    after = os.times()
    seconds = after.children_user + after.children_system
    seconds -= before.children_user + before.children_system
    if done.returncode == _OUT_OF_TIME:
        return Ending.ENDLESS, f"no end within {most_seconds:.0f} s of the processor", seconds
    return *_read(done), seconds


def _limit(seconds: int) -> None:
    """End this process when it has had so much of the processor."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def _read(done: subprocess.CompletedProcess[str]) -> tuple[Ending, str]:
    """How a verification ended, and what said so."""
    failed = [line for line in done.stdout.splitlines() if line.startswith("✗")]
    if failed:
        return Ending.CAUGHT, " ".join(failed[0].split("failed")[0].split()[1:])
    if done.returncode:
        lines = done.stderr.strip().splitlines() or done.stdout.strip().splitlines() or [""]
        return Ending.STOPPED, lines[-1][:_SHOWN]
    return Ending.SURVIVED, ""


def table(found: Sequence[Examination], by_file: Mapping[str, int]) -> str:
    """The share of changes that were seen, by file, and each survivor, as Markdown."""
    text = kill_rates.table(found, by_file, [ending.value for ending in Ending])
    survivors = [entry.mutant for entry in found if entry.ending == Ending.SURVIVED]
    if survivors:
        lines = [f"- {mutant} in `{mutant.code}` (`{mutant.name}`)" for mutant in survivors]
        text += "\n\nSurvivors:\n\n" + "\n".join(lines)
    return text


def summary(found: Sequence[Examination], by_file: Mapping[str, int], seed: int) -> str:
    """How many of a sample were seen, and how, in a sentence."""
    counts = {ending: sum(entry.ending == ending for entry in found) for ending in Ending}
    rate = kill_rate(found, by_file)
    return (
        f"of {len(found)} changes of the source (seed {seed}) {counts[Ending.CAUGHT]} were caught "
        f"by a check, {counts[Ending.STOPPED]} ended in an error, {counts[Ending.ENDLESS]} did not "
        f"end, and {counts[Ending.SURVIVED]} survived: each of these is either without effect on "
        f"what is promised, or a gap. Of all {sum(by_file.values()):,} changes that the files "
        f"allow, a share of {rate} is seen"
    )
