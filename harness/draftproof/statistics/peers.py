"""The numbers that other projects would print for this run, under their own names.

The definitions, with their sources and what could not be verified, are in ``docs/metrics.md``. No
figure is translated from another figure: each is computed from the counts that its project divides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.errors import unknown_value
from draftproof.statistics.counters import CaseCounters, case_counters, mean, ratio
from draftproof.trace import CaseRecord

PeerValue = float | tuple[float, ...] | dict[int, float]
"""A figure, a list by draft position (from 0), or a table by length. NaN: it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A project whose numbers can be computed.

    Attributes:
        title: Its name.
        figures: Its figures by their names there.
        note: What to know before comparing.
    """

    title: str
    figures: Callable[[Sequence[CaseCounters]], dict[str, PeerValue]]
    note: str


def as_peers(cases: Sequence[CaseRecord], names: Sequence[str]) -> dict[str, dict[str, PeerValue]]:
    """What each of some projects would print for this run.

    Args:
        cases: The records; those in error are left out.
        names: Keys of `PEERS`.

    Raises:
        UsageError: A name is not one of them.
    """
    for name in names:
        if name not in PEERS:
            raise unknown_value("--as", name, PEERS)
    counters = case_counters(cases)
    return {name: PEERS[name].figures(counters) for name in names}


def accepted_at_least(counters: Sequence[CaseCounters]) -> list[int]:
    """For each depth from 1: how many steps accepted that many tokens or more."""
    deepest = max((int(c.depth.max(initial=0)) for c in counters), default=0)
    return [
        sum(int(np.count_nonzero(c.accepted >= depth)) for c in counters)
        for depth in range(1, deepest + 1)
    ]


def _totals(counters: Sequence[CaseCounters]) -> tuple[int, int, int]:
    """Steps with a draft, drafted tokens and accepted tokens."""
    return (
        sum(c.drafts for c in counters),
        sum(int(c.drafted.sum()) for c in counters),
        sum(int(c.accepted.sum()) for c in counters),
    )


def _vllm(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    drafts, drafted, accepted = _totals(counters)
    return {
        "num_drafts": drafts,
        "num_draft_tokens": drafted,
        "num_accepted_tokens": accepted,
        "draft_acceptance_rate": ratio(accepted, drafted),
        "mean_acceptance_length": 1 + ratio(accepted, drafts),
        "per_position_acceptance_rate": tuple(
            ratio(count, drafts) for count in accepted_at_least(counters)
        ),
    }


def _sglang(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    _, drafted, accepted = _totals(counters)
    steps = sum(c.steps for c in counters)
    completion = sum(c.output_tokens for c in counters)
    lengths = np.concatenate([np.zeros(0, np.int64), *(c.accepted for c in counters)])
    return {
        "completion_tokens": completion,
        "spec_verify_ct": steps,
        "spec_accept_length": ratio(completion, steps),
        "spec_accept_length_mean_of_requests": mean(
            [c.output_tokens / c.steps for c in counters if c.steps]
        ),
        "spec_accept_rate": ratio(accepted, drafted),
        "spec_accept_histogram": tuple(np.bincount(lengths).tolist()),
    }


def _specdec_bench(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    requests = [_chunks(c) for c in counters]
    histogram: dict[int, int] = {}
    for length in sorted(chunk for chunks in requests for chunk in chunks):
        histogram[length] = histogram.get(length, 0) + 1
    total = sum(histogram.values())
    conditional: dict[int, float] = {}
    joint: dict[int, float] = {}
    before, left = 1.0, total
    for length, count in histogram.items():
        share = left / total
        conditional[length] = share / before
        joint[length] = share
        before, left = share, left - count
    return {
        "Average_AL": mean([float(np.mean(chunks)) for chunks in requests if chunks]),
        "Acceptance_Length_Histogram": dict(histogram),
        "Conditional_Acceptance_Rate": conditional,
        "Joint_Acceptance_Rate": joint,
    }


def _chunks(counters: CaseCounters) -> list[int]:
    """Tokens in each chunk that streams out: prefill's, then each step's, without a stop token."""
    chunks = [1, *counters.committed.tolist()]
    if counters.stopped:
        chunks[-1] -= 1
    return [chunk for chunk in chunks if chunk]


def _aiperf(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    drafts, drafted, accepted = _totals(counters)
    requests = [c for c in counters if c.drafts]
    return {
        "spec_decode_acceptance_length": mean([1 + c.accepted.sum() / c.drafts for c in requests]),
        "spec_decode_token_weighted_acceptance_length": 1 + ratio(accepted, drafts),
        "spec_decode_draft_acceptance_rate": 100
        * mean([c.accepted.sum() / c.drafted.sum() for c in requests]),
        "spec_decode_overall_draft_acceptance_rate": 100 * ratio(accepted, drafted),
        "spec_decode_accepted_per_verified": mean(
            [(c.accepted.sum() + c.drafts) / (c.drafted.sum() + c.drafts) for c in requests]
        ),
        "total_spec_decode_steps": drafts,
        "total_accepted_draft_tokens": accepted,
        "total_draft_tokens": drafted,
    }


def _spec_bench(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    lengths = [length for c in counters for length in _growth(c)]
    return {"mean_accepted_tokens": mean([float(length) for length in lengths])}


def _growth(counters: CaseCounters) -> list[int]:
    """By how much the sequence grows in each step: the root and what was accepted.

    The extra token is the next root, and counted there. One that is a stop token takes a further
    step to be noticed; what was accepted after a stop token is taken off.
    """
    growth: list[int] = (counters.accepted + 1).tolist()
    if not counters.stopped:
        return growth
    if not growth or counters.committed[-1] == counters.accepted[-1] + 1:
        return [*growth, 1]
    growth[-1] = int(counters.committed[-1]) + 1
    return growth


def _eagle(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    steps = sum(c.steps for c in counters)
    new_tokens = sum(int((c.accepted + 1).sum()) for c in counters)
    at_least = [steps, *accepted_at_least(counters)]
    return {
        "tau": ratio(new_tokens, steps),
        "tau_of_new_tokens_and_idxs": ratio(
            new_tokens, sum(c.steps - 1 for c in counters if c.steps)
        ),
        "alpha": tuple(ratio(at_least[i + 1], at_least[i]) for i in range(len(at_least) - 1)),
    }


def _llama_cpp(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    drafts, drafted, accepted = _totals(counters)
    return {
        "predicted_n": sum(c.output_tokens for c in counters),
        "draft_n": drafted,
        "draft_n_accepted": accepted,
        "draft_acceptance": ratio(accepted, drafted),
        "mean_acceptance_length": 1 + ratio(accepted, drafts),
        "acceptance_rate_per_position": tuple(
            ratio(count, drafts) for count in accepted_at_least(counters)
        ),
    }


PEERS: dict[str, Peer] = {
    "vllm": Peer(
        title="vLLM",
        figures=_vllm,
        note="its mean acceptance length has the extra token, and is not truncated at a stop",
    ),
    "sglang": Peer(
        title="SGLang",
        figures=_sglang,
        note="its accept length is output tokens ÷ verify steps: prefill's token is in it",
    ),
    "specdec_bench": Peer(
        title="NVIDIA specdec_bench",
        figures=_specdec_bench,
        note="prefill's token is a chunk of length 1; conditional rates skip lengths not observed",
    ),
    "aiperf": Peer(
        title="NVIDIA AIPerf",
        figures=_aiperf,
        note="means of requests beside token-weighted figures; rates in percent",
    ),
    "spec_bench": Peer(
        title="Spec-Bench",
        figures=_spec_bench,
        note="pooled over steps, with the root of each step in place of its extra token",
    ),
    "eagle": Peer(
        title="EAGLE",
        figures=_eagle,
        note="α is defined for chains; n-α is the conditional acceptance at depth n + 1",
    ),
    "llama.cpp": Peer(
        title="llama.cpp",
        figures=_llama_cpp,
        note="counted over verified drafts; the mean acceptance length has the extra token",
    ),
}
"""By the name that ``--as`` takes."""
