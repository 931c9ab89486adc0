"""One e-value from many: the prior over faults, and what the evidence says under it.

The mixture M = Σ w exp(S), over scopes, alternatives and shares, with weights fixed beforehand that
add up to 1, is a supermartingale like each S's own (`draftproof.lossless.evidence.process`), and
loses at most log(1/w) nats against the best of them. A *scope* says where a fault acts: everywhere
at once, or in one stream only, since a fault that lives in one would be diluted by the others.

Source:
    An average of e-values is an e-value however they depend, and no symmetric way of merging them
    is essentially better: Vovk and Wang 2021 (arXiv 1912.06116), section 3.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

from draftproof.lossless.evidence.alternatives import ALTERNATIVES, EVERYWHERE
from draftproof.lossless.evidence.observation import STREAMS, Stream
from draftproof.lossless.evidence.process import LEAST, Evidence


class Reading(StrEnum):
    """What is put to the test."""

    DECLARED = "declared"
    """Tokens follow the target's law and, where the engine tells, are kept as often as the declared
    rule says."""
    OUTPUT = "output"
    """Tokens follow the target's law. True wherever the declared one is."""


READ: dict[Reading, tuple[Stream, ...]] = {
    Reading.DECLARED: (Stream.FIRST, Stream.DRAFTED, Stream.BONUS, Stream.UNKNOWN),
    Reading.OUTPUT: (Stream.FIRST, Stream.DRAFTED_TOKEN, Stream.BONUS, Stream.UNKNOWN),
}
"""The streams that a reading is made of: every token once."""

SCOPES = ("everywhere", "first tokens", "drafted positions", "bonus tokens")
"""Where an alternative acts; all but the first name one of a reading's first three streams."""

SCOPE_WEIGHTS = (0.85, 0.05, 0.05, 0.05)
SHARE_WEIGHTS = (0.55, 0.15, 0.15, 0.15)
"""Of `SCOPES` and of `SHARES`; docs/decisions/0005 says why, and how little depends on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A fault that the evidence points to.

    Attributes:
        alternative: Index in `ALTERNATIVES`.
        scope: Where it acts; one of `SCOPES`.
        weight: Posterior weight: its part of the e-value, all shares together.
    """

    alternative: int
    scope: str
    weight: float

    @property
    def name(self) -> str:
        """The fault in words."""
        return ALTERNATIVES[self.alternative].name


@functools.cache
def prior() -> Float[np.ndarray, "scopes alternatives shares"]:
    """Weights of the mixture; they add up to 1.

    Within a scope every kind of fault has the same weight, spread evenly over its strengths: which
    fault an unknown engine has is what nobody knows, and the cost of a kind too many is the
    logarithm of how many there are.
    """
    acts_everywhere = np.array([a.streams == EVERYWHERE for a in ALTERNATIVES])
    all_kinds = _evenly(np.ones(len(ALTERNATIVES), bool))
    one_stream = _evenly(acts_everywhere)
    by_scope = np.stack([all_kinds, one_stream, one_stream, one_stream])
    scopes, shares = np.array(SCOPE_WEIGHTS), np.array(SHARE_WEIGHTS)
    weights: np.ndarray = scopes[:, None, None] * by_scope[:, :, None] * shares
    return weights


def components(
    evidence: Evidence, reading: Reading
) -> Float[np.ndarray, "scopes alternatives shares"]:
    """Log w + S of every component: how much it adds to the e-value, in nats.

    An alternative in one stream does not explain an impossible token of another.
    """
    streams = [STREAMS.index(stream) for stream in READ[reading]]
    sums, impossible = evidence.log_ratios[streams], evidence.impossible[streams]
    elsewhere = math.log(LEAST) * (impossible.sum() - impossible[:3])
    by_scope = np.concatenate(
        [sums.sum(axis=0, keepdims=True), sums[:3] + elsewhere[:, None, None]]
    )
    with np.errstate(divide="ignore"):
        weighted: np.ndarray = np.log(prior()) + by_scope
    return weighted


def log_e_value(evidence: Evidence, reading: Reading = Reading.DECLARED) -> float:
    """The logarithm of the e-value, in nats; infinite after a token of probability 0.

    Example:
        >>> round(log_e_value(Evidence.none()), 9) + 0.0
        0.0
    """
    if any(evidence.impossible[STREAMS.index(stream)] for stream in READ[reading]):
        return float("inf")
    return float(logsumexp(components(evidence, reading)))


def pointers(evidence: Evidence, reading: Reading, count: int = 3) -> tuple[Pointer, ...]:
    """The faults with the largest posterior weights, largest first.

    A hint at the kind of fault, not a test of its own.
    """
    parts = components(evidence, reading)
    weights = np.exp(parts - logsumexp(parts)).sum(axis=2)
    best = np.argsort(weights, axis=None)[::-1][:count]
    return tuple(
        Pointer(
            alternative=int(alternative),
            scope=SCOPES[scope],
            weight=float(weights[scope, alternative]),
        )
        for scope, alternative in zip(*np.unravel_index(best, weights.shape), strict=True)
    )


def power_thresholds(alpha: float, alternative: int) -> Float[np.ndarray, " shares"]:
    """What a component must reach alone for the test to reject: log(1/α) + log(1/w), by share."""
    return np.asarray(-np.log(alpha) - np.log(prior()[0, alternative]))


def _evenly(chosen: np.ndarray) -> np.ndarray:
    """Equal weights for the kinds that are chosen, and within a kind for its strengths."""
    kinds = [
        a.kind if is_chosen else None for a, is_chosen in zip(ALTERNATIVES, chosen, strict=True)
    ]
    each = len(set(kinds) - {None})
    return np.array([0.0 if kind is None else 1 / each / kinds.count(kind) for kind in kinds])
