"""What servers count of speculation: in their answers, and in their Prometheus metrics.

Servers count different things under names that look alike, so that each name stands here beside the
field of `Counts` that it is. Sources, as their projects' trackers and documents show them:

- vllm-project/vllm: pull requests 15151 and 16665 for the counters, which a step without a draft
  leaves alone; 48915 and ``docs/features/speculative_decoding/acceptance_metrics.md`` for a
  request's own figures (``--per-request-spec-decode-metrics``), whose ``num_spec_steps`` leave out
  "steps with no scheduled draft tokens", too.
- sgl-project/sglang: pull requests 3152, 13754, 18332 and 33518; 23530 and 24081 for the names,
  which changed twice. ``spec_verify_ct`` is every step; each verifies a draft of one size.
- NVIDIA/TensorRT-LLM: pull request 19311 (``speculative_decoding`` of a choice, with
  ``per_request_spec_decode_stats``). Its ``avg_decoded_tokens_per_iter`` alone does not tell how
  many tokens were drafted, and is not read.
- LM Studio: ``stats``, whose total is of accepted, rejected and ignored draft tokens.
- ggml-org/llama.cpp: pull requests 26389 for the counters, under vLLM's names and with vLLM's
  meaning, and 12603 for ``timings`` in its answers, which have no number of steps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from draftproof.errors import EngineError
from draftproof.trace import Counts

COUNTERS: Mapping[str, tuple[str, ...]] = {
    "drafted_steps": ("vllm:spec_decode_num_drafts", "llamacpp:spec_decode_num_drafts"),
    "drafted": ("vllm:spec_decode_num_draft_tokens", "llamacpp:spec_decode_num_draft_tokens"),
    "accepted": (
        "vllm:spec_decode_num_accepted_tokens",
        "llamacpp:spec_decode_num_accepted_tokens",
    ),
}
"""The names of each counter; Prometheus adds ``_total`` to them, or does not."""

GENERATED: tuple[str, ...] = ("vllm:generation_tokens", "llamacpp:tokens_predicted")
"""The names of the counter of all generated tokens, by which another user of the server shows."""

_ANSWERS: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "drafted_steps": ("num_spec_steps",),
        "drafted": ("num_draft_tokens",),
        "accepted": ("num_accepted_draft_tokens",),
        "longest_draft": ("num_spec_tokens",),
        "lengths": ("acceptance_histogram",),
    },
    {
        "steps": ("spec_verify_ct",),
        "drafted_steps": ("spec_verify_ct",),
        "drafted": ("spec_num_proposed_drafts", "spec_proposed_drafts", "spec_draft_token_num"),
        "accepted": ("spec_num_correct_drafts", "spec_accepted_drafts", "spec_accept_token_num"),
        "lengths": ("spec_correct_drafts_histogram", "spec_accept_histogram"),
    },
    {
        "drafted_steps": ("num_spec_steps",),
        "drafted": ("total_draft_tokens",),
        "accepted": ("total_accepted_draft_tokens",),
        "longest_draft": ("num_spec_tokens",),
        "lengths": ("acceptance_histogram",),
    },
    {
        "drafted": ("draft_n",),
        "accepted": ("draft_n_accepted",),
    },
    {
        "drafted": ("total_draft_tokens_count",),
        "accepted": ("accepted_draft_tokens_count",),
    },
)
"""The names in vLLM's ``metrics.speculative_decoding``, in SGLang's ``meta_info``, in
TensorRT-LLM's ``speculative_decoding``, in llama.cpp's ``timings`` and in LM Studio's ``stats``:
the newest first."""

_NEEDED = ("steps", "drafted_steps", "drafted", "accepted")
"""What must be there of the names of a server; the rest may be missing."""

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{.*\})?\s+(\S+)")


def answered_counts(*places: Any) -> Counts | None:
    """The counts of one request from the parts of an answer that may hold them.

    None where a figure is missing: SGLang's older versions give the steps alone.

    Example:
        >>> found = answered_counts({"num_spec_steps": 43, "num_draft_tokens": 129,
        ...                          "num_accepted_draft_tokens": 10})
        >>> found.drafted_steps, found.steps, found.drafted, found.accepted
        (43, None, 129, 10)
        >>> answered_counts({"spec_verify_ct": 5, "spec_num_proposed_drafts": 15,
        ...                  "spec_num_correct_drafts": 9}).steps
        5
    """
    for place in places:
        if not isinstance(place, Mapping):
            continue
        for names in _ANSWERS:
            found = {
                figure: next((place[name] for name in known if place.get(name) is not None), None)
                for figure, known in names.items()
            }
            told = {name: value for name, value in found.items() if isinstance(value, int)}
            if all(name in told for name in names if name in _NEEDED):
                lengths = _lengths(found.get("lengths"))
                return replace(_counts(told), lengths=_by_step(place, lengths))
    return None


def _by_step(place: Mapping[str, Any], lengths: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The histogram of accepted lengths, of a server that tells them step by step from these.

    Raises:
        EngineError: What it tells of single steps is not what it tells of all.
    """
    accepted, drafted = place.get("per_step_accepted"), place.get("per_step_drafted")
    if not (isinstance(accepted, list) and accepted and _are_integers(accepted)):
        return lengths
    steps = tuple(accepted.count(length) for length in range(max(accepted) + 1))
    longest = max(len(steps), len(lengths or steps))
    padded = (*steps, *(0,) * (longest - len(steps)))
    if lengths is not None and padded != (*lengths, *(0,) * (longest - len(lengths))):
        raise EngineError(
            f"the server tells that its steps kept {accepted} tokens, and that so many steps kept "
            f"0, 1, 2, … tokens: {list(lengths)}"
        )
    if isinstance(drafted, list) and any(
        kept > proposed for kept, proposed in zip(accepted, drafted, strict=False)
    ):
        raise EngineError(
            f"the server tells of its steps that they kept {accepted} of {drafted} drafted tokens"
        )
    return lengths or steps


