"""A recording on disk: a journal while it is made, compressed columns when it is whole.

The folder holds ``recording.json`` (what it was made of), ``journal.jsonl`` (one line a case, each
flushed when its case ends: a killed recording loses at most the case in flight) and, once every
case is recorded, ``recording.npz`` in place of the journal. Reading needs numpy only.

Whatever a disk or a hand changed is refused: the description and each line of the journal carry a
checksum, the columns those of their archive, and what they hold must fit together.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from draftproof.config import MOVE_NO_NUMBER
from draftproof.differences import differences, flat, said
from draftproof.errors import DraftproofError, TraceError, printable
from draftproof.files import write_atomically, write_text
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
from draftproof.summed_lines import drop_torn_line, is_as_written, summed
from draftproof.wording import counted

INFO_FILE, JOURNAL_FILE, COLUMNS_FILE = "recording.json", "journal.jsonl", "recording.npz"
_KIND = "draftproof recording"
_SUM = "crc32"
"""Key of the checksum of everything else in the description."""


class RecordingFolder:
    """A recording that is being made: appends cases, and goes on where it was stopped.

    Args:
        folder: Made with its parents. What it holds must be a recording of the same models,
            settings and prompts.
        info: What is recorded.
        case_ids: Ids of every case that the recording is to hold, in its order.

    Raises:
        TraceError: The folder holds another recording, or one that cannot be read.
        DraftproofError: It cannot be written.
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
                found, before = _read_header(folder)
                if found.get("fingerprint") != made_of:
                    changed = differences(_of_figures(before), _of_figures(info))
                    raise TraceError(
                        f"{folder} holds another recording "
                        f"({said(changed) or 'its prompts are others'}); give another --out, or "
                        "remove the folder"
                    )
                self.finished = {case.case_id: case for case in load_recording(folder).cases}
            else:
                header[_SUM] = _checksum(header)
                write_text(folder / INFO_FILE, json.dumps(header, indent=1) + "\n")
            if (folder / JOURNAL_FILE).exists():
                drop_torn_line(folder / JOURNAL_FILE)
        except OSError as error:
            raise _cannot(folder, error) from error

    def append(self, case: RecordedCase) -> None:
        """Write one case, flushed to the disk before returning.

        Raises:
            TraceError: Its columns do not fit together.
            DraftproofError: It cannot be written.
        """
        case.check(self._info)
        line = summed(json.dumps(_case_to_json(case), separators=(",", ":")))
        try:
            with (self.folder / JOURNAL_FILE).open("ab") as journal:
                journal.write(line.encode() + b"\n")
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
    text = json.dumps([_of_figures(info), list(case_ids)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of_figures(info: RecordingInfo) -> dict[str, Any]:
    """What of a description can move a figure, flat.

    Many prompts at once are decoded as each alone, and machines and versions are of costs.
    """
    values = dataclasses.asdict(info)
    left_out = ("versions", "hardware", "settings")
    kept = {name: value for name, value in values.items() if name not in left_out}
    settings = {
        f"setting {name}": value
        for name, value in flat(values["settings"])
        if name.split(".")[0] not in (*MOVE_NO_NUMBER, "batch")
    }
    return {**settings, **dict(flat(kept))}


def load_recording(folder: Path) -> Recording:
    """A recording from its folder, whole or as far as its journal goes.

    Raises:
        TraceError: There is none, it holds no prompt, or a file of it is corrupt, of a newer
            version, or not what was written.
    """
    header, info = _read_header(folder)
    whole = (folder / COLUMNS_FILE).exists()
    cases: tuple[RecordedCase, ...] = ()
    if whole or (folder / JOURNAL_FILE).exists():
        source = folder / (COLUMNS_FILE if whole else JOURNAL_FILE)
        cases = _read_columns(source) if whole else _read_journal(source)
        try:
            _check_cases(cases, info, header["cases"], whole=whole)
        except TraceError as error:
            raise TraceError(f"{source}: {error}; {_AGAIN}") from error
    return Recording(info=info, cases=cases, complete=len(cases) == header["cases"])


_AGAIN = (
    "restore the file, or remove it and run the same `draftproof record` again, which records what "
    "is missing"
)


def _check_cases(
    cases: tuple[RecordedCase, ...], info: RecordingInfo, count: int, *, whole: bool
) -> None:
    """Verify that cases fit together, and the description.

    Raises:
        TraceError: Says what does not.
    """
    if len({case.case_id for case in cases}) < len(cases):
        raise TraceError("two prompts have the same id")
    if len(cases) > count or (whole and len(cases) < count):
        raise TraceError(f"it has {counted(len(cases), 'prompt')}, and {INFO_FILE} says {count}")
    for case in cases:
        case.check(info)


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
    # Numpy's own types leave no room for a mapping of arrays.
    write_atomically(path, lambda file: np.savez_compressed(file, **listed))  # type: ignore[arg-type]


def _read_columns(path: Path) -> tuple[RecordedCase, ...]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            columns = dict(stored)
        for name, lengths in (("token_ids", "tokens"), ("prompt_token_ids", "prompt_tokens")):
            if columns[lengths].min(initial=0) < 0 or columns[lengths].sum() != len(columns[name]):
                raise ValueError(f"{lengths} do not add up to the length of {name}")
        for name in ("domains", "stop_reasons", "committed", "tokens", "prompt_tokens"):
            if columns[name].shape != columns["case_ids"].shape:
                raise ValueError(f"{name} has another length than case_ids")
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
    except (*_UNREADABLE, zipfile.BadZipFile, zlib.error, EOFError, MemoryError) as error:
        raise TraceError(f"{path} is corrupt ({error!r}); {_AGAIN}") from error


_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    RuntimeError,
)
"""What reading raises of a file that something else wrote, or that was damaged: a RuntimeError of
an archive that is encrypted, compressed in an unknown way, or nested too deep."""


def _read_header(folder: Path) -> tuple[dict[str, Any], RecordingInfo]:
    """The description of a recording, and what of it says what was recorded.

    Raises:
        TraceError: There is none, or it is not one that this version reads.
    """
    path = folder / INFO_FILE
    another = "restore the file, or give another --out to record it again"
    try:
        header: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise TraceError(
            f"there is no recording at {folder} ({error.strerror}); `draftproof record --out "
            "FOLDER` makes one"
        ) from error
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path} is corrupt ({error}); {another}") from error
    if not isinstance(header, dict) or header.get("kind") != _KIND:
        raise TraceError(f"{path} is not the description of a draftproof recording")
    version = header.get("schema_version")
    if type(version) is not int or version < 1:
        raise TraceError(f"{path} has the schema version {printable(repr(version))}; {another}")
    if version > SCHEMA_VERSION:
        raise TraceError(
            f"{path} has schema version {version}, and this draftproof reads up to "
            f"{SCHEMA_VERSION}; install a newer one"
        )
    if header.get(_SUM, _checksum(header)) != _checksum(header):
        raise TraceError(f"{path} is not what was written: its checksum differs; {another}")
    if type(header.get("cases")) is not int or header["cases"] < 0:
        raise TraceError(f"{path} does not say how many prompts it is of; {another}")
    try:
        return header, RecordingInfo.from_json(header.get("info"))
    except TraceError as error:
        raise TraceError(f"{path}: {error}; {another}") from error


def _checksum(header: Mapping[str, Any]) -> int:
    """The CRC-32 of a description without its own."""
    text = json.dumps({k: v for k, v in header.items() if k != _SUM}, sort_keys=True)
    return zlib.crc32(text.encode())


def _read_journal(path: Path) -> tuple[RecordedCase, ...]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TraceError(f"{path} cannot be read ({error.strerror}); {_AGAIN}") from error
    lines.pop()  # empty, or cut off in the middle of a case
    cases: dict[str, RecordedCase] = {}
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("ascii")
            if not is_as_written(text):
                raise ValueError("its checksum differs")
            case = _case_from_json(json.loads(text))
        except _UNREADABLE as error:
            raise TraceError(
                f"{path}, line {number} is corrupt ({error!r}); remove the line to record its case "
                "again"
            ) from error
        cases[case.case_id] = case
    return tuple(cases.values())


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
