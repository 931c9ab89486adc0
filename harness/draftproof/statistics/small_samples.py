"""What few, unequal or equal prompts leave open: degrees of freedom, and intervals at the edges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

ONE_IN_FIVE = 0.2
"""How common a kind of prompt is that intervals reckon with although no prompt drawn is of it."""
ONE_IN_TEN = 0.1
"""The same for floors and ceilings of a gate: to pass is to claim more than an interval does."""
_SURE = 0.05
"""Chance that a kind is missing from which on it is reckoned with the less."""


def degrees_of_freedom(weights: Sequence[np.ndarray]) -> float:
    """How many degrees of freedom a standard error over prompts has.

    A long prompt sways it more than a short one: where residuals grow with a prompt's weight w, the
    sum of their squares has as many degrees of freedom as (Σ w²)² ÷ Σ w⁴ prompts of one weight,
    less one. Strata are put together as Welch and Satterthwaite do.

    Args:
        weights: By stratum, ``[prompts]`` how many observations each prompt has; a prompt without
            any does not count.

    Returns:
        At most prompts − strata, which it is where all prompts weigh the same; below 1 where one
        prompt has nearly all of the weight.

    Source:
        Satterthwaite 1946; Kish 1965 on the effective number of unequal weights.

    Example:
        >>> round(degrees_of_freedom([np.ones(50)]), 6)
        49.0
        >>> round(degrees_of_freedom([np.array([1.0, 4.0, 4.0])]), 2)
        1.12
        >>> degrees_of_freedom([np.array([1.0, 1.0, 1.0, 10.0])])
        0.5
    """
    total = parts = 0.0
    for stratum in weights:
        squares = np.square(stratum[stratum > 0] / max(float(stratum.max(initial=0)), 1e-300))
        spread = float(squares.sum())
        if spread == 0:
            continue
        # No less than a half, so that a stratum of little weight cannot take all freedom away.
        own = max(spread**2 / float((squares**2).sum()) - 1, 0.5)
        size = spread * float(stratum.max()) ** 2
        total += size
        parts += size**2 / own
    return total**2 / parts if parts else 0.0


def heaviest_share(weights: Sequence[np.ndarray]) -> float:
    """The share of all observations that the prompt with the most of them has.

    Example:
        >>> heaviest_share([np.array([1.0, 6.0]), np.array([1.0])])
        0.75
    """
    return max(float(part.max(initial=0)) for part in weights) / sum(
        float(part.sum()) for part in weights
    )


def unseen_share(prompts: int, level: float) -> float:
    """The largest share of prompts that may be otherwise although none of those drawn is.

    Prompts that are all alike say nothing of how far others are from them, only how many those can
    be: were they more than this share, `prompts` draws would have met one, with a chance of more
    than 1 − (1 − level)/2. It is Clopper and Pearson's bound for 0 of `prompts`.

    Example:
        >>> round(unseen_share(3, 0.95), 3), round(unseen_share(50, 0.95), 3)
        (0.708, 0.071)
    """
    return float(1 - ((1 - level) / 2) ** (1 / prompts))


def own_noise(numerators: np.ndarray, denominators: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """The variance of each prompt's Σ x if its observations x were independent: Σ (x − mean x)².

    Args:
        numerators: ``[prompts]`` Σ x over a prompt's observations.
        denominators: ``[prompts]`` how many there are.
        squares: ``[prompts]`` Σ x².

    Example:
        >>> own_noise(np.array([3.0]), np.array([4.0]), np.array([3.0])).tolist()
        [0.75]
    """
    count = np.where(denominators > 0, denominators, 1.0)
    return np.maximum(squares - numerators**2 / count, 0.0)


def likeness(variance: float, noise: float, prompts: int) -> float:
    """How far prompts look all alike: 1 where their own noise explains how much they differ.

    A few prompts of which some have one node more or less kept than others say as little of how far
    other prompts may be as prompts that are the same in every node: both only say how many others
    can be (`unseen_share`). Where prompts differ by more than the noise of their observations, the
    spread is told by them, and the less is added, as the square of noise ÷ spread.

    Args:
        variance: Of a ratio, over prompts; above 0.
        noise: The same if all observations were independent and of one law, whatever the prompt.
        prompts: How many there are: so many vary by chance up to the 95% point of χ² ÷ (n − 1).

    Returns:
        0 where observations have no noise and prompts differ, up to 1.

    Example:
        >>> likeness(1.0, 1.0, 6), likeness(1.0, 0.0, 6)
        (1.0, 0.0)
        >>> round(likeness(10.0, 1.0, 6), 3)
        0.049
    """
    from scipy.special import chdtri

    degrees = max(1, prompts - 1)
    by_chance = noise * float(chdtri(degrees, 0.05)) / degrees
    return min(1.0, by_chance / variance) ** 2


def missing(prompts: int, kind: float) -> float:
    """How far it must be reckoned with that a kind of prompt is not among those drawn, 0 to 1.

    Args:
        prompts: How many were drawn.
        kind: Share of prompts that are of it.

    Returns:
        1 as long as all of it may be missing with a chance of more than 5%; then as much of that.

    Example:
        >>> missing(13, ONE_IN_FIVE), round(missing(20, ONE_IN_FIVE), 2), missing(28, ONE_IN_TEN)
        (1.0, 0.23, 1.0)
    """
    return min(1.0, float((1 - kind) ** prompts) / _SURE)


def moment_interval(
    value: float,
    variance: float,
    bounds: tuple[float, float],
    degrees: float,
    level: float,
) -> tuple[float, float]:
    """An interval from a variance alone, which stays within what a figure can be.

    As many independent coins as have this variance are put in the place of the figure, fewer by
    (z ÷ t)² for a variance that is itself an estimate; the interval is Clopper and Pearson's for
    them. Where nothing bounds the figure from above, coins become rare events, and the interval is
    the one of a Poisson count.

    Args:
        value: The figure, between its bounds.
        variance: Of the figure over prompts; above 0.
        bounds: The least value and the largest, which may be infinite.
        degrees: Of freedom of the variance; above 0.
        level: Coverage aimed at.

    Source:
        Korn and Graubard 1998, *Confidence intervals for proportions with small expected number of
        positive counts estimated from survey data*; Clopper and Pearson 1934; Garwood 1936.
    """
    from scipy.special import betaincinv, gammaincinv, ndtri, stdtrit

    tail = (1 - level) / 2
    narrowed = float(ndtri(1 - tail) / stdtrit(degrees, 1 - tail)) ** 2
    least, largest = bounds
    above = value - least
    if math.isinf(largest):
        events = above**2 / variance * narrowed
        if events < 1e-9:
            return least, math.inf
        scale = above / events
        return (
            least + scale * float(gammaincinv(events, tail)),
            least + scale * float(gammaincinv(events + 1, 1 - tail)),
        )
    share = above / (largest - least)
    coins = share * (1 - share) * (largest - least) ** 2 / variance * narrowed
    heads, tails = share * coins, (1 - share) * coins
    low = float(betaincinv(heads, tails + 1, tail)) if heads > 1e-9 else 0.0
    high = float(betaincinv(heads + 1, tails, 1 - tail)) if tails > 1e-9 else 1.0
    return least + low * (largest - least), least + high * (largest - least)


def share_interval(count: int, of: int, level: float) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share of prompts: covers at least as often as it says.

    Example:
        >>> low, high = share_interval(0, 3, 0.95)
        >>> low, round(high, 3)
        (0.0, 0.708)
    """
    if count in (0, of):
        unseen = unseen_share(of, level)
        return (0.0, unseen) if count == 0 else (1 - unseen, 1.0)
    share = count / of
    return moment_interval(share, share * (1 - share) / of, (0.0, 1.0), math.inf, level)
