"""What llama.cpp's ``speed_bench.py --output`` saves: a result a sample of SPEED-Bench.

Source of the format: ggml-org/llama.cpp, ``tools/server/bench/speed-bench/README.md`` and pull
request 23869.
"""

from __future__ import annotations

from collections.abc import Sequence

from draftproof.errors import DataError
from draftproof.importing.documents import Document
from draftproof.importing.fields import Fields, fields_of
from draftproof.importing.results import (
    UNKNOWN,
    Format,
    Results,
    failed_case,
    measured_case,
    require_distinct,
)
from draftproof.trace import CaseRecord, Counts


def _recognises(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(results := value.get("results"), list):
        return False
    return all(name in value for name in ("config", "summary")) and all(
        isinstance(result, dict) and "draft_n" in result for result in results
    )


def _read(documents: Sequence[Document], domain: str | None) -> Results:
    cases: list[tuple[str, CaseRecord]] = []
    prompts: dict[str, str] = {}
    model = ""
    for document in documents:
        fields = fields_of(document.where, document.value)
        model = model or fields.inner("config").text_or_empty("model")
        for result in fields.items("results"):
            case = _case(result, domain)
            cases.append((result.where, case))
            if case.prompt_tokens is not None:
                prompts[case.case_id] = f"{case.prompt_tokens} tokens"
    if not cases:
        raise DataError(f"{documents[0].where}: 'results' is empty; no sample was measured")
    return Results(
        cases=require_distinct(cases, "sample"), model=model, engine="llama.cpp", prompts=prompts
    )


def _case(result: Fields, domain: str | None) -> CaseRecord:
    category = result.text("category") if "category" in result else UNKNOWN
    turns = max(1, result.count_or_none("turns") or 1)
    many = f"/turns1-{turns}" if turns > 1 else ""
    case_id = f"speed_bench/{category}/{result.text('id')}{many}"
    own = domain or category
    if result.values.get("ok") is False:
        return failed_case(case_id, own, result.text_or_empty("error"))
    counts = Counts(
        drafted=result.count("draft_n"), accepted=result.count("draft_n_accepted"), outputs=turns
    )
    finished = result.text_or_empty("finish_reason")
    return measured_case(
        case_id=case_id,
        domain=own,
        counts=counts,
        # The script writes 0 where the server does not say.
        length=result.count_or_none("completion_tokens") or None,
        prompt_tokens=result.count_or_none("prompt_tokens") or None,
        seconds=result.number_or_nan("latency_s"),
        stop_reason="length" if finished == "length" and turns == 1 else "",
        engine="llama.cpp",
    )


RESULTS = Format(
    name="speed-bench",
    title="llama.cpp's speed_bench.py --output",
    signs="'config', 'summary' and 'results' with 'draft_n' in one object",
    not_told="steps, with a draft or without; prompts' texts; token ids",
    pairing="by category and id of the sample",
    recognises=_recognises,
    read=_read,
)
