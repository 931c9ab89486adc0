"""The history on disk: JSON Lines that many jobs may append to, and that may be laid end to end."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from draftproof.errors import TraceError
from draftproof.history.entry import HistoryEntry

HISTORY_FILE = "history.jsonl"
"""Its name, in the folder of the baselines."""
_KIND = "draftproof history"


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The entries of one or several files.

    Attributes:
        entries: In the order of the files and of their lines, each once.
        notes: A line for each file of which something could not be read.
    """

    entries: tuple[HistoryEntry, ...]
    notes: tuple[str, ...] = ()


def append(path: Path, entry: HistoryEntry) -> None:
    """Add an entry to a file, which is made if it is not there.

    The line is written in one piece under a lock, so that several jobs may do it at the same time.
    A line that a killed job left unfinished is ended first: it is left out when the file is read.

    Args:
        path: The file; its folder is made.
        entry: What to add.

    Raises:
        TraceError: It cannot be written; the file is as it was.
    """
    text = json.dumps({"kind": _KIND, **entry.to_json()}, separators=(",", ":"), allow_nan=False)
    line = f'{text[:-1]},"crc32":{zlib.crc32(text.encode())}}}\n'.encode("ascii")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file, _locked(file.fileno()):
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            is_torn = end > 0 and file.read(1) != b"\n"
            data = b"\n" * is_torn + line
            if (written := file.write(data)) != len(data):
                file.truncate(end)
                raise OSError(0, f"{written} of {len(data)} bytes had room")
            os.fsync(file.fileno())
    except OSError as error:
        raise TraceError(
            f"cannot add this run to the history {path}: {error.strerror or error}; free space, or "
            "give another --spec-storage"
        ) from error


def read_history(paths: Sequence[Path]) -> History:
    """The entries of some files; an entry that stands in several is there once.

    A line that is not whole (of a killed job, or of a merge) is left out, and so is one of a newer
    version; the notes count them.

    Args:
        paths: Files, or folders of baselines that hold one.

    Raises:
        TraceError: A file is missing or is no history.
    """
    found: dict[str, HistoryEntry] = {}
    notes = []
    for path in paths:
        file = path / HISTORY_FILE if path.is_dir() else path
        bad: list[tuple[int, str]] = []
        for number, line in enumerate(_lines(file), start=1):
            try:
                entry = _entry(line)
            except TraceError as error:
                bad.append((number, str(error)))
                continue
            if entry is not None:
                found.setdefault(entry.key, entry)
        if bad:
            number, why = bad[0]
            count = "a line is" if len(bad) == 1 else f"{len(bad)} lines are"
            notes.append(f"{file}: {count} left out (line {number}: {why})")
        if bad and not found:
            raise TraceError(
                f"{file} has no entry that can be read (line {bad[0][0]}: {bad[0][1]}); pytest "
                "--spec-save NAME writes them"
            )
    return History(entries=tuple(found.values()), notes=tuple(notes))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError as error:
        raise TraceError(
            f"there is no history at {path}; pytest --report --spec-save NAME begins one, and each "
            "later --spec-save adds to it"
        ) from error
    except OSError as error:
        raise TraceError(f"cannot read the history {path}: {error.strerror}") from error


def _entry(line: str) -> HistoryEntry | None:
    """The entry of a line; None of an empty one.

    Raises:
        TraceError: It is not what was written.
    """
    if not line.strip():
        return None
    text, mark, tail = line.rstrip().rpartition(',"crc32":')
    whole = f"{text}}}"
    if not mark or not tail.endswith("}") or tail[:-1] != str(zlib.crc32(whole.encode())):
        raise TraceError("it is not whole")
    values: Any = json.loads(whole)
    if values.pop("kind", None) != _KIND:
        raise TraceError("it is not of a history")
    return HistoryEntry.from_json(values)


@contextlib.contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Whether or not the system has locks of files: appending in one piece needs none on most."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with contextlib.suppress(OSError):  # some network file systems have none
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
