"""The laws at one position, over the outcomes that the test tells apart, and their null law."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

import numpy as np
from jaxtyping import Float

from draftproof.lossless.evidence.observation import (
    DeclaredRule,
    FilterEdge,
    Law,
    Observation,
    Tokens,
)

Outcomes = Float[np.ndarray, " outcomes"]
"""One number an outcome: a token, or all rare tokens together, which come last."""

RARE = 1e-6
"""Tokens that every law at a position gives less than this are one outcome, in large vocabularies.
"""

ALL_TOLD_APART = 256
"""Vocabularies up to this size are never merged: there is nothing to save."""

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
        q: The law that a drafted token is drawn from; None where it is not known. Where the drafted
            tokens are known it is p given that the token is one of them, since rejection of a draw
            from that is the point-mass rule.
        soft_q: The draft model's law, whatever is drawn from it; None where it is not known.
        unfiltered: p before its filters; p where there are none.
        raw: The target's softmax; p where p is that.
        raw_q: The draft model's softmax; q where q is that.
        previous: p one position earlier; p where there is none.
        coin: See `Observation.coin`.
        size: How many tokens an outcome stands for: 1, and at the end perhaps more.
        rule: What the engine is said to do here.
        proposed: ``[outcomes]`` which tokens are drafted here; None where that is not known.
        null: The law of (kept?, token) under `rule`; None where only the token's is known.
        ceiling: What ratios of (kept?, token) are divided by: at least `null`, and more where
            rounding may have made `null` too small; see `locate`.
        judged: ``[outcomes]`` which outcomes of the token are judged: all but those that pass a
            filter only if rounding favours them.
        judged_pairs: The same of (kept?, token), which q's filters have a say in, too.
    """

    p: Outcomes
    q: Outcomes | None
    soft_q: Outcomes | None
    unfiltered: Outcomes
    raw: Outcomes
    raw_q: Outcomes | None
    previous: Outcomes
    coin: float
    size: Outcomes
    rule: DeclaredRule
    proposed: np.ndarray | None
    null: Joint | None
    ceiling: Joint | None
    judged: np.ndarray
    judged_pairs: np.ndarray

    def judges(self, kept: bool | None) -> np.ndarray:
        """``[outcomes]`` which tokens are judged: alone, or with what was told of kept."""
        return self.judged if kept is None or self.ceiling is None else self.judged_pairs

    def lift(self, target: Outcomes) -> Joint:
        """What (kept?, token) would follow if `target` were used throughout instead of p."""
        if self.proposed is not None:
            return Joint(np.where(self.proposed, target, 0.0), np.where(self.proposed, 0.0, target))
        return joint_law(target, self.q, self.rule)


