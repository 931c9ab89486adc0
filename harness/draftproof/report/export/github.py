"""What GitHub Actions shows of a run: annotations, and the summary of a step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from draftproof.errors import DraftproofError, UsageError, clean_text
from draftproof.report.notes import run_notes
from draftproof.report.page.source import PageSource
from draftproof.trace import Verdict

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
MOST_ANNOTATIONS = 10
"""Annotations of one kind that GitHub shows of a step."""
MOST_SUMMARY_BYTES = 1_000_000
"""A summary of more than 1 MiB is not shown at all."""
_MOST_TEXT = 600
_CUT = "\n\n(The rest is left out: a summary may be 1 MiB long. The report has all of it.)\n"


class Annotation(NamedTuple):
    """A line that GitHub shows with the job.

    Attributes:
        kind: ``error``, ``warning`` or ``notice``.
        title: A few words.
        message: What is to be said; may be of somebody else, and of several lines.
    """

    kind: str
    title: str
    message: str

    def __str__(self) -> str:
        r"""The workflow command; nothing in the text can end it or begin another.

        Example:
            >>> print(Annotation("error", "a:b,c", "100%\n::warning::no"))
            ::error title=a%3Ab%2Cc::100%25%0A::warning::no
        """
        message = _data(clean_text(self.message, _MOST_TEXT))
        title = _data(clean_text(self.title, 200)).replace(":", "%3A").replace(",", "%2C")
        return f"::{self.kind} title={title}::{message}"


def run_annotations(
    source: PageSource, comparison: Mapping[str, Any] | None = None
) -> list[Annotation]:
    """What is to be said of a run, errors first; of each kind as many as GitHub shows.

    Args:
        source: The run and its figures.
        comparison: What ``comparison.json`` of the run says, if there is one.
    """
    found = sorted(_found(source, comparison), key=lambda each: each.kind)
    shown: list[Annotation] = []
    for kind, same in groupby(found, key=lambda each: each.kind):
        own = list(same)
        if (more := len(own) - MOST_ANNOTATIONS) > 0:
            kept = own[: MOST_ANNOTATIONS - 1]
            own = [*kept, Annotation(kind, "draftproof", f"{more + 1} more: see the report")]
        shown += own
    return shown


def add_summary(texts: Sequence[str], environment: Mapping[str, str] | None = None) -> Path:
    """Add Markdown to the summary of this step.

    Args:
        texts: What to add, one under the other; cut where it is longer than GitHub shows.
        environment: Variables; the process's own by default.

    Raises:
        UsageError: The variable that names the summary's file is not set.
        DraftproofError: It cannot be written.
    """
    place = (os.environ if environment is None else environment).get(SUMMARY_VARIABLE)
    if not place:
        raise UsageError(
            f"--github: {SUMMARY_VARIABLE} is not set: there is no step of GitHub Actions here; "
            "leave --github out, or set it to a file"
        )
    path = Path(place)
    try:
        room = MOST_SUMMARY_BYTES - (path.stat().st_size if path.exists() else 0)
        data = ("\n\n".join(texts) + "\n").encode("utf-8", "replace")
        if len(data) > room:
            kept = data[: max(0, room - len(_CUT.encode()))]
            data = kept[: kept.rfind(b"\n") + 1] + _CUT.encode()
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        raise DraftproofError(f"cannot add to the summary {path}: {error.strerror}") from error
    return path


def _found(source: PageSource, comparison: Mapping[str, Any] | None) -> Iterator[Annotation]:
    for case in sorted(source.cases, key=lambda case: case.case_id):
        if case.verdict in (Verdict.ALGORITHMIC, Verdict.ERROR):
            what = "output changed" if case.verdict is Verdict.ALGORITHMIC else "error"
            yield Annotation("error", f"draftproof: {what}", f"{case.case_id}: {case.message}")
        elif case.contradictions:
            why = "; ".join(case.contradictions)
            yield Annotation("error", "draftproof: counts", f"{case.case_id}: {why}")
    law = source.run.law_test
    if law is not None and law["verdict"] not in ("consistent", "not tested"):
        kind = "warning" if law["verdict"] == "settings differ" else "error"
        yield Annotation(
            kind, "draftproof: law", f"anytime-valid test of the target's law: {law['verdict']}"
        )
    for gate in () if comparison is None else comparison.get("gates", ()):
        if gate.get("outcome") not in (None, "pass"):
            kind = "error" if gate["outcome"] == "fail" else "warning"
            yield Annotation(kind, f"draftproof: gate {gate['outcome']}", _gate_text(gate))
    for line in run_notes(source.run, source.summary, source.cases, complete=source.complete):
        yield Annotation("warning", "draftproof", line)


def _gate_text(gate: Mapping[str, Any]) -> str:
    figures = ", ".join(
        f"{name} {gate[name]:.4g}"
        for name in ("before", "now", "change", "low", "high")
        if isinstance(gate.get(name), int | float)
    )
    reason = f": {gate['reason']}" if gate.get("reason") else ""
    return f"{gate.get('gate')} in {gate.get('scope')} ({figures}){reason}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
