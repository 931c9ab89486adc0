"""One e-value from many: the prior over faults, and what the evidence says under it.

The mixture M = Σ w exp(S), over scopes and over alternatives and their shares (or tilts and their
scales), with weights fixed beforehand that add up to 1, is a supermartingale like each S's own
(`draftproof.lossless.evidence.process`), and loses at most log(1/w) nats against the best of them.
A *scope* says where a fault acts: everywhere at once, or in one stream only, since a fault that
lives in one would be diluted by the others.

Tokens can be *viewed* in pairs with whether they were kept, or alone. If the declared hypothesis is
true both mixtures have mean at most 1, so it is tested by their average: neither view hides what
the other sees. Rounding costs the pairs most, and what the acceptance rule does shows in pairs
only.

Source:
    An average of e-values is an e-value however they depend, and no symmetric way of merging them
    is essentially better: Vovk and Wang 2021 (arXiv 1912.06116), section 3.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

from draftproof.lossless.evidence.alternatives import ALTERNATIVES, EVERYWHERE
from draftproof.lossless.evidence.observation import STREAMS, Stream
from draftproof.lossless.evidence.process import LEAST, Evidence
from draftproof.lossless.evidence.tilts import BLOCKS, SCALES, log_mixtures


class View(StrEnum):
    """How the tokens at drafted positions are looked at."""

    PAIRS = "pairs"
    """With whether they were kept, where the law of that is known."""
    TOKENS = "tokens"
    """Alone."""


VIEWED: dict[View, tuple[Stream, ...]] = {
    View.PAIRS: (Stream.FIRST, Stream.DRAFTED, Stream.BONUS, Stream.UNKNOWN),
    View.TOKENS: (Stream.FIRST, Stream.DRAFTED_TOKEN, Stream.BONUS, Stream.UNKNOWN),
}
"""The streams that a view is made of: every token once."""


class Reading(StrEnum):
    """What is put to the test."""

    DECLARED = "declared"
    """Tokens follow the target's law and, where the engine tells, are kept as often as the declared
    rule says."""
    OUTPUT = "output"
    """Tokens follow the target's law. True wherever the declared one is."""


VIEWS: dict[Reading, tuple[View, ...]] = {
    Reading.DECLARED: (View.PAIRS, View.TOKENS),
    Reading.OUTPUT: (View.TOKENS,),
}
"""The views whose mixtures are averaged: all that have mean at most 1 if the reading is true."""

SCOPES = ("everywhere", "first tokens", "drafted positions", "bonus tokens")
"""Where an alternative acts; all but the first name one of a view's first three streams."""

SCOPE_WEIGHTS = (0.85, 0.05, 0.05, 0.05)
SHARE_WEIGHTS = (0.55, 0.15, 0.15, 0.15)
TILTS_WEIGHT = 0.2
"""Of `SCOPES`, of `SHARES`, and of all tilts together; docs/decisions/0005 says why, and how little
depends on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A fault that the evidence points to.

    Attributes:
        name: The fault in words.
        scope: Where it acts; one of `SCOPES`.
        weight: Posterior weight: its part of the e-value, all shares and views together.
    """

    name: str
    scope: str
    weight: float


class Components(NamedTuple):
    """Log w + S of every component of a reading's mixture: how much it adds, in nats.

    Attributes:
        named: ``[views, scopes, alternatives, shares]``
        tilts: ``[views, scopes, blocks, scales]``
    """

    named: Float[np.ndarray, "views scopes alternatives shares"]
    tilts: Float[np.ndarray, "views scopes blocks scales"]

    @property
    def total(self) -> float:
        """The logarithm of their sum."""
        return float(logsumexp([logsumexp(self.named), logsumexp(self.tilts)]))