def metric_totals(text: str) -> dict[str, float]:
    """The counters of speculation in a server's metrics, over all its engines and models.

    Args:
        text: In Prometheus' text format.

    Returns:
        Those of `COUNTERS` that are there, and ``generated``, of `GENERATED`.

    Example:
        >>> metric_totals('vllm:spec_decode_num_drafts_total{engine="0"} 22')
        {'drafted_steps': 22.0}
        >>> metric_totals("llamacpp:spec_decode_num_draft_tokens_total 9")
        {'drafted': 9.0}
    """
    totals: dict[str, float] = {}
    for name, value in metric_samples(text):
        for figure, names in {**COUNTERS, "generated": GENERATED}.items():
            if name in names:
                totals[figure] = totals.get(figure, 0.0) + value
    return totals


def metric_samples(text: str) -> list[tuple[str, float]]:
    """Every sample of metrics in Prometheus' text format: its name without ``_total``, its value.

    Example:
        >>> metric_samples('vllm:num_requests_running{engine="0"} 3')
        [('vllm:num_requests_running', 3.0)]
    """
    samples = []
    for match in filter(None, map(_SAMPLE.match, text.splitlines())):
        with suppress(ValueError):  # what stands there is no number, and no sample
            samples.append((match.group(1).removesuffix("_total"), float(match.group(2))))
    return samples


def asked_by_one() -> bool:
    """Whether this process alone asks the server; of several, none can tell its own requests."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) == 1


def metric_counts(before: Mapping[str, float], after: Mapping[str, float]) -> Counts:
    """What happened between two readings; right only if the server served nothing else meanwhile.

    Where the server counts generated tokens, these are told, too: more of them than the output has
    are another user's, and so are some of the other counts.

    Raises:
        EngineError: A counter is not there, or went down.
    """
    missing = [names[0] for figure, names in COUNTERS.items() if figure not in after]
    if missing:
        raise EngineError(
            f"the server's metrics have no {', '.join(missing)} (nor another server's name for "
            "it); does it speculate? Leave out metrics= where it has none"
        )
    grown = {
        figure: round(after[figure] - before.get(figure, 0.0))
        for figure in (*COUNTERS, "generated")
        if figure in after
    }
    if min(grown.values()) < 0:
        raise EngineError("the server's counters went down during a request; was it restarted?")
    return _counts(grown)


def _counts(told: Mapping[str, int]) -> Counts:
    return Counts(
        drafted=told["drafted"],
        accepted=told["accepted"],
        steps=told.get("steps"),
        drafted_steps=told.get("drafted_steps"),
        longest_draft=told.get("longest_draft"),
        generated=told.get("generated"),
    )


def _lengths(found: Any) -> tuple[int, ...] | None:
    """A histogram of accepted lengths: a list, or a mapping that leaves out what did not occur."""
    if isinstance(found, Mapping) and found:
        steps = {int(length): count for length, count in found.items()}
        found = [steps.get(length, 0) for length in range(max(steps) + 1)]
    if not isinstance(found, Sequence) or isinstance(found, str) or not _are_integers(found):
        return None
    return tuple(found)


def _are_integers(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int) for value in values)
