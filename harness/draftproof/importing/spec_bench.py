"""Spec-Bench's answer files, ``model_answer/*.jsonl``: a question a line, with its conversations.

Source of the format: hemingkx/Spec-Bench, ``evaluation/eval.py`` (what is written) and
``evaluation/speed.py`` (what is read: the first choice alone, its accept lengths pooled).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from draftproof.data.rows import spec_bench_part
from draftproof.errors import DataError
from draftproof.importing.documents import Document
from draftproof.importing.fields import Fields, fields_of
from draftproof.importing.results import (
    UNKNOWN,
    Format,
    Results,
    failed_case,
    histogram_of,
    left_out,
    measured_case,
    require_distinct,
)
from draftproof.trace import CaseRecord, Counts

_ERROR = "ERROR"
"""What stands for the text of a turn that ended in an error."""


def _recognises(value: object) -> bool:
    if not isinstance(value, dict) or "question_id" not in value:
        return False
    choices = value.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and "new_tokens" in choice for choice in choices
    )


def _read(documents: Sequence[Document], domain: str | None) -> Results:
    cases: list[tuple[str, CaseRecord]] = []
    model, started, more = "", math.inf, 0
    for document in documents:
        fields = fields_of(document.where, document.value)
        choices = fields.items("choices")
        if not choices:
            raise DataError(f"{document.where}: 'choices' is empty; a question has one at least")
        more += len(choices) > 1
        cases.append((document.where, _case(fields, choices[0], domain)))
        model = model or fields.text_or_empty("model_id")
        started = min(started, fields.number("tstamp") if "tstamp" in fields else math.inf)
    return Results(
        cases=require_distinct(cases, "question"),
        model=model,
        started="" if math.isinf(started) else _time(started),
        notes=left_out(
            more,
            len(documents),
            "questions have several choices: the first is read, as Spec-Bench does",
        ),
    )


def _case(fields: Fields, choice: Fields, domain: str | None) -> CaseRecord:
    part = (
        spec_bench_part({"category": fields.text("category")}) if "category" in fields else UNKNOWN
    )
    tokens = choice.counts("new_tokens")
    many = f"/turns1-{len(tokens)}" if len(tokens) > 1 else ""
    case_id = f"spec_bench/{part}/{fields.text('question_id')}{many}"
    own = domain or part
    turns = choice.values.get("turns")
    if isinstance(turns, list) and _ERROR in turns:
        return failed_case(
            case_id,
            own,
            f"turn {turns.index(_ERROR) + 1} ended in an error, and the file repeats the figures "
            "of the turn before it",
        )
    if "accept_lengths" not in choice:
        raise DataError(
            f"{choice.where}: there are no 'accept_lengths'; the file is of another version, or of "
            "EAGLE's own scripts, and tells no steps"
        )
    lengths = choice.lengths("accept_lengths")
    kept = [max(0, length - 1) for length in lengths]
    seconds = choice.numbers("wall_time") if "wall_time" in choice else (math.nan,)
    counts = Counts(
        drafted=None,
        accepted=sum(kept),
        steps=len(lengths),
        lengths=histogram_of(kept),
        committed=sum(lengths),
        outputs=max(1, len(tokens)),
    )
    return measured_case(
        case_id=case_id, domain=own, counts=counts, length=sum(tokens), seconds=math.fsum(seconds)
    )


def _time(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return ""


ANSWERS = Format(
    name="spec-bench",
    title="Spec-Bench's answer file (model_answer/*.jsonl)",
    signs="'question_id' and 'choices' with 'new_tokens' in each line",
    not_told="how many tokens were drafted; prompts' texts and lengths; token ids",
    pairing="by category and question_id",
    recognises=_recognises,
    read=_read,
)
