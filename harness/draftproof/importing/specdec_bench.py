"""NVIDIA specdec_bench's answers with acceptance lengths, and its acceptance rates as JSON.

Source of the formats: NVIDIA/Model-Optimizer, ``examples/specdec_bench/specdec_bench/metrics/``:
``acceptance_rate.py``, ``specbench.py`` and ``base.py``. Versions that write a request's acceptance
lengths (pull request 1272) leave the first token and the last chunk of an output out of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from draftproof.errors import DataError
from draftproof.importing.documents import Document
from draftproof.importing.fields import Fields, fields_of
from draftproof.importing.results import (
    UNKNOWN,
    WHOLE_RUN,
    Format,
    Results,
    failed_case,
    histogram_of,
    left_out,
    measured_case,
    require_distinct,
)
from draftproof.trace import CHUNKS, INNER_STEPS, CaseRecord, Counts

_HISTOGRAM = "Acceptance_Length_Histogram"
_WITHOUT_ENDS = "Generated_Token_Binned_Average_AL"
"""Figures that only versions write that leave out the ends of outputs."""


def _recognises_answer(value: object) -> bool:
    return (
        isinstance(value, dict)
        and "question_id" in value
        and ("acceptance_lengths" in value or value.get("error") is True)
    )


def _read_answers(documents: Sequence[Document], domain: str | None) -> Results:
    cases: list[tuple[str, CaseRecord]] = []
    prompts: dict[str, str] = {}
    empty = 0
    for document in documents:
        fields = fields_of(document.where, document.value)
        category = fields.text("category") if "category" in fields else UNKNOWN
        case_id = f"specdec_bench/{category}/{fields.text('question_id')}"
        own = domain or category
        if fields.values.get("error") is True:
            why = fields.text_or_empty("error_message")
            cases.append((document.where, failed_case(case_id, own, why)))
            continue
        chunks = fields.lengths("acceptance_lengths")
        if not chunks:
            empty += 1
            continue
        cases.append((document.where, _case(fields, case_id, own, chunks)))
        if isinstance(turns := fields.values.get("turns"), list):
            prompts[case_id] = hashlib.sha256(json.dumps(turns).encode()).hexdigest()[:16]
    return Results(
        cases=require_distinct(cases, "question"),
        prompts=prompts,
        notes=[
            *left_out(empty, len(documents), "questions tell no acceptance length: left out"),
            "the first token and the last step of each output are in no figure; an output of one "
            "step is counted as one step that kept nothing, as specdec_bench counts it",
        ],
    )


def _case(fields: Fields, case_id: str, domain: str, chunks: Sequence[int]) -> CaseRecord:
    if min(chunks) < 1:
        raise DataError(f"{fields.where}: acceptance_lengths: a chunk holds a token at least")
    kept = [chunk - 1 for chunk in chunks]
    return measured_case(
        case_id=case_id,
        domain=domain,
        counts=Counts(
            drafted=None,
            accepted=sum(kept),
            steps=len(kept),
            lengths=histogram_of(kept),
            committed=sum(chunks),
            counted=INNER_STEPS,
        ),
    )


def _recognises_sums(value: object) -> bool:
    return isinstance(value, dict) and _HISTOGRAM in value


def _read_sums(documents: Sequence[Document], domain: str | None) -> Results:
    if len(documents) > 1:
        raise DataError(
            f"{documents[1].where}: a second run (specdec_bench adds each to the same file): keep "
            "the one that is meant"
        )
    fields = fields_of(documents[0].where, documents[0].value)
    chunks = fields.histogram(_HISTOGRAM)
    if not any(chunks):
        raise DataError(f"{fields.where}: {_HISTOGRAM} is empty; nothing was measured")
    if chunks[0]:
        raise DataError(f"{fields.where}: {_HISTOGRAM}: a chunk holds a token at least")
    steps = sum(chunks)
    committed = sum(length * count for length, count in enumerate(chunks))
    requests = len(fields.inner("Request_AL").values) if "Request_AL" in fields else 1
    is_inner = _WITHOUT_ENDS in fields
    case = measured_case(
        case_id=WHOLE_RUN,
        domain=domain or UNKNOWN,
        counts=Counts(
            drafted=None,
            accepted=committed - steps,
            steps=steps,
            lengths=chunks[1:],
            committed=committed,
            outputs=max(1, requests),
            # A mean of requests cannot be made of sums, even of what looks like one.
            requests=max(2, requests),
            counted=INNER_STEPS if is_inner else CHUNKS,
        ),
    )
    ends = (
        "the first token and the last step of each output are in no figure"
        if is_inner
        else "the first token of each output, which no step made, is counted as a step that kept "
        "nothing"
    )
    return Results(
        cases=[case],
        notes=[
            f"the file tells the chunks of {requests} requests together, so that there is no "
            "interval, and no mean of requests but the one that it states",
            ends,
        ],
    )


ANSWERS = Format(
    name="specdec-bench",
    title="specdec_bench's answers (responses.jsonl, specbench_responses.jsonl)",
    signs="'question_id' and 'acceptance_lengths' in each line",
    not_told="how many tokens were drafted; the first token and the last step of each output",
    pairing="by category and question_id",
    recognises=_recognises_answer,
    read=_read_answers,
)
SUMS = Format(
    name="specdec-bench-summary",
    title="specdec_bench's acceptance_rate.json (or mtbench.json, specbench_results.json)",
    signs="'Acceptance_Length_Histogram' in one object",
    not_told="how many tokens were drafted; the chunks of each request; domains; token ids",
    pairing="as one case, the whole run",
    recognises=_recognises_sums,
    read=_read_sums,
)
