"""Acceptance by how uncertain the draft model was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.statistics.batches import node_columns, rows_by_domain
from draftproof.statistics.bootstrap import SHARE, Estimate, RatioSums, stratified_estimates
from draftproof.statistics.resampling import Resampling
from draftproof.trace import CaseRecord, Verdict

ENTROPY_EDGES = (0.0, 0.05, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Where the ranges of draft entropy begin, in nats; the last has no end. They are fixed, so that
the profiles of two domains, or of two runs, can be laid over each other."""

_ABSENT = "no node in this range of draft entropy has an acceptance probability"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntropyRange:
    """Acceptance of the nodes drafted within a range of draft entropy.

    Attributes:
        low: Where the range begins, in nats.
        high: Where it ends, exclusive; infinity for the last.
        draft_entropy: Mean draft entropy of its nodes, in nats.
        acceptance_probability: Their mean acceptance probability.
    """

    low: float
    high: float
    draft_entropy: float
    acceptance_probability: Estimate


def entropy_profile(
    cases: Sequence[CaseRecord], domains: Sequence[str], resampling: Resampling
) -> dict[str, tuple[EntropyRange, ...]]:
    """The entropy profile of each domain: its ranges that have a node, lowest first.

    Args:
        cases: The records; those in error are left out.
        domains: The domains to tell apart.
        resampling: Number of resamples, level and seed.
    """
    size = len(ENTROPY_EDGES)
    measured = [case for case in cases if case.verdict is not Verdict.ERROR]
    sums = _sums(measured)
    strata: dict[str, RatioSums] = {}
    entropies: dict[str, np.ndarray] = {}
    for domain, rows in rows_by_domain(measured, domains).items():
        own = sums[rows] if len(rows) else np.zeros((1, 4, size))
        strata[domain] = RatioSums(own[:, 1], own[:, 0], own[:, 2])
        entropies[domain] = own[:, 3].sum(axis=0)
    found = stratified_estimates(strata, [_ABSENT] * size, resampling, [SHARE] * size).by_stratum
    ends = (*ENTROPY_EDGES[1:], float("inf"))
    return {
        domain: tuple(
            EntropyRange(
                low=ENTROPY_EDGES[i],
                high=ends[i],
                draft_entropy=float(entropies[domain][i] / estimate.n),
                acceptance_probability=estimate,
            )
            for i, estimate in enumerate(found[domain])
            if estimate.n
        )
        for domain in domains
    }


def _sums(cases: Sequence[CaseRecord]) -> np.ndarray:
    """``[cases, 4, ranges]``: nodes, Σ acceptance probabilities, their squares, entropies."""
    size = len(ENTROPY_EDGES)
    found = [np.empty((0, 4, size))]
    for part in node_columns(cases, ("draft_entropy", "acceptance_probability")):
        entropy = part.columns["draft_entropy"].astype(np.float64)
        value = part.columns["acceptance_probability"].astype(np.float64)
        known = ~np.isnan(entropy) & ~np.isnan(value)
        case, entropy, value = part.case_of_row[known], entropy[known], value[known]
        ranges = np.clip(np.searchsorted(ENTROPY_EDGES, entropy, "right") - 1, 0, None)
        sums = [
            np.bincount(case * size + ranges, weights=weights, minlength=len(part.cases) * size)
            for weights in (np.ones_like(value), value, value**2, entropy)
        ]
        found.append(np.stack([each.reshape(-1, size) for each in sums], axis=1))
    return np.concatenate(found)
