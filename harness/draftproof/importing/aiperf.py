"""AIPerf's records of requests, ``profile_export.jsonl``, and its ``profile_export_aiperf.json``.

Source of the formats: ai-dynamo/aiperf, ``docs/tutorials/working-with-profile-exports.md``,
``docs/tutorials/spec-decode-metrics.md``, ``src/aiperf/common/models/spec_decode_models.py`` and
``src/aiperf/metrics/types/spec_decode_metrics.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from draftproof.errors import DataError, clean_text
from draftproof.importing.documents import Document
from draftproof.importing.fields import Fields, fields_of
from draftproof.importing.results import (
    UNKNOWN,
    WHOLE_RUN,
    Format,
    Results,
    check_stated,
    failed_case,
    left_out,
    measured_case,
    require_distinct,
    share,
)
from draftproof.importing.vllm import acceptance_counts
from draftproof.trace import CaseRecord, Counts

_RECORD = "spec_decode_acceptance"
_BY_METRIC = {
    "drafted_steps": "spec_decode_steps",
    "drafted": "spec_decode_draft_tokens",
    "accepted": "spec_decode_accepted_draft_tokens",
}
_TOTALS = {
    "drafted_steps": "total_spec_decode_steps",
    "drafted": "total_draft_tokens",
    "accepted": "total_accepted_draft_tokens",
}


def _recognises_record(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("metadata"), dict)
        and "metrics" in value
        and bool({"session_num", "x_request_id", "benchmark_phase"} & set(value["metadata"]))
    )


def _recognises_sums(value: object) -> bool:
    return isinstance(value, dict) and (
        "pooled_spec_decode_acceptance_histogram" in value
        or any(_is_metric(value.get(name)) for name in _TOTALS.values())
        or ("input_config" in value and _is_metric(value.get("request_count")))
    )


def _is_metric(value: object) -> bool:
    return isinstance(value, dict) and "unit" in value and "avg" in value


def _read_records(documents: Sequence[Document], domain: str | None) -> Results:
    cases: list[tuple[str, CaseRecord]] = []
    prompts: dict[str, str] = {}
    engine, longest, untold, warm = "", 0, 0, 0
    for document in documents:
        fields = fields_of(document.where, document.value)
        metadata = fields.inner("metadata")
        if metadata.text_or_empty("benchmark_phase") == "warmup":
            warm += 1
            continue
        case_id = _case_id(metadata)
        if "error" in fields:
            why = fields.inner("error")
            text = f"{why.text_or_empty('type')}: {why.text_or_empty('message')}".strip(": ")
            cases.append((document.where, failed_case(case_id, domain or UNKNOWN, text)))
            continue
        metrics = fields.inner("metrics")
        told = _counts(fields, metrics)
        if told is None:
            untold += 1
            continue
        counts, stated = told
        engine = engine or _engine(fields)
        length = (
            fields.inner(_RECORD).count_or_none("completion_tokens") if _RECORD in fields else None
        )
        case = measured_case(
            case_id=case_id,
            domain=domain or UNKNOWN,
            counts=counts,
            length=_metric(metrics, "usage_completion_tokens") if length is None else length,
            prompt_tokens=_metric(metrics, "input_sequence_length"),
            seconds=_seconds(metrics),
            engine=engine,
            stated=stated,
        )
        cases.append((document.where, case))
        if case.prompt_tokens is not None:
            prompts[case_id] = f"{case.prompt_tokens} tokens"
        longest = max(longest, counts.longest_draft or 0)
    return Results(
        cases=require_distinct(cases, "request"),
        engine=engine,
        draft_length=longest or None,
        prompts=prompts,
        notes=[
            *left_out(
                untold,
                len(documents),
                "requests tell no acceptance (no step had a draft, or the server told nothing): "
                "left out",
            ),
            *left_out(warm, len(documents), "requests are of the warm-up: left out"),
        ],
    )


def _case_id(metadata: Fields) -> str:
    """The order in which requests were sent, which a seed fixes; AIPerf's ids are random."""
    turn = metadata.count_or_none("turn_index") or 0
    name = f"session/{metadata.count('session_num'):05d}"
    return f"{name}/turn{turn + 1}" if turn else name


