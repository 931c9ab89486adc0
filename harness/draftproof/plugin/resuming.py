"""Going on with an unfinished run: what it measured, and whether this session may add to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from draftproof.config import RunConfig
from draftproof.differences import said
from draftproof.errors import TraceError, UsageError
from draftproof.journal import read_journal, was_begun
from draftproof.plugin.collection import described_prompts, sampled_prompts
from draftproof.plugin.options import given
from draftproof.report import JOURNAL_FILE
from draftproof.report.reading import RUN_FILE
from draftproof.trace import CaseRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """What an earlier session left.

    Attributes:
        path: Its journal.
        run: What the run was, as its journal says.
        cases: Those that need not be measured again, by id; those that ended in an error do.
    """

    path: Path
    run: Mapping[str, Any]
    cases: Mapping[str, CaseRecord]

    @property
    def fingerprint(self) -> str | None:
        """That of its settings."""
        return self.run.get("fingerprint")

    def require_same_prompts(self, config: pytest.Config) -> None:
        """Refuse to go on with prompts that had the same ids but other texts.

        Where the run goes on with more prompts, those that it was to have are compared.

        Raises:
            TraceError: A domain that both sessions loaded has other prompts now.
        """
        limit = self.run.get("config", {}).get("limit")
        before = self.run.get("data", {})
        for domain in before.keys() & described_prompts(config).keys():
            if before[domain]["sha256"] not in sampled_prompts(config, domain, limit):
                raise TraceError(
                    f"{self.path} is the journal of a run on other prompts: those of {domain} "
                    "have changed since; bring them back, or give another --report-dir"
                )

    def require_same_models(self, models: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse to go on with other models under the same names.

        Raises:
            TraceError: A model file has other contents now.
        """
        before = self.run.get("models", {})
        for role, facts in models.items():
            digest = before.get(role, {}).get("sha256")
            if digest is not None and digest != facts.get("sha256"):
                raise TraceError(
                    f"{self.path} is the journal of a run with another {role} model than "
                    f"{facts.get('name')} is now: bring it back, or give another --report-dir"
                )


def unfinished(config: pytest.Config, settings: RunConfig) -> Unfinished | None:
    """What this session goes on from; None where it starts anew.

    Raises:
        UsageError: The report folder holds an unfinished run that is not to be resumed, or there
            is none to resume.
        TraceError: Its journal is corrupt, of a run with other settings, or holds evidence that
            this version cannot add to.
    """
    folder = given(config, "report_dir")
    resume = given(config, "spec_resume")
    if folder is None:
        if resume:
            raise UsageError("--spec-resume needs --report-dir: the folder of the unfinished run")
        return None
    path = Path(folder) / JOURNAL_FILE
    if not was_begun(path):
        measures = not (config.option.help or config.option.collectonly)
        if measures and not hasattr(config, "workerinput"):
            require_own_report(Path(folder), settings)
        return None
    if not resume:
        if hasattr(config, "workerinput"):
            return None  # the journal is that of its own session, whose controller looked
        raise UsageError(
            f"{folder} holds an unfinished run; add --spec-resume to go on with it, or delete "
            f"{path} to start anew"
        )
    path = path.absolute()  # an engine may go elsewhere
    contents = read_journal(path)
    if not _goes_on(settings, contents.run):
        changes = _changes(settings, contents.run)
        raise TraceError(
            f"{path} is the journal of a run with other settings{changes}; "
            "give the same options (only --spec-limit may have grown) to go on with it, or another "
            "--report-dir"
        )
    _require_same_evidence(path, contents.cases)
    return Unfinished(
        path=path,
        run=contents.run,
        cases={record.case_id: record for record in contents.cases if record.verdict != "error"},
    )


def require_own_report(folder: Path, settings: RunConfig) -> None:
    """Refuse to put a run in the place of a finished one of other settings.

    Args:
        folder: Of the report to be; a whole report of the same settings may be measured again.
        settings: The run's.

    Raises:
        UsageError: It holds the report of a run of other settings.
    """
    try:
        found = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        fingerprint, changes = found["fingerprint"], _changes(settings, found)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # no report, or none that could be read again
    if fingerprint != settings.fingerprint():
        raise UsageError(
            f"{folder} holds the report of a run with other settings{changes}, which this one "
            "would overwrite; give another --report-dir, or delete the folder"
        )


def _require_same_evidence(path: Path, cases: Iterable[CaseRecord]) -> None:
    """Refuse sums of the anytime-valid test that stand for other alternatives than this version's.

    Raises:
        TraceError: A case holds such sums.
    """
    sampled = [case for case in cases if case.evidence is not None and case.control is not None]
    if not sampled:
        return
    from draftproof.lossless.evidence.process import Evidence

    for case in sampled:
        try:
            for stored in (case.evidence, case.control):
                Evidence.from_json(stored or {})
        except TraceError as error:
            raise TraceError(
                f"{path} cannot be gone on with: {error}. Delete it or give another --report-dir "
                "to start anew; what it measured is still read by `draftproof report`"
            ) from None


def _changes(settings: RunConfig, run: Mapping[str, Any]) -> str:
    """In which settings a stored run differs, in brackets; empty where it does not say."""
    stored = run.get("config")
    changed = settings.changed_from(stored) if isinstance(stored, Mapping) else []
    return f" ({said(changed)})" if changed else ""


def _goes_on(settings: RunConfig, run: Mapping[str, Any]) -> bool:
    """Whether settings are those of a run, or ask for more prompts and nothing else.

    Samples are nested, so a larger one holds what was measured.
    """
    fingerprint = run.get("fingerprint")
    if fingerprint == settings.fingerprint():
        return True
    limit = run.get("config", {}).get("limit")
    if limit is None or (settings.limit is not None and settings.limit < limit):
        return False
    return fingerprint == replace(settings, limit=limit).fingerprint()
