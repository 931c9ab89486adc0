"""A recording on disk: a journal while it is made, compressed columns when it is whole.

The folder holds ``recording.json`` (what it was made of), ``journal.jsonl`` (one line a case, each
flushed when its case ends: a killed recording loses at most the case in flight) and, once every
case is recorded, ``recording.npz`` in place of the journal. Reading needs numpy only.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from draftproof.errors import DraftproofError, TraceError
from draftproof.replay.recorded import (
    CHAIN_COLUMNS,
    DRAFT_COLUMNS,
    SCHEMA_VERSION,
    TARGET_COLUMNS,
    TOP_COLUMNS,
    RecordedCase,
    RecordedDraft,
    Recording,
    RecordingInfo,
)

INFO_FILE, JOURNAL_FILE, COLUMNS_FILE = "recording.json", "journal.jsonl", "recording.npz"
_KIND = "draftproof recording"


class RecordingFolder:
    """A recording that is being made: appends cases, and goes on where it was stopped.

    Args:
        folder: Made with its parents. What it holds must be a recording of the same models,
            settings and prompts.
        info: What is recorded.
        case_ids: Ids of every case that the recording is to hold, in its order.

    Raises:
        TraceError: The folder holds another recording.
    """

    def __init__(self, folder: Path, info: RecordingInfo, case_ids: Iterable[str]) -> None:
        self.folder = folder
        self._info = info
        self._case_ids = tuple(case_ids)
        self.finished: dict[str, RecordedCase] = {}
        made_of = recording_fingerprint(info, self._case_ids)
        header = {
            "kind": _KIND,
            "schema_version": SCHEMA_VERSION,
            "fingerprint": made_of,
            "cases": len(self._case_ids),
            "info": dataclasses.asdict(info),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if (folder / INFO_FILE).exists():
                found = _read_header(folder)
                if found["fingerprint"] != made_of:
                    raise TraceError(
                        f"{folder} holds a recording of other models, settings or prompts; give "
                        "another --out, or remove the folder"
                    )
                self.finished = {case.case_id: case for case in load_recording(folder).cases}
            else:
                (folder / INFO_FILE).write_text(json.dumps(header, indent=1) + "\n", "utf-8")
            _drop_torn_line(folder / JOURNAL_FILE)
        except OSError as error:
            raise _cannot(folder, error) from error

    def append(self, case: RecordedCase) -> None:
        """Write one case, flushed to the disk before returning.

        Raises:
            TraceError: Its columns do not fit together.
            DraftproofError: It cannot be written.
        """
        case.check()
        line = json.dumps(_case_to_json(case), separators=(",", ":")).encode() + b"\n"
        try:
            with (self.folder / JOURNAL_FILE).open("ab") as journal:
                journal.write(line)
                journal.flush()
                os.fsync(journal.fileno())
        except OSError as error:
            raise _cannot(self.folder, error) from error
        self.finished[case.case_id] = case

    def close(self) -> Recording:
        """What is recorded; where that is every case, columns are put in the journal's place."""
        cases = tuple(self.finished[name] for name in self._case_ids if name in self.finished)
        complete = len(cases) == len(self._case_ids)
        if complete:
            write_columns(self.folder / COLUMNS_FILE, cases)
            (self.folder / JOURNAL_FILE).unlink(missing_ok=True)
        return Recording(info=self._info, cases=cases, complete=complete)


