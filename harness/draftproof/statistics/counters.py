"""What engines count of a case: the few numbers that every peer's figures are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.column_slices import length_of
from draftproof.statistics.batches import step_columns
from draftproof.statistics.count_identities import check_counts, step_bounds
from draftproof.trace import STEPS, CaseRecord, Counts, DecodedOutput, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """The steps of one case, where they are told.

    Attributes:
        accepted: ``[steps]`` accepted lengths, before stop and length truncation.
        committed: ``[steps]`` committed tokens, after it.
        drafted: ``[steps]`` nodes; 0 where nothing was proposed.
        depth: ``[steps]`` depth of the draft.
    """

    accepted: np.ndarray
    committed: np.ndarray
    drafted: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseCounters:
    """The counters of one case.

    Attributes:
        steps: Verification steps, with a draft or without; where an engine tells its counters and
            no steps, the fewest that there can have been; None where nothing says.
        most_steps: The most there can have been: more than `steps` only where they are not known.
        drafted_steps: Steps that had a draft; None where it is not told.
        drafted: Drafted tokens; None where it is not told.
        accepted: Accepted tokens, before stop and length truncation where an engine counts so.
        output_tokens: Length of the output, prefill's token included; None where it is not told.
        stopped: Whether the output ended with a stop token, which is part of it.
        lengths: ``lengths[a]`` of the drafted steps kept ``a`` tokens; None where it is not told.
        told: The steps themselves; None where they are not told.
        committed: Tokens that the steps committed, where a tool tells that of them; else None.
        requests: How many requests these are the counters of.
        counted: What the counters are of, as in `draftproof.trace.Counts`.
    """

    steps: int | None
    most_steps: int | None
    drafted_steps: int | None
    drafted: int | None
    accepted: int
    output_tokens: int | None
    stopped: bool
    lengths: tuple[int, ...] | None
    told: StepFacts | None
    committed: int | None = None
    requests: int = 1
    counted: str = STEPS


def case_counters(cases: Sequence[CaseRecord]) -> list[CaseCounters]:
    """The counters of every case that was measured and tells any, ordered by case id.

    Counters that contradict themselves or the output are left out, as they are of every figure.
    """
    counters: list[tuple[str, CaseCounters]] = []
    told: list[CaseRecord] = []
    for case in cases:
        output = case.speculative
        if case.verdict is Verdict.ERROR or output is None:
            continue
        if case.counts is None:
            # Without a step, more than prefill's token is an output whose steps are not told.
            if length_of(case.steps) or len(output.token_ids) <= 1:
                told.append(case)
        elif (found := _of_counts(case.counts, case, output)) is not None:
            counters.append((case.case_id, found))
    counters.extend(_of_steps(told))
    return [found for _, found in sorted(counters, key=lambda pair: pair[0])]


def _of_steps(cases: Sequence[CaseRecord]) -> Iterator[tuple[str, CaseCounters]]:
    names = ("accepted_length", "committed_tokens", "nodes", "depth")
    for part in step_columns(cases, names):
        columns = [part.columns[name].astype(np.int64) for name in names]
        ends = np.cumsum(part.counts).tolist()
        for case, start, stop in zip(part.cases, [0, *ends], ends, strict=False):
            accepted, committed, drafted, depth = (column[start:stop] for column in columns)
            with_draft = drafted > 0
            output = case.speculative
            assert output is not None
            yield (
                case.case_id,
                CaseCounters(
                    steps=stop - start,
                    most_steps=stop - start,
                    drafted_steps=int(np.count_nonzero(with_draft)),
                    drafted=int(drafted.sum()),
                    accepted=int(accepted.sum()),
                    output_tokens=len(output.token_ids),
                    stopped=output.stop_reason == "stop_token",
                    lengths=tuple(np.bincount(accepted[with_draft]).tolist()),
                    told=StepFacts(
                        accepted=accepted, committed=committed, drafted=drafted, depth=depth
                    ),
                ),
            )


def _of_counts(counts: Counts, case: CaseRecord, output: DecodedOutput) -> CaseCounters | None:
    tokens, by_text = output.length, output.by_text
    if case.contradictions or check_counts(counts, tokens, by_text=by_text):
        return None
    fewest, most = step_bounds(counts, tokens, by_text=by_text) or (None, None)
    return CaseCounters(
        steps=fewest,
        most_steps=most,
        drafted_steps=counts.drafted_steps,
        drafted=counts.drafted,
        accepted=counts.accepted,
        output_tokens=tokens,
        stopped=output.stop_reason == "stop_token",
        lengths=counts.lengths,
        told=None,
        committed=counts.committed,
        requests=counts.requests,
        counted=counts.counted,
    )


def ratio(above: float, below: float) -> float:
    """A quotient; NaN where there is nothing to divide by."""
    return float(above) / float(below) if below else float("nan")


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")
