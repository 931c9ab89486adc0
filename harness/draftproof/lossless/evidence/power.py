"""The smallest share of a fault that a test would have caught, on its contexts.

Suppose that at every token the law were (1 − ε) n + ε a, where n is the null law and a that of a
fault, such as the draft model's law in place of the target's (ε is the *contamination* then). The
sum of log((1 − λ) + λ a/c), with c what ratios are divided by under the tolerance in use, is one
component of the test's mixture. It is then a sum of independent terms given the contexts, whose
mean and variance are polynomials of ε with coefficients that add up over tokens. So a few sums per
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
    "fault",
    "null_squares",
    "fault_squares",
    "null_null",
    "null_fault",
    "fault_fault",
    "impossible",
)
"""Sums over tokens, with L = log((1 − λ) + λ a/c): E[L] and E[L²] under n and under a; products of
the two means; and a's mass on outcomes that are impossible under n, on which L is left out."""


def contamination_moments(
    null: Float[np.ndarray, " outcomes"],
    fault: Float[np.ndarray, " outcomes"],
    ceiling: Float[np.ndarray, " outcomes"],
    shares: Sequence[float],
) -> Float[np.ndarray, "shares moments"]:
    """The `MOMENTS` of one token.

    Args:
        null: n, the law under the null hypothesis.
        fault: a, the law if every token had the fault.
        ceiling: c, what the ratio is divided by; at least n.
        shares: λ, each below 1.
    """
    possible = ceiling > 0
    ratio = np.divide(fault, ceiling, out=np.zeros_like(fault), where=possible)
    share = np.array(shares)[:, None]
    gain = np.where(possible, np.log1p(share * (ratio - 1)), 0.0)
    means = gain @ null, gain @ fault
    squares = gain**2 @ null, gain**2 @ fault
    impossible = np.full(len(shares), fault.sum(where=~possible))
    products = means[0] ** 2, means[0] * means[1], means[1] ** 2
    return np.stack([*means, *squares, *products, impossible], axis=1)


def probability_caught(
    epsilon: float,
    moments: Float[np.ndarray, "shares moments"],
    thresholds: Float[np.ndarray, " shares"],
) -> float:
    """The least probability with which a share of a fault is caught.

    Args:
        epsilon: ε, the share of tokens that have the fault.
        moments: Summed over tokens.
        thresholds: What the component of each share must reach, in nats.

    Example:
        >>> probability_caught(0.5, np.zeros((1, 8)), np.array([9.2]))
        0.0
    """
    null, fault, null_squares, fault_squares, nn, nf, ff, impossible = moments.T
    mean = null + epsilon * (fault - null)
    squares = null_squares + epsilon * (fault_squares - null_squares)
    squared_means = (1 - epsilon) ** 2 * nn + 2 * epsilon * (1 - epsilon) * nf + epsilon**2 * ff
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
