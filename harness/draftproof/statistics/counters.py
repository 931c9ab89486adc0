"""What engines count of a case: the few numbers that every peer's figures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.trace import CaseRecord, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseCounters:
    """The counters of one case.

    Attributes:
        accepted: ``[steps]`` accepted lengths, before stop and length truncation.
        committed: ``[steps]`` committed tokens, after it.
        drafted: ``[steps]`` nodes; 0 where nothing was proposed.
        depth: ``[steps]`` depth of the draft.
        output_tokens: Length of the output, prefill's token included.
        stopped: Whether the output ended with a stop token, which is part of it.
    """

    accepted: np.ndarray
    committed: np.ndarray
    drafted: np.ndarray
    depth: np.ndarray
    output_tokens: int
    stopped: bool

    @property
    def steps(self) -> int:
        """Verification steps."""
        return len(self.accepted)

    @property
    def drafts(self) -> int:
        """Steps that had a draft."""
        return int(np.count_nonzero(self.drafted))


def case_counters(cases: Sequence[CaseRecord]) -> list[CaseCounters]:
    """The counters of every case that was measured, ordered by case id."""
    counters = []
    for case in sorted(cases, key=lambda case: case.case_id):
        if case.verdict is Verdict.ERROR or case.speculative is None:
            continue
        counters.append(
            CaseCounters(
                accepted=case.steps["accepted_length"].astype(np.int64),
                committed=case.steps["committed_tokens"].astype(np.int64),
                drafted=case.steps["nodes"].astype(np.int64),
                depth=case.steps["depth"].astype(np.int64),
                output_tokens=len(case.speculative.token_ids),
                stopped=case.speculative.stop_reason == "stop_token",
            )
        )
    return counters


def ratio(above: float, below: float) -> float:
    """A quotient; NaN where there is nothing to divide by."""
    return float(above) / float(below) if below else float("nan")


def mean(values: Sequence[float]) -> float:
    """The mean; NaN of nothing."""
    return float(np.mean(values)) if len(values) else float("nan")