@functools.cache
def prior() -> Float[np.ndarray, "scopes alternatives shares"]:
    """Weights of the named alternatives within a view; with `tilt_prior` they add up to 1.

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
    return (1 - TILTS_WEIGHT) * weights


@functools.cache
def tilt_prior() -> Float[np.ndarray, "scopes blocks scales"]:
    """Weights of the tilts within a view: even over blocks and scales."""
    each = TILTS_WEIGHT / len(BLOCKS) / len(SCALES)
    weights: np.ndarray = np.multiply.outer(
        np.array(SCOPE_WEIGHTS), np.full((len(BLOCKS), len(SCALES)), each)
    )
    return weights


def components(evidence: Evidence, reading: Reading) -> Components:
    """Every component of a reading's mixture, weighted.

    An alternative in one stream does not explain an impossible token of another, and no tilt of
    the null law explains any.
    """
    views = VIEWS[reading]
    rows = [[STREAMS.index(stream) for stream in VIEWED[view]] for view in views]
    impossible = math.log(LEAST) * _by_scope(evidence.impossible[rows])[..., None, None]
    elsewhere = impossible[:, :1] - impossible
    with np.errstate(divide="ignore"):
        named_prior, prior_of_tilts = np.log(prior()), np.log(tilt_prior())
    tilts = log_mixtures(
        *(_by_scope(sums[rows]) for sums in (evidence.scores, evidence.spreads, evidence.excess))
    )
    weight = -math.log(len(views))
    return Components(
        weight + named_prior + _by_scope(evidence.log_ratios[rows]) + elsewhere,
        weight + prior_of_tilts + tilts + impossible[:, :1],
    )


def log_e_value(evidence: Evidence, reading: Reading = Reading.DECLARED) -> float:
    """The logarithm of the e-value, in nats; infinite after a token of probability 0.

    Example:
        >>> round(log_e_value(Evidence.none()), 9) + 0.0
        0.0
    """
    if impossible_tokens(evidence, reading):
        return float("inf")
    return components(evidence, reading).total


def impossible_tokens(evidence: Evidence, reading: Reading) -> int:
    """Tokens whose probability is 0 if a reading is true, in the view that counts most of them."""
    return int(_impossible_by_view(evidence, reading).max())


def _impossible_by_view(evidence: Evidence, reading: Reading) -> Int[np.ndarray, " views"]:
    rows = [[STREAMS.index(stream) for stream in VIEWED[view]] for view in VIEWS[reading]]
    counts: np.ndarray = evidence.impossible[rows].sum(axis=1)
    return counts


def pointers(evidence: Evidence, reading: Reading, count: int = 3) -> tuple[Pointer, ...]:
    """The faults with the largest posterior weights, largest first.

    A hint at the kind of fault, not a test of its own. Where tokens are impossible, the view that
    shows most of them is read: its e-value is infinite, and the sums only compare alternatives.
    """
    impossible = _impossible_by_view(evidence, reading)
    read = impossible == impossible.max()
    parts = Components(*(logs[read] for logs in components(evidence, reading)))
    weights: dict[tuple[str, int], float] = defaultdict(float)
    for logs, names in (
        (parts.named, [alternative.name for alternative in ALTERNATIVES]),
        (parts.tilts, [f"no fault that has a name; it shows in: {b.name}" for b in BLOCKS]),
    ):
        found = np.exp(logs - parts.total).sum(axis=(0, 3))
        for scope, of_scope in enumerate(found):
            for name, weight in zip(names, of_scope, strict=True):
                weights[name, scope] += float(weight)
    best = sorted(weights.items(), key=lambda item: -item[1])[:count]
    return tuple(
        Pointer(name=name, scope=SCOPES[scope], weight=weight) for (name, scope), weight in best
    )


def power_thresholds(alpha: float, alternative: int) -> Float[np.ndarray, " shares"]:
    """What a component of the declared reading must reach alone for the test to reject, by share.

    log(1/α) + log(1/w), with w its weight in the average of both views.
    """
    weights = prior()[0, alternative] / len(VIEWS[Reading.DECLARED])
    return np.asarray(-np.log(alpha) - np.log(weights))


def _by_scope(sums: np.ndarray) -> np.ndarray:
    """From ``[views, streams, ...]`` to ``[views, scopes, ...]``: all streams, or one of three."""
    return np.concatenate([sums.sum(axis=1, keepdims=True), sums[:, :3]], axis=1)


def _evenly(chosen: np.ndarray) -> np.ndarray:
    """Equal weights for the kinds that are chosen, and within a kind for its strengths."""
    kinds = [
        a.kind if is_chosen else None for a, is_chosen in zip(ALTERNATIVES, chosen, strict=True)
    ]
    each = len(set(kinds) - {None})
    return np.array([0.0 if kind is None else 1 / each / kinds.count(kind) for kind in kinds])
