"""The numbers that other projects would print for this run, under their own names.

The definitions, with their sources and what could not be verified, are in ``docs/metrics.md``. No
figure is translated from another figure: each is computed from the counts that its project divides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.errors import unknown_value
from draftproof.statistics.counters import (
    CaseCounters,
    StepFacts,
    case_counters,
    mean,
    ratio,
)
from draftproof.trace import INNER_STEPS, STEPS, CaseRecord

NAN = float("nan")

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
        cases: The records; those in error are left out, and those that tell no counters, or ones
            that contradict themselves.
        names: Keys of `PEERS`.

    Raises:
        UsageError: A name is not one of them.
    """
    for name in names:
        if name not in PEERS:
            raise unknown_value("--as", name, PEERS)
    counters = case_counters(cases)
    figures = {name: PEERS[name].figures(counters) for name in names}
    if counters:
        return figures
    # A sum over nothing is 0, and would say that nothing was drafted.
    return {name: dict.fromkeys(values, NAN) for name, values in figures.items()}


def accepted_at_least(counters: Sequence[CaseCounters]) -> list[int] | None:
    """For each depth from 1: how many steps accepted that many tokens or more; None if not told."""
    lengths = _lengths(counters)
    if lengths is None:
        return None
    deepest = max((_deepest(c) for c in counters), default=0)
    return [sum(steps for a, steps in lengths.items() if a >= d) for d in range(1, deepest + 1)]


def _deepest(counters: CaseCounters) -> int:
    if counters.told is not None:
        return int(counters.told.depth.max(initial=0))
    return len(counters.lengths or ()) - 1


def _lengths(counters: Sequence[CaseCounters]) -> dict[int, int] | None:
    """How many drafted steps accepted each number of tokens that occurs; None if not told."""
    found: dict[int, int] = {}
    for c in counters:
        if c.lengths is None:
            return None
        for length, steps in enumerate(c.lengths):
            if steps:
                found[length] = found.get(length, 0) + steps
    return dict(sorted(found.items()))


def _steps(counters: Sequence[CaseCounters]) -> float:
    """Steps, with a draft or without; NaN where they are only known between two bounds."""
    return _sum(c.steps if c.steps == c.most_steps else None for c in counters)


def _drafts(counters: Sequence[CaseCounters]) -> float:
    """Steps with a draft; NaN where an engine does not tell them."""
    return _sum(c.drafted_steps for c in counters)


def _sum(values: Iterable[int | None]) -> float:
    """The sum; NaN where one is not told."""
    numbers = list(values)
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else NAN


def _totals(counters: Sequence[CaseCounters]) -> tuple[float, float, int]:
    """Steps with a draft, drafted tokens and accepted tokens."""
    return (
        _drafts(counters),
        _sum(c.drafted for c in counters),
        sum(c.accepted for c in counters),
    )


def _by_request(counters: Sequence[CaseCounters]) -> bool:
    """Whether each case is one request, so that there can be means of requests."""
    return all(c.requests == 1 for c in counters)


def _told(counters: Sequence[CaseCounters]) -> list[tuple[CaseCounters, StepFacts]] | None:
    """The cases with their steps; None where those of one are not told."""
    pairs = [(c, c.told) for c in counters if c.told is not None]
    return pairs if len(pairs) == len(counters) else None


def _shares(counters: Sequence[CaseCounters], below: float) -> PeerValue:
    """By draft position: steps that accepted it ÷ a number of steps."""
    counts = accepted_at_least(counters)
    return NAN if counts is None else tuple(ratio(count, below) for count in counts)


