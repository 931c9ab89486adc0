"""The laws at one position, over the outcomes that the test tells apart, and their null law."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from harness.lossless.evidence.observation import DeclaredRule, Law, Observation

Outcomes = Float[np.ndarray, " outcomes"]
"""One number an outcome: a token, or all rare tokens together, which come last."""

RARE = 1e-6
"""Tokens that every law at a position gives less than this are one outcome, in large vocabularies.
"""

ALL_TOLD_APART = 4096
"""Vocabularies up to this size are never merged."""

TOLERANCE = 1e-4
"""By default, how far a log-probability may be off by rounding before a residual is believed."""


class Joint(NamedTuple):
    """A law of (kept?, token) at a drafted position.

    Attributes:
        accepted: ``[outcomes]`` the probability that a drafted token is kept and is this one.
        rejected: ``[outcomes]`` the probability that it is not kept and this one is emitted.
    """

    accepted: Outcomes
    rejected: Outcomes

    @property
    def token(self) -> Outcomes:
        """The law of the token alone."""
        either: Outcomes = self.accepted + self.rejected
        return either


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The laws at one position; each ``[outcomes]``, and adding up to 1.

    Merging rare tokens is exact for the null law (the merged outcome has the sum of its tokens'
    probabilities) and an approximation for the alternatives, which remain laws. A ratio of two laws
    of a function of the outcome has mean 1 as well, so nothing is lost but a little power.

    Attributes:
        p: The target's law.
        q: The law that a drafted token is drawn from; None where it is not known.
        unfiltered: p before its filters; p where there are none.
        raw: The target's softmax; p where p is that.
        raw_q: The draft model's softmax; q where q is that.
        previous: p one position earlier; p where there is none.
        coin: See `Observation.coin`.
        size: How many tokens an outcome stands for: 1, and at the end perhaps more.
        rule: What the engine is said to do here.
        null: The law of (kept?, token) under `rule`; None where only the token's is known.
        ceiling: As `null.rejected`, or what it may be by rounding if that is more.
    """

    p: Outcomes
    q: Outcomes | None
    unfiltered: Outcomes
    raw: Outcomes
    raw_q: Outcomes | None
    previous: Outcomes
    coin: float
    size: Outcomes
    rule: DeclaredRule
    null: Joint | None
    ceiling: Outcomes | None

    def lift(self, target: Outcomes) -> Joint:
        """What (kept?, token) would follow if `target` were used throughout instead of p."""
        return joint_law(target, self.q, self.rule)


class Located(NamedTuple):
    """A position, and which outcome was observed there.

    Attributes:
        position: The laws.
        outcome: Index of the observed outcome.
        probability: Of the token itself under p; the outcome's is larger if it is merged.
        doubtful: The token has probability 0 by a filter, and is the most probable of those that
            the filter removes: rounding can let it pass.
        doubtful_draft: The same of its probability under q.
    """

    position: Position
    outcome: int
    probability: float
    doubtful: bool
    doubtful_draft: bool


def joint_law(p: Outcomes, q: Outcomes | None, rule: DeclaredRule) -> Joint:
    """The law of (kept?, token) at a drafted position, if tokens follow p.

    Args:
        p: The law of the token.
        q: The law that the drafted token is drawn from. Without one, nothing is kept.
        rule: `DeclaredRule.MATCH`, or else rejection.

    Source:
        Leviathan et al. 2023 (arXiv 2211.17192), appendix A.1, read before the two ways of emitting
        a token are added up.

    Example:
        >>> joint_law(np.array([0.5, 0.5]), np.array([0.75, 0.25]), DeclaredRule.REJECTION)
        Joint(accepted=array([0.5 , 0.25]), rejected=array([0.  , 0.25]))
    """
    if q is None:
        return Joint(np.zeros_like(p), p)
    kept = p * q if rule is DeclaredRule.MATCH else np.minimum(p, q)
    return Joint(kept, p - kept)


