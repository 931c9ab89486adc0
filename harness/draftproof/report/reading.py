"""A saved run, read back: a finished one from its Parquet files, a killed one from its journal."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from draftproof.errors import TraceError
from draftproof.files import followed
from draftproof.journal import read_journal, was_begun
from draftproof.report.columns import CASES_FILE, NODES_FILE, STEPS_FILE
from draftproof.report.run_info import RunInfo
from draftproof.report.stored import read_cases
from draftproof.report.texts import Texts, read_texts, texts_of
from draftproof.trace import SCHEMA_VERSION, CaseRecord

RUN_FILE = "run.json"
JOURNAL_FILE = "journal.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRun:
    """A run as it lies on disk.

    Attributes:
        directory: Its folder.
        run: What it was.
        cases: Its records.
        complete: Whether the run came to its end; if not, the records are those that it came to.
        texts: The text of its tokens, as far as it was kept.
    """

    directory: Path
    run: RunInfo
    cases: tuple[CaseRecord, ...]
    complete: bool
    texts: Texts = field(default_factory=Texts)


def load_run(directory: Path) -> SavedRun:
    """A saved run.

    Args:
        directory: A report's folder, or the pointer to the latest one.

    Returns:
        The run from its Parquet files; or from its journal, where the run was stopped or killed:
        then the files beside it are of fewer cases, or of an older run.

    Raises:
        TraceError: There is no run, or a file of it is corrupt, of a newer version, or of another
            run than the rest; the message names the file.
    """
    directory = followed(Path(directory))
    parts = [directory / name for name in (RUN_FILE, CASES_FILE, STEPS_FILE, NODES_FILE)]
    journal = directory / JOURNAL_FILE
    missing = [part for part in parts if not part.exists()]
    run, complete = (None, False) if missing else _read_run(directory / RUN_FILE)
    is_begun = was_begun(journal)
    if run is not None and (not is_begun or (complete and _is_of(journal, run))):
        return SavedRun(
            directory=directory,
            run=run,
            cases=read_cases(directory),
            complete=complete,
            texts=read_texts(directory),
        )
    if is_begun:
        contents = read_journal(journal)
        try:
            run = RunInfo.from_json(contents.run)
        except TraceError as error:
            raise TraceError(f"{journal}, line 1: {error}") from error
        return SavedRun(
            directory=directory,
            run=run,
            cases=contents.cases,
            complete=False,
            texts=texts_of(contents.cases),
        )
    if not directory.is_dir():
        raise TraceError(f"there is no report at {directory}; check the path")
    raise TraceError(
        f"{missing[0]} is missing, and so is the journal; {directory} does not hold a whole run"
    )


def _is_of(journal: Path, run: RunInfo) -> bool:
    """Whether a journal is of a run that came to its end, and was killed before it was deleted."""
    found = read_journal(journal).run
    return (found.get("started"), found.get("fingerprint")) == (run.started, run.fingerprint)


def read_run_info(path: Path) -> RunInfo:
    """What ``run.json`` says of a run.

    Raises:
        TraceError: It is missing, corrupt or of a newer schema version.
    """
    return _read_run(path)[0]


def _read_run(path: Path) -> tuple[RunInfo, bool]:
    """What ``run.json`` says, and whether the run came to its end; earlier versions do not tell."""
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise TraceError(f"{path} is corrupt ({error}); restore it") from error
    if not isinstance(values, dict) or not isinstance(values.get("schema_version"), int):
        raise TraceError(f"{path} is not the description of a draftproof run")
    version = values.pop("schema_version")
    if version > SCHEMA_VERSION:
        raise TraceError(
            f"{path} has schema version {version}, and this draftproof reads up to "
            f"{SCHEMA_VERSION}; install a newer one"
        )
    complete = bool(values.pop("complete", True))
    try:
        return RunInfo.from_json(values), complete
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from error
