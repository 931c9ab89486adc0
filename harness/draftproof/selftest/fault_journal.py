"""A file with what became of changes of the source: appended at once, and gone on from.

JSON lines: a header that says which sample of which source it is, then a line for each change that
was examined. A survivor that is examined again, by a later source, has a line for each time.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from draftproof.errors import TraceError
from draftproof.selftest.source_mutants import PACKAGE, SourceMutant

_KIND = "draftproof random changes of the source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What became of a change, as a line of the journal.

    Attributes:
        mutant: The change.
        ending: A value of `draftproof.selftest.random_faults.Ending`.
        message: The check that caught it, or the last line of an error.
        seconds: How long it took the processor; 0 where it need not be run.
        source: Of the unchanged source, as `source_hash` has it.
    """

    mutant: SourceMutant
    ending: str
    message: str
    seconds: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultJournal:
    """A journal's contents.

    Attributes:
        run: What its header says: `seed`, `source`, `sizes` (changes that each file allows),
            `command`, `versions` and `hardware`; of the unchanged source, the `seconds` that its
            verification takes the processor, and the first lines of statements that are `reached`.
        examinations: In the order in which they ended.
    """

    run: dict[str, Any]
    examinations: tuple[Examination, ...]

    @property
    def first(self) -> tuple[Examination, ...]:
        """What became of each change by the source that the sample was drawn from."""
        return tuple(found for found in self.examinations if found.source == self.run["source"])

    @property
    def last(self) -> dict[str, Examination]:
        """What became of each change when it was examined last, by its name in the sample."""
        found = {entry.mutant.name: entry for entry in self.first}
        for entry in self.examinations:
            found[entry.mutant.name] = entry
        return found


def source_hash(package: Path = PACKAGE) -> str:
    """A hash of every module of the package: of what is changed, and of what examines it."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def begin(path: Path, run: dict[str, Any]) -> FaultJournal:
    """The contents of a journal that goes on with a sample; a new one is begun.

    Args:
        path: The file.
        run: Its header, as of `FaultJournal`.

    Raises:
        TraceError: It is no such journal, or that of another seed or source.
    """
    if not path.exists() or not path.stat().st_size:
        _append(path, {"kind": _KIND, **run})
        return FaultJournal(run=run, examinations=())
    found = read(path)
    for key, what in (("seed", "seed"), ("source", "source")):
        if found.run.get(key) != run[key]:
            raise TraceError(
                f"{path} holds a sample of another {what}: what it says cannot be gone on from; "
                "give another file"
            )
    # A line that was cut off would swallow the next one.
    kept = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    path.write_bytes(b"".join(kept))
    return found


def append(path: Path, found: Examination) -> None:
    """Add a line for a change that was examined."""
    entry = asdict(found)
    _append(path, {**entry.pop("mutant"), **entry})


def _append(path: Path, entry: dict[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise TraceError(f"{path}: cannot be written ({error.strerror}); free it") from error


def read(path: Path) -> FaultJournal:
    """The contents of a journal; a last line that was cut off is left out.

    Raises:
        TraceError: It is no such journal.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(
            f"{path}: cannot be read as a journal of random changes ({error}); give the file that "
            "`draftproof selftest --random N --resume FILE` wrote"
        ) from error
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    try:
        header, *entries = (json.loads(line) for line in lines)
        if header.pop("kind") != _KIND:
            raise ValueError("another kind of file")
        examinations = tuple(_read(entry) for entry in entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TraceError(
            f"{path} is not a journal of random changes ({error}); give the file that "
            "`draftproof selftest --random N --resume FILE` wrote"
        ) from error
    return FaultJournal(run=header, examinations=examinations)


def _read(entry: dict[str, Any]) -> Examination:
    mutant = SourceMutant(*(entry.pop(name) for name in SourceMutant.__dataclass_fields__))
    return Examination(mutant=mutant, **entry)
