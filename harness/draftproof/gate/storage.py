"""Baselines on disk: one small JSON file each, and the full traces beside it if asked for."""

from __future__ import annotations

import base64
import difflib
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from draftproof.errors import DraftproofError, TraceError, UsageError
from draftproof.files import write_text
from draftproof.gate.exact import StepFacts
from draftproof.gate.measured import SECONDS, MeasuredRun, measured_run
from draftproof.paths import is_file, is_folder
from draftproof.report.reading import load_run
from draftproof.report.run_info import RunInfo
from draftproof.report.texts import Texts
from draftproof.report.writing import write_report
from draftproof.statistics.sums import TOTALS

FOLDER = ".draftproof"
"""Where baselines lie unless ``--spec-storage`` says otherwise."""
SCHEMA_VERSION = 3
"""Raised whenever a field of a baseline changes its name, its type or its meaning.

Version 1 has drafted steps for the steps of engines that told their counters alone; it is read with
the steps that version 2 would have. Version 3 orders cases by their ids and gives the domain of
each case that ended in an error; older ones are ordered when they are read, and a domain that they
do not give is empty."""
_STEPS_SINCE = 2
"""The version from which on a baseline's steps are all of them."""
_KIND = "draftproof baseline"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder of baselines, fit to be committed or kept as an artefact of CI.

    Attributes:
        folder: ``NAME.json`` for each baseline; ``NAME/``, its report, where traces were kept.
    """

    folder: Path

    def check_name(self, name: str) -> None:
        """Refuse a name that is no file name.

        Raises:
            UsageError: Says which characters are.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"--spec-save: '{name}' is not a name; use letters, digits, '.', '_' and '-', "
                "200 of them at most"
            )

    def save(self, name: str, run: MeasuredRun, *, traces: bool) -> Path:
        """Keep a run under a name; what had the name before is replaced.

        Args:
            name: Of the baseline.
            run: What to keep.
            traces: Whether to keep every step and node too.

        Raises:
            UsageError: It is no name.
            DraftproofError: It cannot be written.
        """
        self.check_name(name)
        path = self.folder / f"{name}.json"
        before = _traces_of(path)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            folder = Path(mkdtemp(prefix=f"{name}-", dir=self.folder)) if traces else None
        except OSError as error:
            raise UsageError(
                f"cannot make {self.folder}: {error.strerror}; give another --spec-storage"
            ) from error
        kept: list[Path] = [] if folder is None else [folder]
        try:
            if folder is not None:
                write_report(folder, run.run, list(run.traces.values()))
            values = _to_json(run, traces=None if folder is None else folder.name)
            # From here on the baseline is the new one, and the folder that it names.
            write_text(path, json.dumps(values, allow_nan=False) + "\n")
            kept = [old for old in before if old != folder]
        except DraftproofError as error:
            still = f"the earlier baseline {name} is as it was" if before or path.exists() else ""
            raise DraftproofError(
                "; ".join(filter(None, [str(error), "or give another --spec-storage", still]))
            ) from error
        finally:
            for unused in kept:
                shutil.rmtree(unused, ignore_errors=True)
        return path

    def load(self, name: str, *, partial: bool = False) -> MeasuredRun:
        """The run of a name, of a baseline's file, or of a report's folder.

        Args:
            name: As it was given.
            partial: Whether a run that did not come to its end will do.

        Raises:
            UsageError: The run did not come to its end.
            TraceError: There is none, or it is corrupt or of a newer schema version.
        """
        path = Path(name)
        stored = self.folder / f"{name}.json"
        if _NAME.fullmatch(name) and is_file(stored):
            return read_baseline(stored)
        if is_folder(path) or path.name == "latest":
            saved = load_run(path)
            if not saved.complete and not partial:
                raise UsageError(
                    f"{name} is a run that did not come to its end: it has {len(saved.cases)} "
                    "cases, and which ones are missing may depend on what went wrong; go on with "
                    "it (pytest --spec-resume), or compare it as it is with --spec-compare-anyway"
                )
            return measured_run(name, saved.run, saved.cases, saved.texts)
        if is_file(path):
            return read_baseline(path)
        raise self._missing(name)

    def names(self) -> list[str]:
        """The baselines that there are."""
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def _missing(self, name: str) -> TraceError:
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        there = f"{self.folder} has {', '.join(names)}" if names else f"{self.folder} has none"
        return TraceError(
            f"there is no baseline '{name}'{hint} ({there}). Save one with pytest --spec-save "
            f"{name}, or give the path of a baseline or of a report's folder"
        )


