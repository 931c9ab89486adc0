"""The exact one-step law that each named fault of speculative decoding induces.

Write p for the target's law and q for the law that a draft token x is drawn from. Rejection keeps x
with probability min(1, p(x)/q(x)) and else draws from the residual norm((p − q)₊), so that

    kept and y          min(p, q)(y)
    rejected and y      (p − q)₊(y)              together p(y).

A fault changes a line of that procedure, and with it these two rows. Each function below gives the
rows of one fault; all of them are probability laws on {kept, rejected} × tokens whatever p and q are,
which is all that the test's validity rests on. That they are the *right* laws is what its power
rests on; tests compare each with an enumeration of the faulty procedure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from harness.lossless.evidence.observation import DeclaredRule, Stream
from harness.lossless.evidence.position import Joint, Outcomes, Position

Drafted = Callable[[Position, Outcomes], Joint]
"""From a position and its q to the law of (kept?, token)."""


class Kind(StrEnum):
    """Faults of one kind differ in strength only. The prior is spread over kinds."""

    NO_RESIDUAL = "correction drawn from p, not from the residual"
    INVERTED_RATIO = "kept with min(1, q/p)"
    REVERSED_RESIDUAL = "residual of the wrong sign"
    SOFTMAX_RESIDUAL = "softmax in place of normalising the residual"
    PARTIAL_RESIDUAL = "only the rejected token is removed from p"
    LENIENCY = "kept more easily than min(1, p/q)"
    DRAWN_OTHERWISE = "draft drawn at another temperature than scored"
    GREEDY_DRAFT = "greedy draft verified as sampled"
    RAW_DRAFT_SCORES = "draft scored before temperature and filters"
    FILTERS_ON_ONE_SIDE = "filters missing in acceptance or in correction"
    FIXED_CORRECTION = "correction not drawn: an argmax"
    LEAKING_CORRECTION = "correction drawn from another law"
    REUSED_DRAW = "one draw for the coin and the correction"
    ONE_COIN = "one coin for all tokens of a step"
    DROPPED_DRAFT = "draft tokens of low probability dropped after they were drawn"
    RELUCTANCE = "kept less often than declared, output right"
    DRAFTS_LAW = "the draft model's law in place of the target's"
    TEMPERED = "target at another temperature"
    ARGMAX = "target's argmax in place of a draw"
    UNFILTERED = "target without its filters"
    RAW = "target without temperature, filters and penalties"
    UNIFORM = "tokens that have nothing to do with p"
    PREVIOUS_ROW = "target's law one position earlier"


DRAFTED_STREAMS = frozenset({Stream.DRAFTED, Stream.DRAFTED_TOKEN, Stream.UNKNOWN})
EVERYWHERE = frozenset(Stream)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """A fault of one strength.

    Attributes:
        kind: What goes wrong.
        strength: How much, where the kind has strengths; else empty.
        law: The law of (kept?, token) that it induces.
        streams: Where it changes anything.
        rules: The rules at whose drafted positions the law is meant.
    """

    kind: Kind
    law: Drafted
    strength: str = ""
    streams: frozenset[Stream] = DRAFTED_STREAMS
    rules: frozenset[DeclaredRule] = frozenset(
        {DeclaredRule.REJECTION, DeclaredRule.POINT_MASS, DeclaredRule.OTHER}
    )

    @property
    def name(self) -> str:
        """Kind and strength."""
        return f"{self.kind} ({self.strength})" if self.strength else str(self.kind)

    def joint(self, at: Position) -> Joint:
        """The law of (kept?, token) under this fault.

        The null law where the fault cannot be told from it: without q, or at drafted positions of
        another rule.
        """
        everywhere = self.streams == EVERYWHERE
        if not everywhere and (at.q is None or at.rule not in self.rules):
            return at.lift(at.p)
        return self.law(at, at.p if at.q is None else at.q)


# Parts ----------------------------------------------------------------------------------------


def normalised(weights: Outcomes, otherwise: Outcomes) -> Outcomes:
    """The weights as a law; another one where they are all 0."""
    total = weights.sum()
    return weights / total if total > 0 else otherwise


def residual(p: Outcomes, q: Outcomes) -> Outcomes:
    """norm((p − q)₊), and p where nothing is left: as `harness.acceptance` has it."""
    return normalised(np.maximum(p - q, 0), p)


def ratio(p: Outcomes, q: Outcomes | float) -> Outcomes:
    """min(1, p/q), and 1 where q is 0."""
    return np.divide(p, q, out=np.ones_like(p), where=p < q)


def tempered(law: Outcomes, size: Outcomes, temperature: float) -> Outcomes:
    """A law at another temperature, relative to its own."""
    with np.errstate(divide="ignore"):
        logits = np.log(law / size) / temperature
    return normalised(size * np.exp(logits - logits.max()), law)


def one_hot(law: Outcomes, size: Outcomes) -> Outcomes:
    """All on the argmax, the first one where several are equal."""
    certain = np.zeros_like(law)
    certain[np.argmax(law / size)] = 1
    return certain


def rejection(
    drawn: Outcomes, keep: Outcomes, correction: Outcomes
) -> Joint:
    """Draw from `drawn`, keep with probability `keep`, else draw from `correction`."""
    accepted = drawn * keep
    return Joint(accepted, max(0.0, 1 - accepted.sum()) * correction)


# Faults of the correction -----------------------------------------------------------------------


def corrected_from(correction: Callable[[Position, Outcomes], Outcomes]) -> Drafted:
    """Acceptance as it should be, and the correction from another law."""

    def law(at: Position, q: Outcomes) -> Joint:
        kept = at.lift(at.p).accepted
        return Joint(kept, max(0.0, 1 - kept.sum()) * correction(at, q))

    return law


def softmax_residual(at: Position, q: Outcomes) -> Outcomes:
    """softmax((p − q)₊), which is nearly uniform over a large vocabulary."""
    left = np.maximum(at.p - q, 0) / at.size
    return normalised(at.size * np.exp(left), at.p)


def partial_residual(at: Position, q: Outcomes) -> Joint:
    """A rejected x leaves p without x: Σₓ (q − p)₊(x) p(y) [y ≠ x] / (1 − p(x))."""
    p = at.p
    rejected = np.maximum(q - p, 0)
    share = np.divide(rejected, 1 - p, out=np.zeros_like(p), where=rejected > 0)
    return Joint(np.minimum(p, q), p * np.maximum(share.sum() - share, 0))


def reused_draw(at: Position, q: Outcomes) -> Joint:
    """The u ≥ h(x) that rejects x picks the correction too, by the residual's inverse CDF F⁻¹(u).

    With h = min(1, p/q), a rejected token has u in (F(y − 1), F(y)] and above h(x), so that
    rejected and y has probability H(F(y)) − H(F(y − 1)), H(t) = Σₓ q(x) (t − h(x))₊.
    """
    keep = ratio(at.p, q)
    order = np.argsort(keep)
    below = np.concatenate([[0.0], np.cumsum(q[order])])
    weighted = np.concatenate([[0.0], np.cumsum((q * keep)[order])])
    edges = np.concatenate([[0.0], np.cumsum(residual(at.p, q))])
    edges[-1] = 1
    count = np.searchsorted(keep[order], edges)
    rejected = np.maximum(np.diff(edges * below[count] - weighted[count]), 0)
    return rejection(q, keep, normalised(rejected, at.p))


# Faults of the draft and of acceptance ----------------------------------------------------------


def inverted_ratio(at: Position, q: Outcomes) -> Joint:
    return rejection(q, ratio(q, at.p), residual(at.p, q))


def leniency(factor: float) -> Drafted:
    """q is multiplied by a factor below 1 before the ratio is taken."""

    def law(at: Position, q: Outcomes) -> Joint:
        return rejection(q, ratio(at.p, factor * q), residual(at.p, q))

    return law


def drawn_at(temperature: float) -> Drafted:
    """The draft token is drawn at another temperature than q says."""

    def law(at: Position, q: Outcomes) -> Joint:
        drawn = tempered(q, at.size, temperature)
        return rejection(drawn, ratio(at.p, q), residual(at.p, q))

    return law


def greedy_draft(at: Position, q: Outcomes) -> Joint:
    return rejection(one_hot(q, at.size), ratio(at.p, q), residual(at.p, q))


def raw_draft_scores(at: Position, q: Outcomes) -> Joint:
    """The draft token is drawn from q, and scored by the draft model's raw softmax."""
    scored = q if at.raw_q is None else at.raw_q
    return rejection(q, ratio(at.p, scored), residual(at.p, scored))