def recording_fingerprint(info: RecordingInfo, case_ids: Iterable[str]) -> str:
    """A hash that two recordings share where the models, the settings and the prompts are equal."""
    left_out = ("versions", "hardware")
    values = {k: v for k, v in dataclasses.asdict(info).items() if k not in left_out}
    text = json.dumps([values, list(case_ids)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_recording(folder: Path) -> Recording:
    """A recording from its folder, whole or as far as its journal goes.

    Raises:
        TraceError: There is none, or a file of it is corrupt or of a newer version.
    """
    header = _read_header(folder)
    try:
        info = RecordingInfo(**{**header["info"], "sources": tuple(header["info"]["sources"])})
    except (KeyError, TypeError) as error:
        raise TraceError(f"{folder / INFO_FILE} is not of this version: {error!r}") from error
    journal: tuple[RecordedCase, ...] = ()
    if (folder / JOURNAL_FILE).exists():
        journal = _read_journal(folder / JOURNAL_FILE)
    whole = (folder / COLUMNS_FILE).exists()
    cases = _read_columns(folder / COLUMNS_FILE) if whole else journal
    for case in cases:
        case.check()
    return Recording(info=info, cases=cases, complete=len(cases) == header["cases"])


def bytes_a_token(folder: Path, recording: Recording) -> float:
    """Bytes on disk for each token of the trajectories, overrun included."""
    name = COLUMNS_FILE if (folder / COLUMNS_FILE).exists() else JOURNAL_FILE
    tokens = sum(len(case.token_ids) for case in recording.cases)
    return (folder / name).stat().st_size / tokens if tokens else float("nan")


def write_columns(path: Path, cases: tuple[RecordedCase, ...]) -> None:
    """Write cases as compressed columns, laid end to end."""
    listed = {
        "case_ids": np.array([case.case_id for case in cases]),
        "domains": np.array([case.domain for case in cases]),
        "stop_reasons": np.array([case.stop_reason for case in cases]),
        "committed": np.array([case.committed for case in cases], "<i4"),
        "tokens": np.array([len(case.token_ids) for case in cases], "<i4"),
        "prompt_tokens": np.array([len(case.prompt_token_ids) for case in cases], "<i4"),
        "token_ids": _joined([case.token_ids for case in cases], "<i4"),
        "prompt_token_ids": _joined([case.prompt_token_ids for case in cases], "<i4"),
        "drafts": np.array(list(cases[0].drafts) if cases else [], np.str_),
    }
    for name, dtype in TARGET_COLUMNS.items():
        listed[f"target/{name}"] = _joined([case.target[name] for case in cases], dtype)
    for index, draft in enumerate(cases[0].drafts if cases else ()):
        for name, dtype in DRAFT_COLUMNS.items():
            columns = [case.drafts[draft].columns[name] for case in cases]
            listed[f"draft{index}/{name}"] = _joined(columns, dtype)
        for name, dtype in TOP_COLUMNS.items():
            columns = [case.drafts[draft].top[name] for case in cases]
            listed[f"draft{index}/{name}"] = _joined(columns, dtype)
        for name, dtype in CHAIN_COLUMNS.items():
            columns = [case.drafts[draft].chain[name] for case in cases]
            listed[f"draft{index}/{name}"] = _joined(columns, dtype)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **listed)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _cannot(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _read_columns(path: Path) -> tuple[RecordedCase, ...]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            columns = dict(stored)
        tokens, prompts = (np.cumsum(columns[name])[:-1] for name in ("tokens", "prompt_tokens"))
        drafts = [str(name) for name in columns["drafts"]]
        parts = {
            name: np.split(column, prompts if name == "prompt_token_ids" else tokens)
            for name, column in columns.items()
            if "/" in name or name.endswith("token_ids")
        }
        return tuple(
            RecordedCase(
                case_id=str(case_id),
                domain=str(columns["domains"][i]),
                prompt_token_ids=parts["prompt_token_ids"][i],
                token_ids=parts["token_ids"][i],
                committed=int(columns["committed"][i]),
                stop_reason=str(columns["stop_reasons"][i]),
                target={name: parts[f"target/{name}"][i] for name in TARGET_COLUMNS},
                drafts={
                    draft: RecordedDraft(
                        columns={name: parts[f"draft{d}/{name}"][i] for name in DRAFT_COLUMNS},
                        top={name: parts[f"draft{d}/{name}"][i] for name in TOP_COLUMNS},
                        chain={name: parts[f"draft{d}/{name}"][i] for name in CHAIN_COLUMNS},
                    )
                    for d, draft in enumerate(drafts)
                },
            )
            for i, case_id in enumerate(columns["case_ids"])
        )
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise TraceError(f"{path} is corrupt ({error!r}); record it again") from error


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / INFO_FILE
    try:
        header: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise TraceError(
            f"there is no recording at {folder} ({error.strerror}); `draftproof record --out "
            "FOLDER` makes one"
        ) from error
    except ValueError as error:
        raise TraceError(f"{path} is corrupt ({error}); record it again") from error
    if not isinstance(header, dict) or header.get("kind") != _KIND:
        raise TraceError(f"{path} is not the description of a draftproof recording")
    if header["schema_version"] > SCHEMA_VERSION:
        raise TraceError(
            f"{path} has schema version {header['schema_version']}, and this draftproof reads up "
            f"to {SCHEMA_VERSION}; install a newer one"
        )
    return header


def _read_journal(path: Path) -> tuple[RecordedCase, ...]:
    lines = path.read_bytes().split(b"\n")
    lines.pop()  # empty, or cut off in the middle of a case
    cases: dict[str, RecordedCase] = {}
    for number, line in enumerate(lines, start=1):
        try:
            case = _case_from_json(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise TraceError(
                f"{path}, line {number} is corrupt ({error!r}); remove the line to record its case "
                "again"
            ) from error
        cases[case.case_id] = case
    return tuple(cases.values())


def _drop_torn_line(path: Path) -> None:
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        with path.open("r+b") as journal:
            journal.truncate(whole)


def _case_to_json(case: RecordedCase) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "domain": case.domain,
        "committed": case.committed,
        "stop_reason": case.stop_reason,
        "prompt_token_ids": _packed(case.prompt_token_ids, "<i4"),
        "token_ids": _packed(case.token_ids, "<i4"),
        "target": {name: _packed(case.target[name], kind) for name, kind in TARGET_COLUMNS.items()},
        "drafts": {
            name: {
                "k": draft.k,
                "rollout": draft.chain["chain_entropy"].shape[1],
                **{c: _packed(draft.columns[c], kind) for c, kind in DRAFT_COLUMNS.items()},
                **{c: _packed(draft.top[c], kind) for c, kind in TOP_COLUMNS.items()},
                **{c: _packed(draft.chain[c], kind) for c, kind in CHAIN_COLUMNS.items()},
            }
            for name, draft in case.drafts.items()
        },
    }


def _case_from_json(values: Mapping[str, Any]) -> RecordedCase:
    return RecordedCase(
        case_id=values["case_id"],
        domain=values["domain"],
        committed=values["committed"],
        stop_reason=values["stop_reason"],
        prompt_token_ids=_unpacked(values["prompt_token_ids"], "<i4"),
        token_ids=_unpacked(values["token_ids"], "<i4"),
        target={c: _unpacked(values["target"][c], kind) for c, kind in TARGET_COLUMNS.items()},
        drafts={
            name: RecordedDraft(
                columns={c: _unpacked(draft[c], kind) for c, kind in DRAFT_COLUMNS.items()},
                top={
                    c: _unpacked(draft[c], kind).reshape(-1, draft["k"])
                    for c, kind in TOP_COLUMNS.items()
                },
                chain={
                    c: _unpacked(draft[c], kind).reshape(
                        len(_unpacked(draft["rank"], DRAFT_COLUMNS["rank"])), draft["rollout"]
                    )
                    for c, kind in CHAIN_COLUMNS.items()
                },
            )
            for name, draft in values["drafts"].items()
        },
    )


def _packed(column: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(column, dtype).tobytes()).decode()


def _unpacked(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype)


def _joined(columns: list[np.ndarray], dtype: str) -> np.ndarray:
    return np.concatenate(columns).astype(dtype) if columns else np.empty(0, dtype)


def _cannot(path: Path, error: OSError) -> DraftproofError:
    return DraftproofError(
        f"cannot write {path}: {error.strerror or error}; free space or give another --out (what "
        "was recorded is still in the journal there)"
    )
