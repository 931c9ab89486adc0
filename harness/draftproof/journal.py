"""The append-only journal of a run: a killed run loses at most the case in flight.

JSON lines: a header that says which run it is, then one record a case, each written and flushed
when its case ends. A run that goes on with more prompts adds a header of its own; the last counts.
Every line ends with the CRC-32 of what it would be without it, so that a bit that a disk turned
over is not read as another figure.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from draftproof.errors import TraceError
from draftproof.summed_lines import drop_torn_line, is_as_written, summed
from draftproof.trace import SCHEMA_VERSION, CaseRecord

_KIND = "draftproof journal, summed"
_WITHOUT_SUMS = "draftproof journal"
"""Of earlier versions, whose lines have no checksum."""


@dataclass(frozen=True, slots=True)
class JournalContents:
    """What a journal holds.

    Attributes:
        run: The last header's description of the run.
        cases: The records in the order in which they ended; of a case that was run again, the last.
        torn: Whether the last line was cut off and left out.
        kind: What the file calls itself.
    """

    run: dict[str, Any]
    cases: tuple[CaseRecord, ...]
    torn: bool
    kind: str = _KIND


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
        self._kind = _KIND
        fingerprint, found = run.get("fingerprint"), None
        if was_begun(path):
            existing = read_journal(path)
            found = existing.run.get("fingerprint")
            if found != fingerprint and (found is None or found != grown_from):
                raise TraceError(
                    f"{path} is the journal of another run (its settings, models or prompts "
                    "differ); give another --report-dir"
                )
            self.finished, self._kind = existing.cases, existing.kind
            if existing.torn:
                drop_torn_line(path)
        elif path.exists():
            path.write_bytes(b"")
        # Unbuffered: a line that did not fit on the disk is taken back, not kept for later.
        self._file = path.open("ab", buffering=0)
        if self._file.seek(0, os.SEEK_END) == 0 or found != fingerprint:
            self._write({"kind": self._kind, "schema_version": SCHEMA_VERSION, "run": run})

    def append(self, record: CaseRecord) -> None:
        """Write one case, on the disk before returning.

        Raises:
            TraceError: It cannot be written; the file is as it was.
        """
        self._write(record.to_json())

    def close(self) -> None:
        """Close the file; further appends are errors."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _write(self, values: dict[str, Any]) -> None:
        """Write a line whole, or leave the file as it was.

        Raises:
            TraceError: The disk is full, the file cannot be written for another reason, or a number
                is none that JSON has.
        """
        try:
            line = json.dumps(values, separators=(",", ":"), allow_nan=False)
        except ValueError as error:
            raise TraceError(
                f"cannot write to the journal {self.path} what JSON has no value for ({error}); "
                "what it held before is still in it"
            ) from error
        data = ((summed(line) if self._kind == _KIND else line) + "\n").encode("ascii")
        end = self._file.seek(0, os.SEEK_END)
        try:
            left = memoryview(data)
            while left:
                left = left[self._file.write(left) or 0 :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(end)
            raise TraceError(
                f"cannot write the journal {self.path}: {error.strerror or error}; what it held "
                "before is still in it. Free space, and go on with the same --report-dir and "
                "--spec-resume"
            ) from error


def was_begun(path: Path) -> bool:
    """Whether a journal holds a whole header; one that was killed before that holds nothing.

    Raises:
        TraceError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            first = file.readline()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise TraceError(f"cannot read the journal {path}: {error.strerror}") from error
    # Anything but the beginning of a header is somebody's file, and read to say what is wrong.
    begun = f'{{"kind":"{_KIND}"'.encode()
    return first.endswith(b"\n") or not (first.startswith(begun) or begun.startswith(first))


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
    kind = header.get("kind") if isinstance(header, dict) else None
    if not isinstance(header, dict) or kind not in (_KIND, _WITHOUT_SUMS):
        raise TraceError(f"{path} is not a draftproof journal")
    run, cases = _run_of(path, 1, header), {}
    if kind == _KIND:
        _require_sum(path, 1, lines[0])
    for number, line in enumerate(lines[1:], start=2):
        values = _parse(path, number, line)
        if kind == _KIND:
            _require_sum(path, number, line)
        if isinstance(values, dict) and values.get("kind") == kind:
            run = _run_of(path, number, values)
            continue
        try:
            record = CaseRecord.from_json(values)
        except TraceError as error:
            raise TraceError(f"{path}, line {number}: {error}") from error
        cases[record.case_id] = record
    return JournalContents(run=run, cases=tuple(cases.values()), torn=torn, kind=kind)


def _run_of(path: Path, number: int, header: dict[str, Any]) -> dict[str, Any]:
    """The run that a header describes.

    Raises:
        TraceError: It is of a newer version, or not as any version writes it.
    """
    version, run = header.get("schema_version"), header.get("run")
    if not isinstance(version, int) or not isinstance(run, dict):
        raise TraceError(f"{path}, line {number} is corrupt: a header without a version or a run")
    if version > SCHEMA_VERSION:
        raise TraceError(
            f"{path} has schema version {version}, and this draftproof reads up to "
            f"{SCHEMA_VERSION}; install a newer one"
        )
    return run


def _require_sum(path: Path, number: int, line: str) -> None:
    """Verify that a line is what was written.

    Raises:
        TraceError: It is not.
    """
    if not is_as_written(line):
        raise TraceError(
            f"{path}, line {number} is not what was written: its checksum differs; restore the "
            "file, or remove the line to measure its case again"
        )


def _parse(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TraceError(
            f"{path}, line {number} is corrupt ({error}); restore the file, or remove the line to "
            "measure its case again"
        ) from error
