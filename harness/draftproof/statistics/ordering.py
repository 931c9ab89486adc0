"""In which order the domains stand, and how sure that is under the bootstrap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.statistics.metrics import RatioMetric
from draftproof.statistics.replicates import FEW_PROMPTS, narrowing
from draftproof.statistics.resampling import Resampling, resampled_totals, stratum_seed
from draftproof.statistics.small_samples import degrees_of_freedom, heaviest_share
from draftproof.statistics.sums import PromptSums

_SEED = 0x0D0


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainOrder:
    """The orders of the domains by a figure, largest first.

    Attributes:
        metric: The figure's name.
        domains: The domains compared.
        probabilities: Each order that a resample had, and its share, most frequent first.
        above: By pair (a, b): the share of resamples in which a's figure is above b's.
        reason: Why there is no order; else empty.
    """

    metric: str
    domains: tuple[str, ...]
    above: Mapping[tuple[str, str], float]
    probabilities: tuple[tuple[tuple[str, ...], float], ...] = ()
    reason: str = ""

    def probability(self, order: Sequence[str]) -> float:
        """The share of an order; 0 if no resample had it, NaN if there is none at all."""
        if self.reason:
            return float("nan")
        return dict(self.probabilities).get(tuple(order), 0.0)


def domain_order(
    sums: PromptSums, metric: RatioMetric, domains: Sequence[str], resampling: Resampling
) -> DomainOrder:
    """How often each order of the domains comes up when prompts are resampled.

    Domains are resampled independently, and their deviations widened by √(n/(n−1)), by which
    resampling n prompts understates them, and by √(f/χ²) with a draw of χ² on the f degrees of
    freedom of the domain's own standard error: what makes a normal deviate Student's. Equal figures
    count for either order alike. The share is a degree of support, not a posterior probability; for
    a pair whose true figures are equal it is uniform between 0 and 1.

    Args:
        sums: Those of every measured prompt.
        metric: The figure.
        domains: The domains to order.
        resampling: Number of resamples and seed.
    """
    names = tuple(domains)
    if not names:
        return DomainOrder(metric=metric.name, domains=(), above={}, reason="there is no domain")
    columns = []
    for domain in names:
        rows = [i for i, name in enumerate(sums.domains) if name == domain]
        above, below = sums.totals[metric.numerator][rows], sums.totals[metric.denominator][rows]
        carrying = int(np.count_nonzero(below))
        if carrying < FEW_PROMPTS:
            reason = (
                metric.absent
                if not carrying
                else f"it needs {FEW_PROMPTS} prompts a domain to resample; {domain} has {carrying}"
            )
            return DomainOrder(metric=metric.name, domains=names, above={}, reason=reason)
        degrees = degrees_of_freedom([below])
        if degrees < 1:
            reason = (
                f"prompts of {domain} differ too much in length: one has "
                f"{heaviest_share([below]):.0%} of its observations"
            )
            return DomainOrder(metric=metric.name, domains=names, above={}, reason=reason)
        totals = resampled_totals(np.stack([above, below], axis=1), domain, resampling)
        value = above.sum() / below.sum()
        ratios = np.divide(
            totals[:, 0], totals[:, 1], out=np.full(len(totals), value), where=totals[:, 1] > 0
        )
        if np.ptp(ratios) <= 1e-12 * max(1.0, value):
            reason = (
                f"all prompts of {domain} are alike in this figure: resamples do not say how far "
                "others may be"
            )
            return DomainOrder(metric=metric.name, domains=names, above={}, reason=reason)
        chances = np.random.default_rng([*stratum_seed(domain, resampling), _SEED])
        scale = np.sqrt(degrees / chances.chisquare(degrees, len(ratios)))
        columns.append(value + narrowing([carrying]) * scale * (ratios - value))
    figures = np.stack(columns, axis=1)
    # Equal figures are put in random order.
    coins = np.random.default_rng([resampling.seed, _SEED]).random(figures.shape)
    order = np.lexsort((coins, -figures), axis=1)
    seen = Counter(map(tuple, order.tolist()))
    return DomainOrder(
        metric=metric.name,
        domains=names,
        probabilities=tuple(
            (tuple(names[i] for i in key), count / len(order)) for key, count in seen.most_common()
        ),
        above={
            (a, b): float(
                (figures[:, i] > figures[:, j]).mean() + (figures[:, i] == figures[:, j]).mean() / 2
            )
            for i, a in enumerate(names)
            for j, b in enumerate(names)
            if i != j
        },
    )
