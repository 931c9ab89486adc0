"""Acceptance early and late in the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.statistics.batches import node_columns, rows_by_domain
from draftproof.statistics.bootstrap import SHARE, Estimate, RatioSums, stratified_estimates
from draftproof.statistics.replicates import Replicates
from draftproof.statistics.resampling import Resampling, resampled_totals
from draftproof.trace import CaseRecord, Verdict

EDGES = (1, 17, 33, 65, 129, 257, 513)
"""Where the ranges of positions begin: 1–16, 17–32, 33–64 and so on; the last has no end."""

_ABSENT = "no node at these positions has an acceptance probability"


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRange:
    """Acceptance of the nodes proposed for a range of output positions.

    Attributes:
        first: First position in the output, counted from 0.
        last: Last position; None where the range has no end.
        acceptance_probability: Of these nodes, overall.
    """

    first: int
    last: int | None
    acceptance_probability: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionProfile:
    """Acceptance by position in the output: a node's position − the prompt's tokens.

    The token at position 0 is prefill's, so nodes start at 1. Ranges of positions are of other
    prompts each, since short outputs are in the first ones only; the two halves are of the same.

    Attributes:
        ranges: Those that have a node.
        early: Mean acceptance probability of nodes in the first half of their output.
        late: The same of the second half, drafted beyond the output's end included.
        late_minus_early: Their difference; both halves are of the same resampled prompts.
    """

    ranges: tuple[PositionRange, ...]
    early: Estimate
    late: Estimate
    late_minus_early: Estimate


def position_profile(
    cases: Sequence[CaseRecord], domains: Sequence[str], resampling: Resampling
) -> PositionProfile:
    """The position profile over all prompts, resampled within domains.

    Args:
        cases: The records; those in error, or without an output, are left out.
        domains: The domains to pool.
        resampling: Number of resamples, level and seed.
    """
    cells = len(EDGES) + 2
    measured = [
        case for case in cases if case.verdict is not Verdict.ERROR and case.speculative is not None
    ]
    sums = _sums(measured)
    strata: dict[str, RatioSums] = {}
    for domain, rows in rows_by_domain(measured, domains).items():
        if len(rows):
            own = sums[rows]
            strata[domain] = RatioSums(own[:, 1], own[:, 0], own[:, 2])
    found = stratified_estimates(strata, [_ABSENT] * cells, resampling, [SHARE] * cells).pooled
    ranges = tuple(
        PositionRange(
            first=first,
            last=EDGES[i + 1] - 1 if i + 1 < len(EDGES) else None,
            acceptance_probability=found[i],
        )
        for i, first in enumerate(EDGES)
        if found[i].n
    )
    return PositionProfile(
        ranges=ranges,
        early=found[-2],
        late=found[-1],
        late_minus_early=_difference(strata, resampling),
    )


def _sums(cases: Sequence[CaseRecord]) -> np.ndarray:
    """``[cases, 3, cells]``: how many nodes, Σ of their acceptance probabilities, Σ of squares.

    The cells are the ranges, then the early and the late half.
    """
    size = len(EDGES) + 2
    found = [np.empty((0, 3, size))]
    for part in node_columns(cases, ("position", "acceptance_probability")):
        # A case whose prompt is not told has no step.
        prompts = np.array([case.prompt_tokens or 0 for case in part.cases], np.int64)
        lengths = np.array(
            [len(case.speculative.token_ids) if case.speculative else 0 for case in part.cases]
        )
        value = part.columns["acceptance_probability"].astype(np.float64)
        known = ~np.isnan(value)
        case, value = part.case_of_row[known], value[known]
        position = part.columns["position"][known].astype(np.int64) - prompts[case]
        ranges = np.clip(np.searchsorted(EDGES, position, "right") - 1, 0, None)
        halves = len(EDGES) + (2 * position >= lengths[case])
        cells = np.concatenate([case * size + ranges, case * size + halves])
        values = np.concatenate([value, value])
        sums = [
            np.bincount(cells, weights=weights, minlength=len(part.cases) * size)
            for weights in (np.ones_like(values), values, values**2)
        ]
        found.append(np.stack([each.reshape(-1, size) for each in sums], axis=1))
    return np.concatenate(found)


def _difference(strata: dict[str, RatioSums], resampling: Resampling) -> Estimate:
    def columns(sums: RatioSums) -> np.ndarray:
        return np.hstack([sums.numerators[:, -2:], sums.denominators[:, -2:]])

    def late_minus_early(totals: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            means = totals[:, :2] / totals[:, 2:]
        return np.asarray(means[:, 1] - means[:, 0])

    if not strata:
        return Estimate(
            value=float("nan"), low=float("nan"), high=float("nan"), n=0, reason=_ABSENT
        )
    whole = np.sum([columns(sums).sum(axis=0) for sums in strata.values()], axis=0)
    drawn = np.sum(
        [resampled_totals(columns(sums), name, resampling) for name, sums in strata.items()], axis=0
    )
    return Replicates(
        value=float(late_minus_early(whole[None])[0]),
        draws=late_minus_early(drawn),
        n=int(whole[2:].sum()),
        weights=[sums.denominators[:, -2:].sum(axis=1) for sums in strata.values()],
        bounds=(-1.0, 1.0),
        absent=_ABSENT,
    ).estimate(resampling.level)
