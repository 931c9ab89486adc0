"""Writes a run's report: the raw facts first, then what is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from draftproof.errors import DraftproofError
from draftproof.files import write_atomically, write_text
from draftproof.report.columns import (
    CASES_FILE,
    NODES_FILE,
    STEPS_FILE,
    write_cases,
    write_nodes,
    write_steps,
)
from draftproof.report.markdown import markdown_report
from draftproof.report.metrics_json import metrics_document, strict_json
from draftproof.report.notes import run_notes
from draftproof.report.page import PageSource, write_page
from draftproof.report.promise_table import JudgedPromise, judged_promises
from draftproof.report.reading import RUN_FILE
from draftproof.report.run_info import RunInfo
from draftproof.report.terminal import terminal_report
from draftproof.report.texts import Texts, texts_of, write_texts
from draftproof.statistics import RunSummary, Study, study, summarise
from draftproof.trace import SCHEMA_VERSION, CaseRecord

METRICS_FILE = "metrics.json"
SUMMARY_FILE = "summary.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A written report.

    Attributes:
        directory: Its folder.
        run: What the run was.
        cases: Its records; of a case that was run again, the last.
        summary: Its figures.
        study: What it says on the study's questions.
        promised: What its budget promised beside what was measured, if anything.
        problem: Why its page could not be made; empty where it was.
        complete: Whether the run ended.
    """

    directory: Path
    run: RunInfo
    cases: tuple[CaseRecord, ...]
    summary: RunSummary
    study: Study
    promised: Sequence[JudgedPromise] = ()
    problem: str = ""
    complete: bool = True

    @property
    def terminal_text(self) -> str:
        """What to print."""
        return terminal_report(
            self.run,
            self.summary,
            self.cases,
            self.study,
            promised=self.promised,
            complete=self.complete,
        )

    @property
    def notes(self) -> list[str]:
        """What must be said beside its figures."""
        return run_notes(self.run, self.summary, self.cases, complete=self.complete)


def write_report(
    directory: Path, run: RunInfo, cases: Sequence[CaseRecord], *, complete: bool = True
) -> Report:
    """Writes every file of a report; each appears whole or not at all, and nothing is deleted.

    ``run.json`` comes last of the raw files, and says whether the run came to its end: with it, all
    of them are there. What is derived (``metrics.json``, ``summary.md``, ``report.html``) follows.

    Args:
        directory: An existing folder or one to make; files of the same names are replaced.
        run: What the run was.
        cases: Its records; of a case that was run again, the last counts, as in the journal.
        complete: Whether the run came to its end; a run that did not is told so by every reader.

    Returns:
        The report. Where only its page could not be made, its `problem` says why.

    Raises:
        DraftproofError: Another file cannot be written; the message names it.
        TraceError: A record is not a trace.
    """
    cases = tuple({case.case_id: case for case in cases}.values())
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DraftproofError(
            f"cannot make {directory}: {error.strerror}; give another folder"
        ) from error
    write_atomically(directory / CASES_FILE, partial(write_cases, cases=cases))
    write_atomically(directory / STEPS_FILE, partial(write_steps, cases=cases))
    write_atomically(directory / NODES_FILE, partial(write_nodes, cases=cases))
    texts = texts_of(cases)
    write_texts(directory, texts)
    described = {"schema_version": SCHEMA_VERSION, "complete": complete, **run.to_json()}
    write_text(directory / RUN_FILE, strict_json(described))
    return write_derived(directory, run, cases, texts, complete=complete)


def write_derived(
    directory: Path,
    run: RunInfo,
    cases: Sequence[CaseRecord],
    texts: Texts,
    *,
    complete: bool = True,
    with_page: bool = True,
) -> Report:
    """Writes what follows from the raw facts of a report: the figures, the text, the page.

    Args:
        directory: The report's folder; files of the same names are replaced.
        run: What the run was.
        cases: Its records.
        texts: The text of its tokens, as far as it was kept.
        complete: Whether the run ended.
        with_page: Whether the page is wanted, too.

    Returns:
        The report. Where only its page could not be made, its `problem` says why.

    Raises:
        DraftproofError: Another file cannot be written; the message names it.
    """
    cases = tuple(cases)
    summary, found = summarise(cases), study(cases, is_drawn_chain=run.is_drawn_chain)
    notes = run_notes(run, summary, cases, complete=complete)
    write_text(
        directory / METRICS_FILE, strict_json(metrics_document(summary, found, notes, cases))
    )
    promised = judged_promises(run, summary, cases)
    text = markdown_report(run, summary, cases, found, promised=promised, complete=complete)
    write_text(directory / SUMMARY_FILE, text)
    report = Report(
        directory=directory,
        run=run,
        cases=cases,
        summary=summary,
        study=found,
        promised=promised,
        complete=complete,
    )
    if not with_page:
        return report
    source = PageSource(
        run=run,
        cases=cases,
        summary=summary,
        study=found,
        texts=texts,
        promised=promised,
        complete=complete,
    )
    try:
        write_page(directory, source)
    except DraftproofError as error:
        # The figures are complete without it: they are to be printed all the same.
        return replace(report, problem=f"The page was not made: {error}")
    return report