def unfiltered_acceptance(at: Position, q: Outcomes) -> Joint:
    return rejection(q, ratio(at.unfiltered, q), residual(at.p, q))


def one_coin(at: Position, q: Outcomes) -> Joint:
    """The same u for every token of a step: it kept the earlier ones, so it is uniform below
    `coin`, and keeps x with probability min(1, h(x) / coin).
    """
    return rejection(q, ratio(ratio(at.p, q), at.coin), residual(at.p, q))


def dropped_draft(threshold: float) -> Drafted:
    """A draft token with q(x) below a threshold is thrown away, so those that are verified have
    the law q given that it is not.
    """

    def law(at: Position, q: Outcomes) -> Joint:
        drawn = normalised(np.where(q >= threshold, q, 0), q)
        return rejection(drawn, ratio(at.p, q), residual(at.p, q))

    return law


def dropped_unseen(threshold: float) -> Drafted:
    """The same where it does not show which tokens were verified: after a dropped one, p."""

    def law(at: Position, q: Outcomes) -> Joint:
        verified = dropped_draft(threshold)(at, q)
        share = float(q.sum(where=q >= threshold))
        return Joint(share * verified.accepted, share * verified.rejected + (1 - share) * at.p)

    return law


def reluctance(factor: float) -> Drafted:
    """Kept with `factor` times the right probability, and p restored by the correction."""

    def law(at: Position, q: Outcomes) -> Joint:
        kept = factor * at.lift(at.p).accepted
        return Joint(kept, at.p - kept)

    return law