class Located(NamedTuple):
    """A position, and which outcome was observed there.

    Attributes:
        position: The laws.
        outcome: Index of the observed outcome.
        probability: Of the token itself under p; the outcome's is larger if it is merged.
        contested: Whether the token itself passes p's filters only if rounding favours it.
    """

    position: Position
    outcome: int
    probability: float
    contested: bool


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
        tolerance: t, how far the log of a probability may be off by rounding. Ratios are divided by
            the smallest c such that no law within exp(± t) of the scored ones exceeds c exp(t), so
            that rounding adds at most t nats to a token's evidence. A residual of nearly equal p
            and q is mostly rounding: there c is p − q exp(−2t). Where rounding decides which tokens
            pass a filter, the mass that passes may be off by more, and with it p and q: c is larger
            accordingly, and the tokens in question are not judged (`Position.judged`).
        rare: Below this, tokens are merged; see `Position`.
    """
    observation.check()
    laws = observation.laws
    proposals = observation.proposals or ()
    if rule is DeclaredRule.POINT_MASS and not proposals:
        rule = DeclaredRule.OTHER
    merge = Merging(laws, proposals, rare)
    p = merge(observation.target)
    soft_q = None if observation.draft is None else merge(observation.draft)
    q, proposed, shared = soft_q, None, None
    if rule is DeclaredRule.POINT_MASS:
        proposed = np.zeros(len(p), bool)
        proposed[[merge.outcome(token) for token in proposals]] = True
        q = _restricted(p, proposed)
    elif observation.draft is not None:
        shared = merge.rare_kept(observation.target, observation.draft, rule)
    edges = observation.target_edge, observation.draft_edge
    null, ceiling = _null(p, q, rule, proposed, shared, _Slack.of(*edges, tolerance))
    judged, judged_of_q = (~merge.contested(edge) for edge in edges)
    position = Position(
        p=p,
        q=q,
        soft_q=soft_q,
        unfiltered=merge(laws.get("unfiltered_target"), p),
        raw=merge(laws.get("raw_target"), p),
        raw_q=None if soft_q is None else merge(laws.get("raw_draft"), soft_q),
        previous=merge(laws.get("previous_target"), p),
        coin=observation.coin,
        size=merge.size,
        rule=rule,
        proposed=proposed,
        null=null,
        ceiling=ceiling,
        judged=judged,
        judged_pairs=judged if proposed is not None else judged & judged_of_q,
    )
    token = observation.token
    if not 0 <= token < len(observation.target):
        return Located(position, 0, 0.0, contested=False)
    return Located(
        position,
        merge.outcome(token),
        float(observation.target[token]),
        contested=edges[0] is not None and bool(edges[0].contested[token]),
    )


def denominator(at: Position, kept: bool | None) -> Outcomes:
    """n: the null law of a token, or of (kept, token) with what was told of kept.

    Of a pair it is the null law's ceiling, `Position.ceiling`: dividing by more than the null law
    can only make ratios smaller. Both are given that the outcome is judged, and 0 where it is not.
    """
    if kept is None or at.ceiling is None:
        null = at.p
    else:
        null = at.ceiling.accepted if kept else at.ceiling.rejected
    judged = at.judges(kept)
    if judged.all():
        return null
    total = float(at.p.sum(where=judged))
    given: Outcomes = np.where(judged, null, 0.0) / (total if total > 0 else 1.0)
    return given


class _Slack(NamedTuple):
    """The least and the largest factors by which rounding may change what is kept.

    Attributes:
        ratio: Those of q/p. The largest is of the masses that pass the filters alone: what rounding
            does to min(p, q) itself is within exp(± t).
        draft: Those of q.
    """

    ratio: tuple[float, float]
    draft: tuple[float, float]

    @classmethod
    def of(cls, target: FilterEdge | None, draft: FilterEdge | None, tolerance: float) -> _Slack:
        """From the masses that pass the filters of p and of q, and t."""
        p_least, p_most = (1.0, 1.0) if target is None else (target.least, target.most)
        q_least, q_most = (1.0, 1.0) if draft is None else (draft.least, draft.most)
        up = math.exp(tolerance)
        return cls((p_least / q_most / up**2, p_most / q_least), (1 / q_most / up, up / q_least))


def _null(
    p: Outcomes,
    q: Outcomes | None,
    rule: DeclaredRule,
    proposed: np.ndarray | None,
    rare_kept: float | None,
    slack: _Slack,
) -> tuple[Joint | None, Joint | None]:
    """The null law and its ceiling, both right for the merged outcome too.

    What is kept of a merged outcome is a sum over its tokens, `rare_kept`, and not min(p, q) of the
    sums. Its ceiling is bounded by (a − b s)₊ ≤ (a − b)₊ + b (1 − s), with s ≤ 1.
    """
    if q is None or rule is DeclaredRule.OTHER:
        return None, None
    if proposed is not None:
        # Whether a token was kept follows from the token: no difference of two laws is taken.
        null = Joint(np.where(proposed, p, 0.0), np.where(proposed, 0.0, p))
        return null, null
    null = joint_law(p, q, rule)
    if rare_kept is not None:
        null.accepted[-1] = min(rare_kept, p[-1])
        null.rejected[-1] = p[-1] - null.accepted[-1]
    if rule is DeclaredRule.MATCH:
        down, up = slack.draft
        kept, rejected = p * np.minimum(1, q * up), p * (1 - q * down)
        if rare_kept is not None:
            kept[-1] = null.accepted[-1] * up
            rejected[-1] = p[-1] - null.accepted[-1] * down
        return null, Joint(kept, rejected)
    down, up = slack.ratio
    kept, rejected = np.minimum(p, q * up), np.maximum(p - q * down, 0)
    if rare_kept is not None:
        kept[-1] = min(null.accepted[-1] * up, p[-1])
        rejected[-1] = null.rejected[-1] + q[-1] * (1 - down)
    return null, Joint(np.maximum(kept, null.accepted), np.maximum(rejected, null.rejected))


class Merging:
    """Puts the tokens that are rare under every law into one outcome, the last.

    Args:
        laws: All laws at the position.
        proposals: Tokens that are told apart, however rare.
        rare: What is rare.
    """

    def __init__(self, laws: Mapping[str, Law], proposals: Sequence[int], rare: float) -> None:
        size = len(laws["target"])
        self._kept: np.ndarray | None = None
        self.size: Outcomes = np.ones(size)
        if size <= ALL_TOLD_APART or rare == 0:
            return
        often = np.zeros(size, bool)
        for law in laws.values():
            often |= law >= rare
        often[list(proposals)] = True
        self._kept = np.flatnonzero(often)
        self.size = np.append(np.ones(len(self._kept)), max(1, size - len(self._kept)))

    @overload
    def __call__(self, law: Law) -> Outcomes: ...

    @overload
    def __call__(self, law: Law | None, absent: Outcomes) -> Outcomes: ...

    def __call__(self, law: Law | None, absent: Outcomes | None = None) -> Outcomes:
        """The law over outcomes; another one where it is not known."""
        if law is None:
            assert absent is not None
            return absent
        total = law.sum(dtype=np.float64)
        if self._kept is None:
            scaled: Outcomes = law / total
            return scaled
        told = law[self._kept] / total
        merged: Outcomes = np.append(told, max(0.0, 1 - told.sum(dtype=np.float64)))
        return merged

    def rare_kept(self, p: Law, q: Law, rule: DeclaredRule) -> float | None:
        """The null law's mass on keeping one of the merged tokens; None where none is merged."""
        if self._kept is None:
            return None
        p_total, q_total = p.sum(dtype=np.float64), q.sum(dtype=np.float64)
        kept = joint_law(p, q * (p_total / q_total), rule).accepted
        scale = p_total**2 if rule is DeclaredRule.MATCH else p_total
        return max(0.0, float((kept.sum() - kept[self._kept].sum()) / scale))

    def contested(self, edge: FilterEdge | None) -> Tokens:
        """Which outcomes hold a contested token."""
        if edge is None:
            return np.zeros(len(self.size), bool)
        if self._kept is None:
            return edge.contested
        told = edge.contested[self._kept]
        return np.append(told, edge.contested.sum() > told.sum())

    def outcome(self, token: int) -> int:
        """Where a token is counted."""
        if self._kept is None:
            return token
        index = int(self._kept.searchsorted(token))
        is_told = index < len(self._kept) and self._kept[index] == token
        return index if is_told else len(self._kept)


def _restricted(p: Outcomes, proposed: np.ndarray) -> Outcomes:
    """P given that the token is proposed; even over the proposals where p gives them nothing."""
    q = np.where(proposed, p, 0.0)
    if q.sum() == 0:
        q = proposed.astype(float)
    scaled: Outcomes = q / q.sum()
    return scaled
