"""Cases that failed, as the page shows them: the message, and the steps at which outputs fork."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from draftproof.trace import CaseRecord, Verdict

SHOWN_FAILURES = 20
"""Most cases whose messages a page shows in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkPlace:
    """Where an output forks.

    Attributes:
        token: Index of the token in the output.
        step: The step that emitted it, from 1 as the viewer counts; 0 for prefill.
        link: The fragment that opens the viewer there; empty where it does not hold the case.
    """

    token: int
    step: int
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCase:
    """A case that failed.

    Attributes:
        case_id: Its id.
        what: Its verdict, or that its counts contradict each other.
        message: Why, in lines.
        forks: Where its output forks, in order.
    """

    case_id: str
    what: str
    message: str
    forks: tuple[ForkPlace, ...]


def failed_cases(cases: Sequence[CaseRecord], shown: Sequence[CaseRecord]) -> list[FailedCase]:
    """The cases that speculation changed, that ended in an error or contradict themselves.

    Args:
        cases: The records of the run.
        shown: Those that the tree viewer holds.
    """
    linked = {case.case_id for case in shown}
    return [
        FailedCase(
            case_id=case.case_id,
            what=str(case.verdict)
            if case.verdict in (Verdict.ALGORITHMIC, Verdict.ERROR)
            else "contradictory counts",
            message="\n".join(
                [
                    *([case.message] if case.message else []),
                    *(f"counts that contradict each other: {c}" for c in case.contradictions),
                ]
            ),
            forks=tuple(
                ForkPlace(
                    token=token,
                    step=step,
                    link=viewer_link(case.case_id, step) if case.case_id in linked else "",
                )
                for token, step in fork_steps(case)
            ),
        )
        for case in sorted(cases, key=lambda case: case.case_id)
        if case.verdict in (Verdict.ALGORITHMIC, Verdict.ERROR) or case.contradictions
    ]


def fork_steps(case: CaseRecord) -> list[tuple[int, int]]:
    """Each fork's index in the output, and the step that emitted it.

    Returns:
        Steps from 1; 0 for a token that no step emitted, but prefill.
    """
    if case.speculative is None:
        return []
    ends = np.cumsum(case.steps["committed_tokens"], dtype=np.int64)
    of_prefill = len(case.speculative.token_ids) - int(ends[-1] if len(ends) else 0)
    return [
        (
            fork.index,
            1 + int(np.searchsorted(ends, fork.index - of_prefill, side="right"))
            if fork.index >= of_prefill
            else 0,
        )
        for fork in case.forks
    ]


def viewer_link(case_id: str, step: int) -> str:
    """The fragment of the page's address that opens the tree viewer at a step.

    Example:
        >>> viewer_link("sql/0", 3)
        '#tree=sql%2F0&step=3'
    """
    return f"#tree={quote(case_id, safe='')}&step={max(step, 1)}"