def kept_always(at: Position, q: Outcomes) -> Joint:
    return Joint(q, np.zeros_like(q))


def kept_by_match(at: Position, q: Outcomes) -> Joint:
    """The declared rule is rejection, and tokens are kept where the target draws the same."""
    return Joint(at.p * q, at.p * (1 - q))


# Another law in place of p ------------------------------------------------------------------------


def replaced(target: Callable[[Position], Outcomes]) -> Drafted:
    """Another law is used throughout in place of p, wherever the token comes from."""

    def law(at: Position, q: Outcomes) -> Joint:
        return at.lift(target(at))

    return law


def at_temperature(temperature: float) -> Callable[[Position], Outcomes]:
    return lambda at: tempered(at.p, at.size, temperature)


def uniform(at: Position) -> Outcomes:
    return at.size / at.size.sum()


def drafts_law(at: Position) -> Outcomes:
    return at.p if at.q is None else at.q


# The table ----------------------------------------------------------------------------------------

_JOINT_ONLY = frozenset({Stream.DRAFTED})
_ANY_RULE = frozenset(DeclaredRule)


def _correction(
    kind: Kind, correction: Callable[[Position, Outcomes], Outcomes], strength: str = ""
) -> Alternative:
    law = corrected_from(correction)
    return Alternative(kind=kind, law=law, strength=strength, rules=_ANY_RULE)


def _drafted(kind: Kind, law: Drafted, strength: str = "") -> Alternative:
    return Alternative(kind=kind, law=law, strength=strength)


def _everywhere(
    kind: Kind, target: Callable[[Position], Outcomes], strength: str = ""
) -> Alternative:
    law = replaced(target)
    return Alternative(
        kind=kind, law=law, strength=strength, streams=EVERYWHERE, rules=_ANY_RULE
    )


def _dropped(threshold: float) -> tuple[Alternative, Alternative]:
    """Below a threshold, where it shows which tokens were verified and where it does not."""
    kind, strength = Kind.DROPPED_DRAFT, f"below {threshold:g}"
    seen = frozenset({Stream.DRAFTED, Stream.DRAFTED_TOKEN})
    unseen = frozenset({Stream.UNKNOWN})
    return (
        Alternative(kind=kind, strength=strength, law=dropped_draft(threshold), streams=seen),
        Alternative(
            kind=kind,
            strength=f"{strength}, unseen",
            law=dropped_unseen(threshold),
            streams=unseen,
        ),
    )