def locate(
    observation: Observation,
    rule: DeclaredRule,
    *,
    tolerance: float = TOLERANCE,
    rare: float = RARE,
) -> Located:
    """The laws of an observation in the form that the alternatives are written for.

    Args:
        observation: One emitted token.
        rule: What the engine does at drafted positions.
        tolerance: How far the log of a probability may be off by rounding. Where p and q are nearly
            equal, their difference is mostly rounding; the residual is then taken at its largest,
            p exp(tolerance) − q exp(−tolerance).
        rare: Below this, tokens are merged; see `Position`.
    """
    observation.check()
    laws = {name: _normalised(law) for name, law in observation.laws.items()}
    p = laws["target"]
    q = laws.get("draft")
    if rule is DeclaredRule.POINT_MASS and observation.proposals:
        q = _restricted(p, observation.proposals)
    elif rule is DeclaredRule.POINT_MASS:
        rule = DeclaredRule.OTHER
    null = ceiling = None
    if q is not None and rule is not DeclaredRule.OTHER:
        null = joint_law(p, q, rule)
        ceiling = null.rejected
        if rule is not DeclaredRule.MATCH:
            widest = p * math.exp(tolerance) - q * math.exp(-tolerance)
            ceiling = np.maximum(ceiling, widest)
    merge = _Merging(p, q, *laws.values(), rare=rare)
    position = Position(
        p=merge(p),
        q=None if q is None else merge(q),
        unfiltered=merge(laws.get("unfiltered_target", p)),
        raw=merge(laws.get("raw_target", p)),
        raw_q=None if q is None else merge(laws.get("raw_draft", q)),
        previous=merge(laws.get("previous_target", p)),
        coin=observation.coin,
        size=merge(np.ones_like(p)),
        rule=rule,
        null=None if null is None else Joint(merge(null.accepted), merge(null.rejected)),
        ceiling=None if ceiling is None else merge(ceiling),
    )
    token = observation.token
    if not 0 <= token < len(p):
        return Located(position, 0, 0.0, doubtful=False, doubtful_draft=False)
    return Located(
        position,
        merge.outcome(token),
        float(p[token]),
        doubtful=_slips_in(token, p, laws.get("unfiltered_target"), tolerance),
        doubtful_draft=_slips_in(token, laws.get("draft"), laws.get("raw_draft"), tolerance),
    )


class _Merging:
    """Puts the tokens that are rare under every law into one outcome, the last."""

    def __init__(self, p: Law, q: Law | None, *others: Law, rare: float) -> None:
        self._rare: np.ndarray | None = None
        if len(p) <= ALL_TOLD_APART:
            return
        is_rare = p < rare
        for law in (q, *others):
            if law is not None:
                is_rare &= law < rare
        if is_rare.any():
            self._rare = is_rare
            self._kept = np.flatnonzero(~is_rare)

    def __call__(self, law: Law) -> Outcomes:
        if self._rare is None:
            return law
        merged: Outcomes = np.append(law[self._kept], law.sum(where=self._rare))
        return merged

    def outcome(self, token: int) -> int:
        if self._rare is None:
            return token
        return len(self._kept) if self._rare[token] else int(self._kept.searchsorted(token))


def _normalised(law: Law) -> Law:
    weights = np.asarray(law, np.float64)
    scaled: Law = weights / weights.sum()
    return scaled


def _restricted(p: Law, proposals: tuple[int, ...]) -> Law:
    """P given that the token is proposed: rejection of a draw from it is the point-mass rule.

    min(p, q) is then p on the proposals and 0 elsewhere, and the residual is the rest of p. Where p
    gives the proposals nothing, all goes to the first of them.
    """
    q = np.zeros_like(p)
    q[list(proposals)] = p[list(proposals)]
    if q.sum() == 0:
        q[proposals[0]] = 1
    return _normalised(q)


def _slips_in(token: int, law: Law | None, unfiltered: Law | None, tolerance: float) -> bool:
    """Whether rounding could let a token pass that a filter removes: no removed one is likelier."""
    if law is None or unfiltered is None or law[token] > 0:
        return False
    likeliest = float(np.max(unfiltered, where=law == 0, initial=0.0))
    return float(unfiltered[token]) >= likeliest * math.exp(-tolerance) > 0
