"""What servers count of speculation: in their answers, and in their Prometheus metrics.

Sources, as their projects' trackers show them. vllm-project/vllm: pull requests 15151 and 16665 for
the counters, 48915 for a request's own figures (``--per-request-spec-decode-metrics``).
sgl-project/sglang: 3152, 13754 and 33518. ggml-org/llama.cpp: 26389, which takes vLLM's names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from draftproof.errors import EngineError
from draftproof.trace import Counts

COUNTERS: Mapping[str, tuple[str, ...]] = {
    "steps": ("vllm:spec_decode_num_drafts", "llamacpp:spec_decode_num_drafts"),
    "drafted": ("vllm:spec_decode_num_draft_tokens", "llamacpp:spec_decode_num_draft_tokens"),
    "accepted": (
        "vllm:spec_decode_num_accepted_tokens",
        "llamacpp:spec_decode_num_accepted_tokens",
    ),
}
"""The names of each counter; Prometheus may add ``_total``."""

_ANSWERS: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "steps": ("num_spec_steps",),
        "drafted": ("num_draft_tokens",),
        "accepted": ("num_accepted_draft_tokens",),
    },
    {
        "steps": ("spec_verify_ct",),
        "drafted": ("spec_num_proposed_drafts", "spec_proposed_drafts", "spec_draft_token_num"),
        "accepted": ("spec_num_correct_drafts", "spec_accepted_drafts", "spec_accept_token_num"),
    },
)
"""The names in vLLM's ``metrics.speculative_decoding``, and in SGLang's ``meta_info``: the newest
first."""

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{.*\})?\s+(\S+)")


def answered_counts(*places: Any) -> Counts | None:
    """The counts of one request from the parts of an answer that may hold them.

    None where a figure is missing: SGLang's older versions give the steps alone.

    Example:
        >>> answered_counts({"num_spec_steps": 43, "num_draft_tokens": 129,
        ...                  "num_accepted_draft_tokens": 10})
        Counts(steps=43, drafted=129, accepted=10)
    """
    for place in places:
        if not isinstance(place, Mapping):
            continue
        for names in _ANSWERS:
            found = {
                figure: next((place[name] for name in known if place.get(name) is not None), None)
                for figure, known in names.items()
            }
            figures = {name: value for name, value in found.items() if isinstance(value, int)}
            if len(figures) == len(names):
                return Counts(**figures)
    return None


def metric_totals(text: str) -> dict[str, float]:
    """The counters of speculation in a server's metrics, over all its engines and models.

    Args:
        text: In Prometheus' text format.

    Returns:
        Those of `COUNTERS` that are there.

    Example:
        >>> metric_totals('vllm:spec_decode_num_drafts_total{engine="0"} 22')
        {'steps': 22.0}
    """
    totals: dict[str, float] = {}
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if match is None:
            continue
        name, value = match.group(1).removesuffix("_total"), match.group(2)
        for figure, names in COUNTERS.items():
            if name in names:
                totals[figure] = totals.get(figure, 0.0) + float(value)
    return totals


def metric_counts(before: Mapping[str, float], after: Mapping[str, float]) -> Counts:
    """What happened between two readings; right only if the server served nothing else meanwhile.

    Raises:
        EngineError: A counter is not there, or went down.
    """
    missing = [names[0] for figure, names in COUNTERS.items() if figure not in after]
    if missing:
        raise EngineError(
            f"the server's metrics have no {', '.join(missing)} (nor another server's name for "
            "it); does it speculate? Leave out metrics= where it has none"
        )
    grown = {figure: round(after[figure] - before.get(figure, 0.0)) for figure in COUNTERS}
    if min(grown.values()) < 0:
        raise EngineError("the server's counters went down during a request; was it restarted?")
    return Counts(**grown)
