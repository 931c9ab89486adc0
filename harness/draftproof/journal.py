"""The append-only journal of a run: a killed run loses at most the case in flight.

JSON lines: a header that says which run it is, then one record a case, each written and flushed
when its case ends. A run that goes on with more prompts adds a header of its own; the last counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from draftproof.errors import TraceError
from draftproof.trace import SCHEMA_VERSION, CaseRecord

_KIND = "draftproof journal"


@dataclass(frozen=True, slots=True)
class JournalContents:
    """What a journal holds.

    Attributes:
        run: The last header's description of the run.
        cases: The records in the order in which they ended; of a case that was run again, the last.
        torn: Whether the last line was cut off and left out.
    """

    run: dict[str, Any]
    cases: tuple[CaseRecord, ...]
    torn: bool


class Journal:
    """Appends case records to a file.

    Args:
        path: The file; created with a header, or continued if it holds the same run's.
        run: Describes the run. Its ``fingerprint`` must be the existing journal's.
        grown_from: The fingerprint of a run of fewer prompts that this one goes on from: its
            journal is continued too, with a header that says what the run is now.

    Raises:
        TraceError: The file is another run's journal, or not a journal.
    """

    def __init__(self, path: Path, run: dict[str, Any], *, grown_from: str | None = None) -> None:
        self.path = path
        self.finished: tuple[CaseRecord, ...] = ()
        fingerprint, found = run.get("fingerprint"), None
        if path.exists():
            existing = read_journal(path)
            found = existing.run.get("fingerprint")
            if found != fingerprint and (found is None or found != grown_from):
                raise TraceError(
                    f"{path} is the journal of another run (its settings, models or prompts "
                    "differ); give another --report-dir"
                )
            self.finished = existing.cases
            if existing.torn:
                _drop_torn_line(path)
        self._file = path.open("a", encoding="utf-8")
        if self._file.tell() == 0 or found != fingerprint:
            self._write({"kind": _KIND, "schema_version": SCHEMA_VERSION, "run": run})

    def append(self, record: CaseRecord) -> None:
        """Write one case, flushed to the operating system before returning."""
        self._write(record.to_json())

    def close(self) -> None:
        """Close the file; further appends are errors."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _write(self, values: dict[str, Any]) -> None:
        self._file.write(json.dumps(values, separators=(",", ":")) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def read_journal(path: Path) -> JournalContents:
    """Everything a journal holds; a last line that was cut off is left out.

    Raises:
        TraceError: The file is missing, not a journal, of a newer version, or corrupt before its
            last line; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise TraceError(f"cannot read the journal {path}: {error.strerror}") from error
    torn = lines.pop() != ""
    header = _parse(path, 1, lines[0]) if lines else None
    if not isinstance(header, dict) or header.get("kind") != _KIND:
        raise TraceError(f"{path} is not a draftproof journal")
    if header["schema_version"] > SCHEMA_VERSION:
        raise TraceError(
            f"{path} has schema version {header['schema_version']}, and this draftproof reads up "
            f"to {SCHEMA_VERSION}; install a newer one"
        )
    run, cases = header["run"], {}
    for number, values in _values(path, lines):
        if isinstance(values, dict) and values.get("kind") == _KIND:
            run = values["run"]
            continue
        try:
            record = CaseRecord.from_json(values)
        except TraceError as error:
            raise TraceError(f"{path}, line {number}: {error}") from error
        cases[record.case_id] = record
    return JournalContents(run=run, cases=tuple(cases.values()), torn=torn)


def _values(path: Path, lines: list[str]) -> Iterator[tuple[int, Any]]:
    """The number and value of each line below the header."""
    for number, line in enumerate(lines[1:], start=2):
        yield number, _parse(path, number, line)


def _parse(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise TraceError(
            f"{path}, line {number} is corrupt ({error}); restore the file, or remove the line to "
            "measure its case again"
        ) from error


def _drop_torn_line(path: Path) -> None:
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.truncate(data.rfind(b"\n") + 1)
