"""What ``vllm bench serve --save-result`` saves: one object with the sums over all requests.

Source of the format: vllm-project/vllm, ``vllm/benchmarks/serve.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from draftproof.errors import DataError
from draftproof.importing.documents import Document
from draftproof.importing.fields import Fields, fields_of
from draftproof.importing.results import (
    UNKNOWN,
    WHOLE_RUN,
    Format,
    Results,
    check_stated,
    measured_case,
    share,
)
from draftproof.statistics.count_identities import check_counts
from draftproof.trace import Counts

_WHOLE = 1e-6
"""How far a rate × the number of drafts may be from a whole number, as a share of the drafts."""


def _recognises(value: object) -> bool:
    return (
        isinstance(value, dict)
        and "completed" in value
        and ("spec_decode_num_drafts" in value or {"total_output_tokens", "duration"} <= set(value))
    )


def _read(documents: Sequence[Document], domain: str | None) -> Results:
    if len(documents) > 1:
        raise DataError(
            f"{documents[1].where}: a second run (vllm bench serve --append-result adds one to "
            "the file): give a file of one run"
        )
    fields = fields_of(documents[0].where, documents[0].value)
    if "spec_decode_num_drafts" not in fields:
        raise DataError(
            f"{fields.where}: it tells nothing of speculation (no 'spec_decode_num_drafts'): the "
            "server drafted nothing while it ran, or its /metrics could not be read"
        )
    drafts, drafted, accepted, requests = (
        fields.count(name)
        for name in (
            "spec_decode_num_drafts",
            "spec_decode_draft_tokens",
            "spec_decode_accepted_tokens",
            "completed",
        )
    )
    notes = [
        f"the file tells the sums over {requests} requests alone, so that there is no interval; "
        "they are the server's counters, of whatever else it did meanwhile too"
    ]
    if failed := fields.count_or_none("failed"):
        notes.append(f"{failed} requests failed; what was drafted for them is in the sums")
    lengths = _lengths(fields, drafts, accepted)
    if lengths is None:
        notes.append("the rates by position do not fit the sums, and are not used")
    counts = Counts(
        drafted=drafted,
        accepted=accepted,
        drafted_steps=drafts,
        lengths=lengths,
        outputs=max(1, requests),
        requests=max(1, requests),
    )
    length = fields.count_or_none("total_output_tokens")
    if length is not None and (problems := check_counts(counts, length, by_text=True)):
        notes.append(
            f"its number of output tokens does not fit the server's counters ({problems[0]}): the "
            "steps are not known"
        )
        length = None
    stated = check_stated(
        fields,
        {
            "spec_decode_acceptance_rate": 100 * share(accepted, drafted),
            "spec_decode_acceptance_length": 1 + share(accepted, drafts),
        },
    )
    case = measured_case(
        case_id=WHOLE_RUN,
        domain=domain or UNKNOWN,
        counts=counts,
        length=length,
        engine="vllm",
        stated=tuple(stated),
    )
    return Results(
        cases=[case],
        model=fields.text_or_empty("model_id"),
        engine="vllm",
        started=fields.text_or_empty("date"),
        notes=notes,
    )


def _lengths(fields: Fields, drafts: int, accepted: int) -> tuple[int, ...] | None:
    """How many drafted steps kept each number of tokens, from the rates by position.

    None where they are not shares of that many steps, or do not add up.
    """
    name = "spec_decode_per_position_acceptance_rates"
    rates = fields.numbers(name) if name in fields else ()
    deeper = [rate * drafts for rate in rates]
    reached = [drafts, *(round(steps) for steps in deeper), 0]
    if any(abs(steps - round(steps)) > _WHOLE * max(1, drafts) for steps in deeper):
        return None
    if not rates or sum(reached[1:]) != accepted or any(a < b for a, b in pairwise(reached)):
        return None
    return tuple(before - after for before, after in pairwise(reached))


BENCH = Format(
    name="vllm-bench",
    title="vllm bench serve --save-result",
    signs="'completed' and 'spec_decode_num_drafts' in one object",
    not_told="what was accepted of each request; domains and prompts' texts; steps without a draft",
    pairing="as one case, the whole run",
    recognises=_recognises,
    read=_read,
)
