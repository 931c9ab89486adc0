"""The edge of top-k, top-p and min-p: tokens that pass or do not as rounding has it.

A filter draws a sharp line through probabilities that two right engines round differently, so near
the line they let other tokens pass, and the law that is left differs by far more than rounding. But
it is always the law before the filters given that the token passed. So given that the token is one
of those that pass *however* rounding moves the probabilities, it follows one and the same law.

Source:
    Holtzman et al. 2020 (arXiv 1904.09751) for top-p; Nguyen et al. 2024 (arXiv 2407.01082) for
    min-p. The filters are applied in this order: top-k, top-p, min-p.
"""

from __future__ import annotations

import math

import numpy as np

from draftproof.config import Sampling
from draftproof.lossless.evidence.observation import FilterEdge, Law, Tokens


def filter_edge(law: Law, passed: Tokens, sampling: Sampling, tolerance: float) -> FilterEdge:
    """Which tokens pass the filters only if rounding favours them, and what mass passes.

    Args:
        law: ``[vocabulary]`` the judge's, before the filters.
        passed: ``[vocabulary]`` which tokens the judge's filters let pass.
        sampling: Names the filters.
        tolerance: How far a logit may be off, in nats (over the temperature); ratios of two
            probabilities, and odds of two sets of tokens, by twice it.

    Example:
        >>> edge = filter_edge(
        ...     np.array([0.5, 0.255, 0.245]),
        ...     np.array([True, True, False]),
        ...     Sampling(temperature=1.0, top_k=2),
        ...     0.05,
        ... )
        >>> edge.contested.tolist()
        [False, True, True]
    """
    up = math.exp(2 * tolerance)
    admitted = law > 0
    sure = admitted.copy()
    if sampling.top_k:
        admitted &= law * up >= _largest(law, sampling.top_k)
        sure &= law > up * _largest(law, sampling.top_k + 1)
    if sampling.top_p < 1:
        # Before a token come at least those that no rounding puts after it, and at most those that
        # rounding may put before it.
        least, rest = _split(law[admitted], law * up, is_likelier=True)
        near, _ = _split(law[admitted], law / up, is_likelier=False)
        most = np.maximum(near - law, 0)
        _, after = _split(law[sure], law / up, is_likelier=False)
        top_p = sampling.top_p
        admitted &= least < top_p * (least + rest * up)
        sure &= most * up < top_p * (most * up + law + after)
    if sampling.min_p:
        best, second = _largest(law, 1), _largest(law, 2)
        rival = np.where(law == best, second, best)
        admitted &= law * up >= sampling.min_p * best
        sure &= law >= sampling.min_p * rival * up
    sure &= admitted
    own = float(law.sum(where=passed))
    return FilterEdge(
        contested=admitted & ~sure,
        # The likeliest token always passes, whichever that is.
        least=min(1.0, max(float(law.sum(where=sure)), float(law.max()) / up) / own),
        most=max(1.0, float(law.sum(where=admitted)) / own),
    )


def _largest(law: Law, rank: int) -> float:
    """The rank-th largest probability, from 1; 0 where there are fewer tokens."""
    return float(np.partition(law, -rank)[-rank]) if rank <= len(law) else 0.0


def _split(among: Law, bounds: Law, *, is_likelier: bool) -> tuple[Law, Law]:
    """The masses of those `among` tokens that are likelier than each bound, and of the others.

    Those as likely as the bound count as likelier unless `is_likelier` demands more.
    """
    rising = np.sort(among)
    sums = np.concatenate([[0.0], np.cumsum(rising, dtype=np.float64)])
    others = sums[np.searchsorted(rising, bounds, side="right" if is_likelier else "left")]
    return sums[-1] - others, others
