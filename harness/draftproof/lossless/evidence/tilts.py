"""Alternatives without a name: the null law tilted along features of the outcome, and learned.

A fault that nobody has thought of still moves probability somewhere: to or from the target's first
choices, to or from what the draft model prefers, towards what is kept. Let φ(O) be such features of
the outcome, x = φ(O) − E[φ(O)] under the null law, and Σ their covariance. For every vector θ

    exp(θ·x − θᵀ(x xᵀ + 2 Σ)θ / 6)

has mean at most 1, since exp(z − z²/6) ≤ 1 + z + z²/3 for every z. No bound on θ or φ is needed. So
the products over tokens are supermartingales, one for every θ, and all that they depend on are the
sums S of x and V of (x xᵀ + 2 Σ)/3. Their average over θ drawn from N(0, τ² I) has a closed form,

    exp(Sᵀ (V + I/τ²)⁻¹ S / 2) / √det(I + τ² V),

and grows at the rate of the best θ, whichever that is, at a cost that grows with the logarithm of
the number of tokens only. It has learned the fault from the tokens; nobody told it.

Source:
    The inequality: Delyon 2009 (arXiv 0902.2154), proposition 12. Averages over θ: Robbins 1970;
    de la Peña, Klass and Lai 2004 (Annals of Probability 32).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from draftproof.lossless.evidence.fault_laws import one_hot
from draftproof.lossless.evidence.position import Outcomes, Position, denominator

TOKEN_FEATURES = (
    "target's first choice",
    "target's second choice",
    "target's choices 3 to 8",
    "log-probability",
    "draft against target",
    "draft's first choice",
    "row before against target",
)
"""Features of the token alone: indicators of ranks; log p; and (q − p)/(q + p), also for the row
before in place of q."""

FEATURES = (
    *TOKEN_FEATURES,
    "kept",
    *(f"{name}, kept" for name in TOKEN_FEATURES),
)
"""With those of (kept?, token); the latter are 0 where only the token is judged."""

SCALES = (0.05, 0.2, 0.8)
"""τ: how strong a tilt is expected to be, in nats a unit of a feature."""


@dataclass(frozen=True, slots=True)
class Block:
    """Features that are tilted together.

    Attributes:
        name: What they have in common.
        features: Indices in `FEATURES`.
    """

    name: str
    features: tuple[int, ...]


def _block(name: str, *features: str) -> Block:
    return Block(name, tuple(FEATURES.index(feature) for feature in features))


BLOCKS: tuple[Block, ...] = (
    *(_block(name, name) for name in TOKEN_FEATURES),
    _block("ranks under the target", *TOKEN_FEATURES[:4]),
    _block("draft's preferences", "draft against target", "draft's first choice"),
    _block("token", *TOKEN_FEATURES),
    _block("how often tokens are kept", "kept"),
    _block(
        "which tokens are kept", "kept", "draft against target, kept", "draft's first choice, kept"
    ),
    _block("token and whether it is kept", *FEATURES),
)
"""What is tilted. Few features cost less than many, and see less."""


class Tilted(NamedTuple):
    """The features of the outcomes at one position, under the null law.

    Attributes:
        token: ``[token features, outcomes]`` φ of each token.
        kept: Whether the outcomes are those of a drafted token that was kept; None where the token
            alone is judged.
        mean: ``[features]`` E[φ].
        covariance: ``[features, features]`` Σ.
        excess: The logarithm of the mass of the law that x and Σ are of: above 0 where rounding
            makes a null law's ceiling more than a law, and what a token costs then.
    """

    token: Float[np.ndarray, "token_features outcomes"]
    kept: bool | None
    mean: Float[np.ndarray, " features"]
    covariance: Float[np.ndarray, "features features"]
    excess: float

    def centred(self, outcome: int | slice) -> Float[np.ndarray, "features ..."]:
        """The features x of an outcome, or of several."""
        token = self.token[:, outcome]
        kept = np.full((1, *token.shape[1:]), float(bool(self.kept)))
        values = np.concatenate([token, kept, kept * token])
        x: np.ndarray = (values.T - self.mean).T
        return x

    def spread(self, outcome: int) -> Float[np.ndarray, "features features"]:
        """(x xᵀ + 2 Σ)/3 of an outcome."""
        x = self.centred(outcome)
        term: np.ndarray = (np.outer(x, x) + 2 * self.covariance) / 3
        return term


def tilted(at: Position, kept: bool | None) -> Tilted:
    """The features of each outcome, and their moments under the null law.

    With f the features of the token and k whether it was kept, φ = (f, k, k f): so all moments
    follow from those of (1, f), over all outcomes and over the kept ones.

    Args:
        at: The position.
        kept: Whether the drafted token was kept; None to judge the token alone.
    """
    token = _token_features(at)
    if kept is None or at.ceiling is None:
        everything = denominator(at, None)
        return _tilted(token, None, everything, np.zeros_like(everything))
    ways = denominator(at, True), denominator(at, False)
    return _tilted(token, kept, ways[0] + ways[1], ways[0])


def log_mixtures(
    scores: Float[np.ndarray, "*rows features"],
    spreads: Float[np.ndarray, "*rows features features"],
    excess: Float[np.ndarray, "*rows"],
) -> Float[np.ndarray, "*rows blocks scales"]:
    """The logarithm of the average over θ, for every block and scale.

    Args:
        scores: S, summed over tokens.
        spreads: V, summed over tokens.
        excess: Summed over tokens.

    Example:
        No token, no evidence::

            log_mixtures(np.zeros((1, 15)), np.zeros((1, 15, 15)), np.zeros(1))   # all 0
    """
    variances = np.array(SCALES) ** 2
    found = np.empty((*scores.shape[:-1], len(BLOCKS), len(SCALES)))
    for index, block in enumerate(BLOCKS):
        chosen = np.array(block.features)
        values, vectors = np.linalg.eigh(spreads[..., chosen[:, None], chosen])
        along = np.einsum("...fv,...f->...v", vectors, scores[..., chosen])
        stretched = 1 + np.multiply.outer(np.maximum(values, 0), variances)
        gain = (along[..., None] ** 2 * variances / stretched - np.log(stretched)).sum(axis=-2) / 2
        found[..., index, :] = gain - excess[..., None]
    return found


def _tilted(token: np.ndarray, kept: bool | None, masses: Outcomes, of_kept: Outcomes) -> Tilted:
    """From the masses of all outcomes, and of those that were kept, which these include."""
    total = float(masses.sum())
    ones = np.concatenate([np.ones((1, token.shape[1])), token])
    every, when_kept = ((ones * law) @ ones.T / total for law in (masses, of_kept))
    # Of (1, f) and (k, k f), whose products are k (1, f)(1, f)ᵀ: k is 0 or 1.
    moments = np.block([[every, when_kept], [when_kept, when_kept]])
    mean = moments[0, 1:]
    return Tilted(
        token=token,
        kept=kept,
        mean=mean,
        covariance=moments[1:, 1:] - np.outer(mean, mean),
        excess=float(np.log(total)),
    )


def _token_features(at: Position) -> Float[np.ndarray, "token_features outcomes"]:
    p, each = at.p, at.p / at.size
    order = _largest(each, 8)
    choices = np.zeros((3, len(p)))
    choices[0, order[:1]] = choices[1, order[1:2]] = choices[2, order[2:]] = 1
    surprise = np.log(each, out=np.zeros_like(each), where=each > 0)
    rows = [*choices, surprise]
    if at.soft_q is None:
        rows += [np.zeros_like(p)] * 2
    else:
        rows += [_against(at.soft_q, p), one_hot(at.soft_q, at.size)]
    rows.append(_against(at.previous, p))
    return np.stack(rows)


def _largest(values: Outcomes, count: int) -> np.ndarray:
    """Indices of the largest values, largest first, and the first of equal ones first."""
    if len(values) > count:
        least = values[np.argpartition(values, -count)[-count:]].min()
        candidates = np.flatnonzero(values >= least)
    else:
        candidates = np.arange(len(values))
    order: np.ndarray = candidates[np.argsort(-values[candidates], kind="stable")][:count]
    return order


def _against(law: Outcomes, p: Outcomes) -> Outcomes:
    """(law − p)/(law + p): from −1 where only p is to 1 where only the law is."""
    both = law + p
    contrast: Outcomes = np.divide(law - p, both, out=np.zeros_like(p), where=both > 0)
    return contrast