ALTERNATIVES: tuple[Alternative, ...] = (
    _correction(Kind.NO_RESIDUAL, lambda at, q: at.p),
    _drafted(Kind.INVERTED_RATIO, inverted_ratio),
    _correction(Kind.REVERSED_RESIDUAL, lambda at, q: residual(q, at.p)),
    _correction(Kind.SOFTMAX_RESIDUAL, softmax_residual),
    _drafted(Kind.PARTIAL_RESIDUAL, partial_residual),
    *(_drafted(Kind.LENIENCY, leniency(c), f"q × {c:g}") for c in (0.9, 0.7, 0.4)),
    Alternative(
        kind=Kind.LENIENCY,
        strength="always kept",
        law=kept_always,
        rules=frozenset({DeclaredRule.MATCH}),
    ),
    *(_drafted(Kind.DRAWN_OTHERWISE, drawn_at(t), f"× {t:g}") for t in (0.5, 0.7, 0.9, 1.2)),
    _drafted(Kind.GREEDY_DRAFT, greedy_draft),
    _drafted(Kind.RAW_DRAFT_SCORES, raw_draft_scores),
    _drafted(Kind.FILTERS_ON_ONE_SIDE, unfiltered_acceptance, "acceptance"),
    _correction(
        Kind.FILTERS_ON_ONE_SIDE, lambda at, q: residual(at.unfiltered, q), "correction"
    ),
    _correction(
        Kind.FIXED_CORRECTION, lambda at, q: one_hot(residual(at.p, q), at.size), "of the residual"
    ),
    _correction(Kind.FIXED_CORRECTION, lambda at, q: one_hot(at.p, at.size), "of the target"),
    _correction(Kind.LEAKING_CORRECTION, lambda at, q: uniform(at), "uniform"),
    _correction(Kind.LEAKING_CORRECTION, lambda at, q: q, "the draft model's"),
    _correction(Kind.LEAKING_CORRECTION, lambda at, q: at.raw, "the target's raw one"),
    _correction(Kind.LEAKING_CORRECTION, lambda at, q: at.previous, "one position earlier"),
    _drafted(Kind.REUSED_DRAW, reused_draw),
    _drafted(Kind.ONE_COIN, one_coin),
    *(alternative for threshold in (0.1, 0.3, 0.5) for alternative in _dropped(threshold)),
    *(
        Alternative(
            kind=Kind.RELUCTANCE,
            strength=f"× {factor:g}",
            law=reluctance(factor),
            streams=_JOINT_ONLY,
            rules=frozenset({DeclaredRule.REJECTION, DeclaredRule.MATCH}),
        )
        for factor in (0.9, 0.6, 0.1)
    ),
    Alternative(
        kind=Kind.RELUCTANCE,
        strength="by match",
        law=kept_by_match,
        streams=_JOINT_ONLY,
        rules=frozenset({DeclaredRule.REJECTION}),
    ),
    _everywhere(Kind.DRAFTS_LAW, drafts_law),
    *(
        _everywhere(Kind.TEMPERED, at_temperature(t), f"× {t:g}")
        for t in (0.5, 0.8, 0.9, 1.1, 1.25, 2)
    ),
    _everywhere(Kind.ARGMAX, lambda at: one_hot(at.p, at.size)),
    _everywhere(Kind.UNFILTERED, lambda at: at.unfiltered),
    _everywhere(Kind.RAW, lambda at: at.raw),
    _everywhere(Kind.UNIFORM, uniform),
    _everywhere(Kind.PREVIOUS_ROW, lambda at: at.previous),
)
"""Every alternative, in the order in which evidence is stored."""

DRAFTS_LAW = next(i for i, a in enumerate(ALTERNATIVES) if a.kind is Kind.DRAFTS_LAW)
"""Index of the alternative that power is stated for."""
