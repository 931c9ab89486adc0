"""How far sampled chains are from the bound on what any acceptance rule can keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from draftproof.column_slices import length_of
from draftproof.statistics.batches import node_columns
from draftproof.statistics.bootstrap import SHARE, Estimate, RatioSums, stratified_estimates
from draftproof.statistics.resampling import Resampling
from draftproof.trace import CaseRecord, Columns, Verdict

_ABSENT = "no drafted position with a known overlap was reached"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """Kept tokens beside the bound, over the drafted positions that were reached.

    Attributes:
        kept: Share of them at which the drafted token was kept.
        overlap: Mean overlap Σ min(p, q) there: no rule that keeps the target's law can keep one
            drawn token more often, and it is the exact conditional mean of rejection's coin.
        difference: Mean of kept − overlap, which is 0 in expectation for a rule at the bound.
    """

    kept: Estimate
    overlap: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Couplings:
    """The comparison by domain, and over all prompts.

    Attributes:
        domains: By domain, in the order in which the cases bring them.
        overall: Over all prompts, resampled within domains.
    """

    domains: dict[str, Coupling]
    overall: Coupling


def coupling(cases: Sequence[CaseRecord], resampling: Resampling | None = None) -> Couplings | None:
    """The comparison for drafts without siblings; None where a draft has any, or none was made.

    It says something of drafts that were drawn from the draft model's law; whether they were is for
    the caller to know.

    Args:
        cases: The records of a run.
        resampling: Number of resamples, level and seed.

    Source:
        The bound is the maximal coupling of p and q; Leviathan et al. 2023 (arXiv 2211.17192),
        theorem 3.5, attains it token by token.
    """
    measured = [case for case in cases if case.verdict is not Verdict.ERROR]
    if not any(length_of(case.nodes) for case in measured):
        return None
    for part in node_columns(measured, ("sibling_rank",)):
        if (part.columns["sibling_rank"] > 0).any():
            return None
    domains = dict.fromkeys(case.domain for case in measured)
    strata = {
        domain: _sums([case.nodes for case in measured if case.domain == domain])
        for domain in domains
    }
    found = stratified_estimates(strata, [_ABSENT] * 3, resampling, [SHARE, SHARE, (0.0, 2.0)])
    return Couplings(
        domains={domain: _coupling(*found.by_stratum[domain]) for domain in domains},
        overall=_coupling(*found.pooled),
    )


def _coupling(kept: Estimate, overlap: Estimate, missing: Estimate) -> Coupling:
    return Coupling(kept=kept, overlap=overlap, difference=_shifted(missing))


def _sums(prompts: Sequence[Columns]) -> RatioSums:
    """Per prompt: kept, overlap, and 1 + kept − overlap (ratios are not negative), by position."""
    rows = []
    for nodes in prompts:
        counted = nodes["reached"] & ~np.isnan(nodes["overlap"])
        kept = float(nodes["accepted"][counted].sum())
        overlap = float(nodes["overlap"][counted].sum(dtype=np.float64))
        positions = float(counted.sum())
        rows.append((kept, overlap, positions + kept - overlap, positions))
    table = np.array(rows)
    ones = np.repeat(table[:, 3:], 3, axis=1)
    return RatioSums(table[:, :3], ones)


def _shifted(estimate: Estimate) -> Estimate:
    """The estimate less 1."""
    return replace(estimate, value=estimate.value - 1, low=estimate.low - 1, high=estimate.high - 1)