def read_baseline(path: Path) -> MeasuredRun:
    """The run that a baseline's file holds, with its traces where they lie beside it.

    Raises:
        TraceError: The file cannot be read, is corrupt, or of a newer schema version.
    """
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise TraceError(f"{path} is corrupt ({error}); save the baseline again") from error
    if not isinstance(values, dict) or values.get("kind") != _KIND:
        raise TraceError(f"{path} is not a baseline; pytest --spec-save NAME writes them")
    version = values.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise TraceError(
            f"{path} has schema version {version}, and this draftproof reads up to "
            f"{SCHEMA_VERSION}; install a newer one, or save the baseline again"
        )
    try:
        return _from_json(path, values)
    except TraceError as error:
        raise TraceError(f"{path}: {error}; save the baseline again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise TraceError(f"{path} is corrupt ({error!r}); save the baseline again") from error


def _to_json(run: MeasuredRun, *, traces: str | None) -> dict[str, Any]:
    return {
        "kind": _KIND,
        "schema_version": SCHEMA_VERSION,
        "run": run.run.to_json(),
        "traces": traces or False,
        "case_ids": list(run.case_ids),
        "domains": list(run.domains),
        "errors": dict(run.errors),
        "different": list(run.different),
        "contradictory": list(run.contradictory),
        "totals": {name: _numbers(run.totals[name]) for name in TOTALS},
        "most_steps": _numbers(run.most_steps),
        "seconds": {name: _numbers(run.seconds[name]) for name in SECONDS},
        "steps": {
            case_id: base64.b64encode(facts.to_bytes()).decode()
            for case_id, facts in run.steps.items()
        },
    }


def _from_json(path: Path, values: Mapping[str, Any]) -> MeasuredRun:
    case_ids = tuple(values["case_ids"])
    order = sorted(range(len(case_ids)), key=case_ids.__getitem__)
    totals = values["totals"]
    # Before other tools' results were read, both were told of every case.
    totals = {"accepted_of_drafted": totals["accepted"], **totals}
    columns = {name: _column(totals[name], len(case_ids))[order] for name in TOTALS}
    if values.get("schema_version", SCHEMA_VERSION) < _STEPS_SINCE:
        # No more than the steps, where they were told: each commits what it kept and a token.
        uncut = columns["committed_tokens"] - columns["accepted"]
        columns["steps"] = np.maximum(columns["steps"], uncut)
    seconds = {name: _column(values["seconds"][name], len(case_ids))[order] for name in SECONDS}
    steps = {
        case_id: StepFacts.from_bytes(base64.b64decode(values["steps"][case_id], validate=True))
        for case_id in sorted(case_ids)
    }
    kept = next((load_run(folder) for folder in _traces_folders(path, values)), None)
    domains = tuple(values["domains"])
    if len(domains) != len(case_ids) or len(set(case_ids)) != len(case_ids):
        raise ValueError("its cases and domains do not fit together")
    errors = values["errors"]
    return MeasuredRun(
        name=path.stem,
        run=RunInfo.from_json(values["run"]),
        case_ids=tuple(case_ids[row] for row in order),
        domains=tuple(domains[row] for row in order),
        totals=columns,
        most_steps=_column(values["most_steps"], len(case_ids))[order]
        if "most_steps" in values
        else columns["steps"],
        seconds=seconds,
        steps=steps,
        errors=dict(errors) if isinstance(errors, dict) else dict.fromkeys(errors, ""),
        different=tuple(sorted(values["different"])),
        contradictory=tuple(sorted(values.get("contradictory", ()))),
        traces={} if kept is None else {case.case_id: case for case in kept.cases},
        texts=Texts() if kept is None else kept.texts,
    )


def _traces_folders(path: Path, values: Mapping[str, Any]) -> list[Path]:
    """The report that a baseline names as its own; none where it was not kept with it."""
    named = values.get("traces")
    # Earlier versions had one folder for all baselines of a name.
    folder = path.with_suffix("") if named is True else path.parent / str(named)
    is_own = named is True or (isinstance(named, str) and bool(_NAME.fullmatch(named)))
    return [folder] if is_own and folder.is_dir() else []


def _traces_of(path: Path) -> list[Path]:
    """The folders that a baseline leaves behind where it is replaced."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return _traces_folders(path, values) if values.get("kind") == _KIND else []
    except (OSError, ValueError, AttributeError):
        return []


def _numbers(column: np.ndarray) -> list[float | int | None]:
    """Counts as whole numbers, and NaN as null."""
    return [
        None if math.isnan(value) else int(value) if value.is_integer() else value
        for value in column.tolist()
    ]


def _column(values: list[float | None], length: int) -> np.ndarray:
    column = np.array([math.nan if value is None else value for value in values], np.float64)
    if column.shape != (length,):
        raise ValueError(f"a column has {len(values)} values for {length} cases")
    return column
