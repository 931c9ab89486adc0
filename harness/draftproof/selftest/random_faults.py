"""A seeded sample of small changes of the source, each examined by what users run."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from draftproof.environment import hardware, versions
from draftproof.errors import StateError
from draftproof.selftest import kill_rates
from draftproof.selftest.fault_journal import Examination, append, begin, read, source_hash
from draftproof.selftest.kill_rates import kill_rate
from draftproof.selftest.source_mutants import (
    SourceMutant,
    every_mutant,
    same_change,
    sample,
    sizes,
)

VERIFY = ("verify", "--fail-fast")
"""What examines a change: ``draftproof verify`` at its defaults, up to the first fault."""
_SHOWN = 200
_TIMES, _LEAST_SECONDS = 4, 120.0
"""How many times as long as without a change an examination may take, and how long at least."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """What `draftproof verify` needs for the source as it is.

    Attributes:
        seconds: How long it took.
    """

    seconds: float

    @property
    def most_seconds(self) -> float:
        """How long a change may take: more is taken for endless."""
        return max(_LEAST_SECONDS, _TIMES * self.seconds)


def require_sound(arguments: Sequence[str] = (), most_seconds: float = 3600.0) -> Sound:
    """Verify that the source passes as it is: else every change would seem to be caught.

    Args:
        arguments: More options of ``draftproof verify``.
        most_seconds: After so long it is ended.

    Raises:
        StateError: It does not pass here; says what it ended with.
    """
    start = time.perf_counter()
    ending, message = _verified([sys.executable, "-m", "draftproof.cli"], arguments, most_seconds)
    if ending is not Ending.SURVIVED:
        raise StateError(
            f"`draftproof {' '.join([*VERIFY, *arguments])}` does not pass on the source as it is "
            f"({ending}: {message}), so that nothing could be said of changes; mend that first"
        )
    return Sound(seconds=time.perf_counter() - start)


def examine(
    mutants: Iterable[SourceMutant],
    *,
    arguments: Sequence[str] = (),
    most_seconds: float = 1800.0,
) -> Iterator[Examination]:
    """Examine changes one after another, each in a process of its own.

    Args:
        mutants: What is changed.
        arguments: More options of ``draftproof verify``.
        most_seconds: After so long an examination is ended.
    """
    source = source_hash()
    for mutant in mutants:
        command = [sys.executable, "-m", "draftproof.selftest.mutated", mutant.name]
        start = time.perf_counter()
        ending, message = _verified(command, arguments, most_seconds)
        yield Examination(
            mutant=mutant,
            ending=ending.value,
            message=message,
            seconds=round(time.perf_counter() - start, 1),
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
    if journal is not None and journal.exists():
        known = {found.mutant.name: found for found in begin(journal, run).first}
    missing = [mutant for mutant in wanted if mutant.name not in known]
    if known:
        tell(f"{len(wanted) - len(missing)} of {len(wanted)} changes are in {journal} already")
    if missing:
        tell("verifying the source as it is")
        sound = require_sound()
        tell(
            f"it passes, in {sound.seconds:.0f} s; more than {sound.most_seconds:.0f} s is endless"
        )
        if journal is not None:
            about = {"command": command, "versions": versions(), "hardware": hardware()}
            begin(journal, {**run, **about, "seconds": round(sound.seconds, 1)})
        for found in _told(missing, sound, tell):
            known[found.mutant.name] = found
            if journal is not None:
                append(journal, found)
    return [known[mutant.name] for mutant in wanted]


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
    tell("verifying the source as it is")
    results = []
    for found in _told(present, require_sound(), tell):
        old = next(old for old in survivors if old.name == names[found.mutant.name])
        # Under its name in the sample, by which it is looked up.
        again = replace(found, mutant=old)
        append(journal, again)
        results.append(again)
    return results


def _told(mutants: Sequence[SourceMutant], sound: Sound, tell: Tell) -> Iterator[Examination]:
    """Examine changes, and tell of each, and of the time that is left."""
    spent = 0.0
    examined = examine(mutants, most_seconds=sound.most_seconds)
    for done, found in enumerate(examined, start=1):
        spent += found.seconds
        left = (len(mutants) - done) * spent / done
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