def _counts(fields: Fields, metrics: Fields) -> tuple[Counts, list[str]] | None:
    """The counters of a record: the server's where they are kept, else those of its metrics."""
    if _RECORD in fields:
        return acceptance_counts(fields.inner(_RECORD))
    told = {name: _metric(metrics, tag) for name, tag in _BY_METRIC.items()}
    drafted, accepted = told["drafted"], told["accepted"]
    if drafted is None or accepted is None:
        return None
    return Counts(drafted=drafted, accepted=accepted, drafted_steps=told["drafted_steps"]), []


def _engine(fields: Fields) -> str:
    return fields.inner(_RECORD).text_or_empty("engine") if _RECORD in fields else ""


def _metric(metrics: Fields, tag: str) -> int | None:
    return metrics.inner(tag).count("value") if tag in metrics else None


def _seconds(metrics: Fields) -> float:
    tag = "request_latency"
    if tag not in metrics:
        return math.nan
    latency = metrics.inner(tag)
    scale = {"ms": 1e-3, "s": 1.0, "sec": 1.0, "us": 1e-6, "ns": 1e-9}
    return latency.number("value") * scale.get(latency.text_or_empty("unit"), math.nan)


def _read_sums(documents: Sequence[Document], domain: str | None) -> Results:
    if len(documents) > 1:
        raise DataError(f"{documents[1].where}: a second run: give the file of one")
    fields = fields_of(documents[0].where, documents[0].value)
    absent = [tag for tag in _TOTALS.values() if tag not in fields]
    if absent:
        raise DataError(
            f"{fields.where}: there is no '{absent[0]}': it tells nothing of speculation; start "
            "the server with its acceptance metrics of each request"
        )
    told = {name: fields.inner(tag).count("avg") for name, tag in _TOTALS.items()}
    requests = fields.inner("request_count").count("avg") if "request_count" in fields else 1
    pooled = "pooled_spec_decode_acceptance_histogram"
    lengths = fields.histogram(pooled) if pooled in fields else None
    counts = Counts(
        drafted=told["drafted"],
        accepted=told["accepted"],
        drafted_steps=told["drafted_steps"],
        lengths=lengths,
        outputs=max(1, requests),
        # A mean of requests cannot be made of sums, even of what looks like one.
        requests=max(2, requests),
    )
    stated = [
        line
        for tag, value in (
            (
                "spec_decode_token_weighted_acceptance_length",
                1 + share(told["accepted"], told["drafted_steps"]),
            ),
            (
                "spec_decode_overall_draft_acceptance_rate",
                100 * share(told["accepted"], told["drafted"]),
            ),
        )
        if tag in fields
        for line in check_stated(fields.inner(tag), {"avg": value})
    ]
    case = measured_case(case_id=WHOLE_RUN, domain=domain or UNKNOWN, counts=counts, stated=stated)
    return Results(
        cases=[case],
        model=_model(documents[0].value),
        started=fields.text_or_empty("start_time"),
        notes=[
            f"the file tells the sums over {requests} requests alone, so that there is no "
            "interval: profile_export.jsonl, beside it, tells each request"
        ],
    )


def _model(value: object) -> str:
    """The one model that was asked for; empty where there were several, or it is not told."""
    try:
        models = value["input_config"]["models"]["items"]  # type: ignore[index]
        (name,) = [model["name"] for model in models]
    except (KeyError, TypeError, ValueError, IndexError):
        return ""
    return clean_text(name, most=200) if isinstance(name, str) else ""


RECORDS = Format(
    name="aiperf",
    title="AIPerf's profile_export.jsonl",
    signs="'metadata' with 'session_num', and 'metrics', in each line",
    not_told="domains and prompts' texts; steps without a draft",
    pairing="by the order in which AIPerf sent them (session_num, turn_index)",
    recognises=_recognises_record,
    read=_read_records,
)
SUMS = Format(
    name="aiperf-summary",
    title="AIPerf's profile_export_aiperf.json",
    signs="'total_spec_decode_steps' or 'pooled_spec_decode_acceptance_histogram' in one object",
    not_told="what was accepted of each request; domains and prompts' texts; outputs' lengths",
    pairing="as one case, the whole run",
    recognises=_recognises_sums,
    read=_read_sums,
)
