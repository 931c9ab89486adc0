"""The smallest contamination by the draft's law that a test would have caught, on its contexts.

Suppose that at every token the law were (1 − ε) n + ε d, where n is the null law and d the law if
the draft model's were used in place of the target's. The sum of log((1 − λ) + λ d/n), which is one
component of the test's mixture, is then a sum of independent terms given the contexts, whose mean
and variance are polynomials of ε with coefficients that add up over tokens. So a few sums per
stream are all that has to be kept, and

    P(caught) ≥ P(component ≥ log(1/α) + log(1/its weight)) ≈ Φ((mean − that) / sd),

at the best λ. It is a lower bound but for the normal approximation, since the test may also be
passed earlier, and by other components; `benchmarks/anytime_valid.py` compares it with simulation.

The contexts are those of the run: under contamination they would have been others of the same kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.stats import norm

MOMENTS = (
    "null",
    "draft",
    "null_squares",
    "draft_squares",
    "null_null",
    "null_draft",
    "draft_draft",
    "impossible",
)
"""Sums over tokens, with L = log((1 − λ) + λ d/n): E[L] and E[L²] under n and under d; products of
the two means; and d's mass on outcomes that are impossible under n, on which L is left out."""


def contamination_moments(
    null: Float[np.ndarray, " outcomes"],
    draft: Float[np.ndarray, " outcomes"],
    ceiling: Float[np.ndarray, " outcomes"],
    shares: Sequence[float],
) -> Float[np.ndarray, "shares moments"]:
    """The `MOMENTS` of one token.

    Args:
        null: n, the law under the null hypothesis.
        draft: d, the law if the draft's were used in place of the target's.
        ceiling: What the ratio's denominator is; at least n.
        shares: λ, each below 1.
    """
    possible = ceiling > 0
    ratio = np.divide(draft, ceiling, out=np.zeros_like(draft), where=possible)
    share = np.array(shares)[:, None]
    gain = np.where(possible, np.log1p(share * (ratio - 1)), 0.0)
    means = gain @ null, gain @ draft
    squares = gain**2 @ null, gain**2 @ draft
    impossible = np.full(len(shares), draft.sum(where=~possible))
    products = means[0] ** 2, means[0] * means[1], means[1] ** 2
    return np.stack([*means, *squares, *products, impossible], axis=1)


def probability_caught(
    epsilon: float,
    moments: Float[np.ndarray, "shares moments"],
    thresholds: Float[np.ndarray, " shares"],
) -> float:
    """The least probability with which a contamination is caught.

    Args:
        epsilon: ε, the share of the draft's law.
        moments: Summed over tokens.
        thresholds: What the component of each share must reach, in nats.

    Example:
        >>> probability_caught(0.5, np.zeros((1, 8)), np.array([9.2]))
        0.0
    """
    null, draft, null_squares, draft_squares, nn, nd, dd, impossible = moments.T
    mean = null + epsilon * (draft - null)
    squares = null_squares + epsilon * (draft_squares - null_squares)
    squared_means = (1 - epsilon) ** 2 * nn + 2 * epsilon * (1 - epsilon) * nd + epsilon**2 * dd
    deviation = np.sqrt(np.maximum(squares - squared_means, 0))
    excess = mean - thresholds
    scores = np.divide(
        excess, deviation, out=np.where(excess >= 0, np.inf, -np.inf), where=deviation > 0
    )
    missed = 1 - norm.cdf(scores.max())
    return float(1 - missed * math.exp(-epsilon * float(impossible.max())))


def smallest_contamination(
    moments: Float[np.ndarray, "shares moments"],
    thresholds: Float[np.ndarray, " shares"],
    power: float,
) -> float | None:
    """The smallest ε that is caught with at least a given probability; None where none is.

    Args:
        moments: Summed over tokens.
        thresholds: What the component of each share must reach, in nats.
        power: The probability asked for.
    """
    if probability_caught(1.0, moments, thresholds) < power:
        return None
    found: float = brentq(
        lambda epsilon: probability_caught(epsilon, moments, thresholds) - power, 0.0, 1.0
    )
    return found