def _vllm(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    drafts, drafted, accepted = _totals(counters)
    return {
        "num_drafts": drafts,
        "num_draft_tokens": drafted,
        "num_accepted_tokens": accepted,
        "draft_acceptance_rate": ratio(accepted, drafted),
        "mean_acceptance_length": 1 + ratio(accepted, drafts),
        "per_position_acceptance_rate": _shares(counters, drafts),
    }


def _sglang(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    _, drafted, accepted = _totals(counters)
    steps = _steps(counters)
    completion = _sum(c.output_tokens for c in counters)
    histogram = _histogram_of_steps(counters, steps)
    return {
        "completion_tokens": completion,
        "spec_verify_ct": steps,
        "spec_num_correct_drafts": accepted,
        "spec_num_proposed_drafts": drafted,
        "spec_accept_length": ratio(completion, steps),
        "spec_accept_length_mean_of_requests": NAN
        if np.isnan(steps) or np.isnan(completion) or not _by_request(counters)
        else mean([(c.output_tokens or 0) / c.steps for c in counters if c.steps]),
        "spec_accept_rate": ratio(accepted, drafted),
        "spec_correct_drafts_histogram": histogram,
        "spec_accept_histogram": histogram,
    }


def _histogram_of_steps(counters: Sequence[CaseCounters], steps: float) -> PeerValue:
    """Steps by accepted length, those without a draft among the ones that accepted none."""
    lengths = _lengths(counters)
    if lengths is None or np.isnan(steps):
        return NAN
    without = int(steps) - sum(lengths.values())
    if without:
        lengths[0] = lengths.get(0, 0) + without
    return tuple(lengths.get(length, 0) for length in range(max(lengths, default=-1) + 1))


def _specdec_bench(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    requests = _chunks_of_requests(counters)
    if requests is None:
        return dict.fromkeys(_SPECDEC_BENCH, NAN)
    histogram: dict[int, int] = {}
    for length, count in sorted(pair for chunks in requests for pair in chunks.items()):
        histogram[length] = histogram.get(length, 0) + count
    total = sum(histogram.values())
    conditional: dict[int, float] = {}
    joint: dict[int, float] = {}
    before, left = 1.0, total
    for length, count in histogram.items():
        share = left / total
        conditional[length] = share / before
        joint[length] = share
        before, left = share, left - count
    if any(c.counted == INNER_STEPS for c in counters):
        joint = _running_means(joint)
    average = mean(
        [
            sum(length * count for length, count in chunks.items()) / sum(chunks.values())
            for chunks in requests
            if chunks
        ]
    )
    figures: tuple[PeerValue, ...] = (
        average if _by_request(counters) else NAN,
        dict(histogram),
        conditional,
        joint,
    )
    return dict(zip(_SPECDEC_BENCH, figures, strict=True))


_SPECDEC_BENCH = (
    "Average_AL",
    "Acceptance_Length_Histogram",
    "Conditional_Acceptance_Rate",
    "Joint_Acceptance_Rate",
)


def _chunks_of_requests(counters: Sequence[CaseCounters]) -> list[dict[int, int]] | None:
    """How many chunks of each length every request has; None where nothing tells."""
    found = []
    for c in counters:
        if c.told is not None:
            chunks = _chunks(c, c.told)
            found.append({length: chunks.count(length) for length in set(chunks)})
        elif c.counted != STEPS and c.lengths is not None:
            found.append({kept + 1: count for kept, count in enumerate(c.lengths) if count})
        else:
            return None
    return found


def _running_means(shares: dict[int, float]) -> dict[int, float]:
    """What a version that leaves out the ends of outputs prints as the joint rate.

    The mean of the shares from the second observed length on; 1 of the first.
    """
    found, total = {}, 0.0
    for index, (length, share) in enumerate(shares.items()):
        total += share if index else 0.0
        found[length] = total / index if index else 1.0
    return found


def _chunks(counters: CaseCounters, steps: StepFacts) -> list[int]:
    """Tokens in each chunk that streams out: prefill's, then each step's, without a stop token."""
    chunks = [1, *steps.committed.tolist()]
    if counters.stopped:
        chunks[-1] -= 1
    return [chunk for chunk in chunks if chunk]


def _aiperf(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    drafts, drafted, accepted = _totals(counters)
    apart = _by_request(counters) and not np.isnan(drafted)
    known = apart and not np.isnan(drafts)
    requests = [(c, c.drafted_steps) for c in counters if c.drafted_steps]
    # It takes a request's length and rate as the server states them: vLLM states 1 and 0 of one
    # that had no draft.
    undrafted = [0.0] * (len(counters) - len(requests))
    gained = [c.accepted / steps for c, steps in requests]
    rates = [c.accepted / c.drafted if c.drafted else 0.0 for c in counters]
    lengths = _lengths(counters)
    return {
        "spec_decode_acceptance_length": 1 + mean([*gained, *undrafted]) if known else NAN,
        "spec_decode_token_weighted_acceptance_length": 1 + ratio(accepted, drafts),
        "spec_decode_draft_acceptance_rate": 100 * mean(rates) if apart else NAN,
        "spec_decode_overall_draft_acceptance_rate": 100 * ratio(accepted, drafted),
        "spec_decode_accepted_per_verified": mean(
            [(c.accepted + steps) / ((c.drafted or 0) + steps) for c, steps in requests]
        )
        if known
        else NAN,
        "total_spec_decode_steps": drafts,
        "total_accepted_draft_tokens": accepted,
        "total_draft_tokens": drafted,
        "pooled_spec_decode_acceptance_histogram": NAN if lengths is None else dict(lengths),
    }


def _spec_bench(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    told = _told(counters)
    if told is None:
        whole = all(c.counted == STEPS and c.told is None for c in counters)
        growth = _sum(c.committed for c in counters) if whole else NAN
        return {"mean_accepted_tokens": ratio(growth, _steps(counters))}
    lengths = [length for c, steps in told for length in _growth(c, steps)]
    return {"mean_accepted_tokens": mean([float(length) for length in lengths])}


def _growth(counters: CaseCounters, steps: StepFacts) -> list[int]:
    """By how much the sequence grows in each step: the root and what was accepted.

    The extra token is the next root, and counted there. One that is a stop token takes a further
    step to be noticed; what was accepted after a stop token is taken off.
    """
    growth: list[int] = (steps.accepted + 1).tolist()
    if not counters.stopped:
        return growth
    if not growth or steps.committed[-1] == steps.accepted[-1] + 1:
        return [*growth, 1]
    growth[-1] = int(steps.committed[-1]) + 1
    return growth


def _eagle(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    steps = _steps(counters)
    new_tokens = sum(c.accepted for c in counters) + steps
    deeper = accepted_at_least(counters)
    at_least = None if deeper is None else [steps, *deeper]
    return {
        "tau": ratio(new_tokens, steps),
        "tau_of_new_tokens_and_idxs": ratio(
            new_tokens, steps - sum(1 for c in counters if c.steps)
        ),
        "alpha": NAN
        if at_least is None
        else tuple(ratio(at_least[i + 1], at_least[i]) for i in range(len(at_least) - 1)),
    }


def _llama_cpp(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    drafts, drafted, accepted = _totals(counters)
    return {
        "predicted_n": _sum(c.output_tokens for c in counters),
        "draft_n": drafted,
        "draft_n_accepted": accepted,
        "draft_acceptance": ratio(accepted, drafted),
        "mean_acceptance_length": 1 + ratio(accepted, drafts),
        "acceptance_rate_per_position": _shares(counters, drafts),
        "spec_decode_num_drafts_total": drafts,
        "spec_decode_num_draft_tokens_total": drafted,
        "spec_decode_num_accepted_tokens_total": accepted,
    }


def _deepspec(counters: Sequence[CaseCounters]) -> dict[str, PeerValue]:
    told = _told(counters)
    if told is None:
        return dict.fromkeys(_DEEPSPEC, NAN)
    steps = [step for c, facts in told for step in _proposals(c, facts)]
    proposed = sum(nodes for _, nodes, _, _ in steps)
    emitted = sum(tokens for _, _, _, tokens in steps)
    deepest = max((depth for depth, _, _, _ in steps), default=0)
    figures: tuple[PeerValue, ...] = (
        ratio(emitted, len(steps)),
        ratio(proposed, len(steps)),
        ratio(emitted, proposed + len(steps)),
        tuple(
            ratio(
                sum(accepted > position for _, _, accepted, _ in steps),
                sum(depth > position for depth, _, _, _ in steps),
            )
            for position in range(deepest)
        ),
    )
    return dict(zip(_DEEPSPEC, figures, strict=True))


_DEEPSPEC = (
    "acceptance_length",
    "draft_tokens_per_proposal",
    "verify_rate",
    "accept_rates_by_position",
)


def _proposals(counters: CaseCounters, steps: StepFacts) -> list[tuple[int, int, int, int]]:
    """Depth, nodes, accepted and emitted tokens of each step; a stop token cuts the first three.

    Where a stop token was accepted, the proposal ends with it and there is no extra token.
    """
    found = [
        (depth, nodes, accepted, accepted + 1)
        for depth, nodes, accepted in zip(
            steps.depth.tolist(), steps.drafted.tolist(), steps.accepted.tolist(), strict=True
        )
    ]
    if found and counters.stopped and (kept := int(steps.committed[-1])) <= found[-1][2]:
        depth, nodes, _, _ = found[-1]
        found[-1] = (kept, nodes - (depth - kept), kept, kept)
    return found


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
    "deepspec": Peer(
        title="DeepSpec",
        figures=_deepspec,
        note="by position over the steps that proposed one there; verify_rate is (a + 1) ÷ (n + 1)",
    ),
}
"""By the name that ``--as`` takes."""
