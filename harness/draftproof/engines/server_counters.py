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
  many tokens were drafted, and is not read. ``tensorrt_llm/metrics/collector.py`` at 050f80d for
  the counters under ``/prometheus/metrics``; they have no number of steps with a draft.
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
from itertools import pairwise
from typing import Any, NamedTuple

from draftproof.errors import EngineError
from draftproof.trace import Counts

COUNTERS: Mapping[str, tuple[str, ...]] = {
    "drafted_steps": ("vllm:spec_decode_num_drafts", "llamacpp:spec_decode_num_drafts"),
    "drafted": (
        "vllm:spec_decode_num_draft_tokens",
        "llamacpp:spec_decode_num_draft_tokens",
        "trtllm_spec_decode_num_draft_tokens",
    ),
    "accepted": (
        "vllm:spec_decode_num_accepted_tokens",
        "llamacpp:spec_decode_num_accepted_tokens",
        "trtllm_spec_decode_num_accepted_tokens",
    ),
}
"""The names of each counter; Prometheus adds ``_total`` to them, or does not."""

GENERATED: tuple[str, ...] = (
    "vllm:generation_tokens",
    "llamacpp:tokens_predicted",
    "trtllm_generation_tokens",
)
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

POSITIONS: tuple[str, ...] = (
    "vllm:spec_decode_num_accepted_tokens_per_pos",
    "llamacpp:spec_decode_num_accepted_tokens_per_pos",
)
"""The names of the counter of accepted tokens by their place in a draft, ``position`` from 0.

vLLM shows every place of its longest draft from its start; llama.cpp shows none before the first
request that speculates (pull request 26389), and perhaps not all after it.
"""

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(\{.*\})?\s+(\S+)")
_POSITION = re.compile(r'[{,]\s*position="(\d{1,4})"')


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
            samples.append((match.group(1).removesuffix("_total"), float(match.group(3))))
    return samples


class Positions(NamedTuple):
    """What a server counts by places in its drafts.

    Attributes:
        accepted: ``[places]`` accepted tokens in each place, over all its engines and models.
        longest: The places of its longest draft; None where it shows only those that it reached.
    """

    accepted: tuple[float, ...] = ()
    longest: int | None = None


def metric_positions(text: str) -> Positions:
    r"""The accepted tokens by their place in a draft, of metrics in Prometheus' text format.

    Example:
        >>> name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
        >>> metric_positions(f'{name}{{position="0"}} 6\n{name}{{position="1"}} 2')
        Positions(accepted=(6.0, 2.0), longest=2)
    """
    accepted: dict[int, float] = {}
    longest = None
    for match in filter(None, map(_SAMPLE.match, text.splitlines())):
        place = _POSITION.search(match.group(2) or "")
        if match.group(1).removesuffix("_total") not in POSITIONS or not place:
            continue
        with suppress(ValueError):
            index = int(place.group(1))
            accepted[index] = accepted.get(index, 0.0) + float(match.group(3))
            if match.group(1).startswith("vllm:"):
                longest = max(longest or 0, index + 1)
    places = range(max(accepted, default=-1) + 1)
    return Positions(tuple(accepted.get(index, 0.0) for index in places), longest)


def asked_by_one() -> bool:
    """Whether this process alone asks the server; of several, none can tell its own requests."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) == 1


def metric_counts(
    before: Mapping[str, float],
    after: Mapping[str, float],
    *,
    places: tuple[Positions, Positions] = (Positions(), Positions()),
) -> Counts:
    """What happened between two readings; right only if the server served nothing else meanwhile.

    Where the server counts generated tokens, these are told, too: more of them than the output has
    are another user's, and so are some of the other counts. Where it counts accepted tokens by
    their places, it tells how many steps kept how many tokens: place 3 is accepted in the steps
    that kept four or more.

    Args:
        before: `metric_totals` of the first reading.
        after: Likewise of the second.
        places: `metric_positions` of both.

    Raises:
        EngineError: A counter is not there, or went down; a place was accepted more often than the
            place before it.
    """
    missing = [names[0] for figure, names in COUNTERS.items() if figure not in after]
    if not {"drafted", "accepted"} <= after.keys():
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
    return replace(
        _counts(grown),
        lengths=_lengths_by_place(grown.get("drafted_steps"), *places),
        longest_draft=places[1].longest,
    )


def _lengths_by_place(
    drafted_steps: int | None, before: Positions, after: Positions
) -> tuple[int, ...] | None:
    """How many steps kept 0, 1, 2, … tokens; None where the server does not count by places."""
    if not after.accepted or drafted_steps is None:
        return None
    first = (*before.accepted, *(0.0,) * (len(after.accepted) - len(before.accepted)))
    grown = [round(now - then) for now, then in zip(after.accepted, first, strict=False)]
    at_least = [drafted_steps, *grown, 0]
    steps = tuple(more - fewer for more, fewer in pairwise(at_least))
    if min(steps) < 0:
        raise EngineError(
            f"the server counts {drafted_steps} steps with a draft during this request, and by "
            f"their place in it {grown} accepted tokens: no place can be accepted more often than "
            "the one before it"
        )
    return steps


def together(answered: Counts | None, grown: Counts) -> Counts:
    """An answer's own counts, which are of this request alone, and what only the metrics tell.

    Args:
        answered: `answered_counts`.
        grown: `metric_counts` over the same request; used where both are of the same tokens.
    """
    if answered is None:
        return grown
    if (answered.drafted, answered.accepted) != (grown.drafted, grown.accepted):
        return answered
    if answered.longest_draft is None:
        answered = replace(answered, longest_draft=grown.longest_draft)
    if answered.steps is not None or answered.drafted_steps is not None:
        return answered
    lengths = grown.lengths if answered.lengths is None else answered.lengths
    return replace(answered, drafted_steps=grown.drafted_steps, lengths=lengths)


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
