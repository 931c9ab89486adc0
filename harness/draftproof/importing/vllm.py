"""vLLM's answers with acceptance metrics of each request: ``metrics.speculative_decoding``.

Source of the format: vllm-project/vllm,
``docs/features/speculative_decoding/acceptance_metrics.md``.
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
    check_stated,
    failed_case,
    histogram_of,
    left_out,
    measured_case,
    require_distinct,
    share,
)
from draftproof.trace import CaseRecord, Counts

_NEEDED = ("num_spec_steps", "num_draft_tokens", "num_accepted_draft_tokens")


def acceptance_counts(fields: Fields) -> tuple[Counts, list[str]]:
    """The counters of one request, and where what the object states leaves them.

    Args:
        fields: vLLM's object of acceptance metrics, or AIPerf's record, which has its fields.

    Raises:
        DataError: A counter is missing or none.
    """
    steps, drafted, accepted = (fields.count(name) for name in _NEEDED)
    lengths = fields.histogram("acceptance_histogram") if "acceptance_histogram" in fields else None
    stated = list(
        check_stated(
            fields,
            {
                "mean_acceptance_length": 1 + share(accepted, steps),
                "draft_acceptance_rate": share(accepted, drafted),
            },
        )
    )
    if "per_step_accepted" in fields:
        kept = fields.lengths("per_step_accepted")
        if lengths is not None and histogram_of(kept) != lengths:
            stated.append("per_step_accepted is not what acceptance_histogram counts")
        lengths = histogram_of(kept)
    if "per_step_drafted" in fields and sum(fields.counts("per_step_drafted")) != drafted:
        stated.append("per_step_drafted does not add up to num_draft_tokens")
    counts = Counts(
        drafted=drafted,
        accepted=accepted,
        drafted_steps=steps,
        longest_draft=fields.count_or_none("num_spec_tokens"),
        lengths=lengths,
    )
    return counts, stated


def _recognises(value: object) -> bool:
    return _metrics(value) is not None


def _metrics(value: object) -> tuple[dict[str, object], object] | None:
    """An answer with its acceptance metrics, or the metrics alone; None of anything else."""
    if not isinstance(value, dict):
        return None
    body: object = value
    if isinstance(batch := value.get("response"), dict):  # a line of a batch's answers
        body = batch.get("body")
    if not isinstance(body, dict):
        return None
    metrics = body.get("metrics")
    if isinstance(metrics, dict) and "speculative_decoding" in metrics:
        return body, metrics["speculative_decoding"]
    if all(name in body for name in _NEEDED) and "metadata" not in body:
        return body, body
    return None


def _read(documents: Sequence[Document], domain: str | None) -> Results:
    cases: list[tuple[str, CaseRecord]] = []
    prompts: dict[str, str] = {}
    model, longest, untold = "", 0, 0
    for number, document in enumerate(documents, start=1):
        found = _metrics(document.value)
        whole = fields_of(document.where, document.value)
        own = whole.text("custom_id") if "custom_id" in whole else f"{number:05d}"
        case_id = f"request/{own}"
        if found is None:
            if (why := _failure(document.value)) is not None:
                cases.append((document.where, failed_case(case_id, domain or UNKNOWN, why)))
                continue
            raise DataError(f"{document.where}: there is no 'metrics.speculative_decoding'")
        body, metrics = Fields(document.where, found[0]), found[1]
        if metrics is None:
            untold += 1
            continue
        counts, stated = acceptance_counts(fields_of(f"{document.where}: metrics", metrics))
        usage = body.inner("usage") if "usage" in body else Fields(document.where, {})
        case = measured_case(
            case_id=case_id,
            domain=domain or UNKNOWN,
            counts=counts,
            length=usage.count_or_none("completion_tokens"),
            prompt_tokens=usage.count_or_none("prompt_tokens"),
            stop_reason=_stop_reason(body),
            engine="vllm",
            stated=stated,
        )
        cases.append((document.where, case))
        if case.prompt_tokens is not None:
            prompts[case_id] = f"{case.prompt_tokens} tokens"
        model = model or body.text_or_empty("model")
        longest = max(longest, counts.longest_draft or 0)
    return Results(
        cases=require_distinct(cases, "request"),
        model=model,
        engine="vllm",
        draft_length=longest or None,
        prompts=prompts,
        notes=left_out(
            untold,
            len(documents),
            "answers tell no acceptance (more than one choice, or speculation was off): left out",
        ),
    )


def _stop_reason(body: Fields) -> str:
    """Why the output ended; vLLM names a stop string, and a stop token by its id or not at all."""
    choices = body.values.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return ""
    finished, by = choices[0].get("finish_reason"), choices[0].get("stop_reason")
    if finished == "length":
        return "length"
    if finished != "stop":
        return ""
    return "stop_string" if isinstance(by, str) else "stop_token"


def _failure(value: object) -> str | None:
    """What an answer says of an error, in itself or in a line of a batch's answers; else None."""
    if not isinstance(value, dict):
        return None
    if (error := value.get("error")) is not None:
        return str(error.get("message", error)) if isinstance(error, dict) else str(error)
    if value.get("object") == "error":
        return str(value.get("message", ""))
    return next(
        (why for name in ("response", "body") if (why := _failure(value.get(name))) is not None),
        None,
    )


RESPONSES = Format(
    name="vllm",
    title="vLLM's answers (server started with --per-request-spec-decode-metrics)",
    signs="'metrics' with 'speculative_decoding' in each answer, or that object alone",
    not_told="domains and prompts' texts; steps without a draft; times",
    pairing="by their custom_id in a batch's answers, else by their place in the file",
    recognises=_recognises,
    read=_read,
)
