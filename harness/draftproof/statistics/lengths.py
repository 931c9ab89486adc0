"""How often each accepted length occurs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.statistics.bootstrap import SHARE, Estimate, RatioSums, stratified_estimates
from draftproof.statistics.resampling import Resampling
from draftproof.statistics.sums import PromptSums

_ABSENT = "no step was taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthHistogram:
    """The share of steps with each accepted length, from 0 to the deepest draft's depth.

    Attributes:
        domains: By domain, each ``[depths + 1]``; the shares of a domain add up to 1.
        overall: Of all steps, pooled; intervals by resampling within each domain.
    """

    domains: dict[str, tuple[Estimate, ...]]
    overall: tuple[Estimate, ...]


def length_histogram(
    sums: PromptSums, domains: Sequence[str], resampling: Resampling
) -> LengthHistogram:
    """The histogram of accepted lengths with its 95% intervals over prompts.

    Args:
        sums: Those of every measured prompt.
        domains: The domains to tell apart.
        resampling: Number of resamples, level and seed.
    """
    steps = sums.totals["steps"][:, None]
    at_least = np.hstack([steps, sums.by_depth["steps_at_least"], np.zeros_like(steps)])
    exactly = at_least[:, :-1] - at_least[:, 1:]
    everything = np.broadcast_to(steps, exactly.shape)
    domain_of = np.array(sums.domains, dtype=object)
    strata = {}
    for domain in domains:
        rows = np.flatnonzero(domain_of == domain)
        strata[domain] = RatioSums(exactly[rows], everything[rows], exactly[rows])
    lengths = exactly.shape[1]
    found = stratified_estimates(strata, [_ABSENT] * lengths, resampling, [SHARE] * lengths)
    return LengthHistogram(domains=found.by_stratum, overall=found.pooled)
