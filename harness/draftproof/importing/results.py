"""What is read of a tool's files: cases with counters, and the few facts of the run they tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from draftproof.errors import DataError, clean_text
from draftproof.importing.documents import Document
from draftproof.importing.fields import Fields
from draftproof.statistics.count_identities import check_counts
from draftproof.trace import CaseRecord, Counts, DecodedOutput, Verdict

UNKNOWN = "unknown"
"""The domain of requests of which nothing says what they are about."""
WHOLE_RUN = "all requests"
"""Id of the one case of a file that tells the sums over its requests alone."""
_MOST, _LONGEST_PROMPT = 2**53, 2**31 - 1
"""The largest numbers that a report has room for."""
_STATED = 1e-3
"""How far a figure that a file states may be from what its counters come to: it may be rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What the files of one run hold.

    Attributes:
        cases: A case a request, a conversation, or the whole run: whatever the tool tells apart.
        model: The target's name; empty where it is not told.
        engine: What decoded; empty where it is not told.
        draft_length: The most tokens of a draft; None where it is not told.
        started: When the run began, as the tool writes it; empty where it is not told.
        prompts: By case id what is known of a prompt (a hash of its text, or its length in
            tokens), so that two runs that are compared can be told apart.
        notes: What must be said beside the figures.
    """

    cases: Sequence[CaseRecord]
    model: str = ""
    engine: str = ""
    draft_length: int | None = None
    started: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of results.

    Attributes:
        name: What ``--format`` takes.
        title: The tool and its file.
        signs: What a value of it holds, in words.
        not_told: What its files do not tell.
        pairing: How its cases get the ids by which two runs are compared.
        recognises: Whether a value is of this format.
        read: The results that values of it hold, by a domain for all, or None for the files' own.
    """

    name: str
    title: str
    signs: str
    not_told: str
    pairing: str
    recognises: Callable[[object], bool]
    read: Callable[[Sequence[Document], str | None], Results]


def measured_case(
    *,
    case_id: str,
    domain: str,
    counts: Counts,
    length: int | None = None,
    prompt_tokens: int | None = None,
    seconds: float = math.nan,
    stop_reason: str = "",
    engine: str = "",
    stated: Sequence[str] = (),
) -> CaseRecord:
    """A case of which counters are told.

    Args:
        case_id: Its id, the same in every run of the same prompt.
        domain: Its domain.
        counts: The counters.
        length: Tokens of its output, as the engine counts them; None where it is not told.
        prompt_tokens: Likewise of its prompt.
        seconds: Wall time of the request; NaN where it is not told.
        stop_reason: As in `DecodedOutput`.
        engine: What decoded it.
        stated: Where figures that the file states leave its counters.

    Raises:
        DataError: A number has no room in a report.
    """
    numbers = [value for value in asdict(counts).values() if isinstance(value, int)]
    if max(*numbers, length or 0) > _MOST or (prompt_tokens or 0) > _LONGEST_PROMPT:
        raise DataError(f"{case_id}: a number of tokens or steps that nothing can have counted")
    output = DecodedOutput(
        token_ids=(),
        stop_reason=stop_reason,
        seconds=seconds,
        engine=engine,
        ids_told=False,
        told_length=length,
    )
    return CaseRecord(
        case_id=case_id,
        domain=domain,
        prompt_tokens=prompt_tokens,
        verdict=Verdict.UNJUDGED,
        speculative=output,
        counts=counts,
        contradictions=(*check_counts(counts, length, by_text=output.by_text), *stated),
    )


def failed_case(case_id: str, domain: str, message: str) -> CaseRecord:
    """A request that failed, with what the tool says of it."""
    return CaseRecord(
        case_id=case_id,
        domain=domain,
        prompt_tokens=None,
        verdict=Verdict.ERROR,
        message=clean_text(message) or "the tool gives no reason",
    )


def check_stated(fields: Fields, figures: Mapping[str, float]) -> Iterator[str]:
    """Where figures that a file states are not those that its counters come to.

    Args:
        fields: The object that states them.
        figures: By the name there, what the counters come to; NaN where they come to nothing.
    """
    for name, value in figures.items():
        if name not in fields or math.isnan(value):
            continue
        stated = fields.number(name)
        if abs(stated - value) > _STATED * max(1.0, value):
            yield f"{name} is stated as {stated:.6g}, and the counters come to {value:.6g}"


def histogram_of(lengths: Sequence[int]) -> tuple[int, ...]:
    """``[longest + 1]`` how often each length occurs.

    Example:
        >>> histogram_of([0, 2, 2])
        (1, 0, 2)
    """
    return tuple(np.bincount(np.array(lengths, np.int64)).tolist())


def require_distinct(cases: Sequence[tuple[str, CaseRecord]], what: str) -> list[CaseRecord]:
    """The cases, once it is seen that no id occurs twice.

    Args:
        cases: Each with the place that it was read at.
        what: What occurs twice, for the message.

    Raises:
        DataError: One does.
    """
    places: dict[str, str] = {}
    for where, case in cases:
        if case.case_id in places:
            raise DataError(
                f"{where}: {what} {case.case_id} stands at {places[case.case_id]} already: the "
                "file was written to by more than one run, or given twice. Keep one of the two"
            )
        places[case.case_id] = where
    return [case for _, case in cases]


def left_out(count: int, total: int, why: str) -> list[str]:
    """A note on requests that are in no figure; none where there are none."""
    return [f"{count} of {total} {why}"] if count else []


def share(above: float, below: float) -> float:
    """A quotient; NaN where there is nothing to divide by."""
    return above / below if below else math.nan
