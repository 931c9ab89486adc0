"""Every alternative of the test: which faults, how strong, and where they act."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from draftproof.lossless.evidence.fault_laws import (
    Drafted,
    Form,
    at_temperature,
    corrected_from,
    drafts_law,
    drawn_at,
    dropped_draft,
    dropped_unseen,
    inverted_ratio,
    kept_always,
    leniency,
    one_coin,
    one_hot,
    read_from,
    reluctance,
    replaced,
    residual,
    reused_draw,
    softmax_residual,
    top_two_exchanged,
    unfiltered_acceptance,
    uniform,
)
from draftproof.lossless.evidence.observation import DeclaredRule, Stream
from draftproof.lossless.evidence.position import Joint, Outcomes, Position


class Kind(StrEnum):
    """Faults of one kind differ in strength only. The prior is spread over kinds."""

    NO_RESIDUAL = "correction drawn from p, not from the residual"
    INVERTED_RATIO = "kept with min(1, q/p)"
    REVERSED_RESIDUAL = "residual of the wrong sign"
    SOFTMAX_RESIDUAL = "softmax in place of normalising the residual"
    PARTIAL_RESIDUAL = "only the rejected token is removed from p"
    LENIENCY = "kept more easily than min(1, p/q)"
    DRAWN_OTHERWISE = "draft drawn at another temperature than scored"
    GREEDY_DRAFT = "greedy draft that coin and residual do not both take for one"
    RAW_DRAFT_SCORES = "draft scored before temperature and filters"
    MIXED_SCORES = "coin and residual of a sampled draft do not take the same q"
    RAW_DRAFT = "draft drawn before temperature and filters, and not scored so"
    FILTERS_ON_ONE_SIDE = "filters missing in acceptance or in correction"
    FIXED_CORRECTION = "correction not drawn: an argmax"
    LEAKING_CORRECTION = "correction drawn from another law"
    REUSED_DRAW = "one draw for the coin and the correction"
    ONE_COIN = "one coin for all tokens of a step"
    DROPPED_DRAFT = "draft tokens of low probability dropped after they were drawn"
    RELUCTANCE = "kept less often than declared, output right"
    OTHER_RULE = "kept as by another rule or draft, output right"
    DRAFTS_LAW = "the draft model's law in place of the target's"
    TEMPERED = "target at another temperature"
    ARGMAX = "target's argmax in place of a draw"
    UNFILTERED = "target without its filters"
    RAW = "target without temperature, filters and penalties"
    UNIFORM = "tokens that have nothing to do with p"
    PREVIOUS_ROW = "target's law one position earlier"
    EXCHANGED = "the target's two most probable tokens exchanged"


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
    return Alternative(kind=kind, law=law, strength=strength, streams=EVERYWHERE, rules=_ANY_RULE)


_TOLD_APART = {
    (Form.SOFT, Form.SOFT, Form.NOTHING): Kind.NO_RESIDUAL,
    (Form.SOFT, Form.SOFT, Form.POINT): Kind.PARTIAL_RESIDUAL,
    (Form.SOFT, Form.RAW, Form.RAW): Kind.RAW_DRAFT_SCORES,
}
"""Mixtures of forms that are kinds of their own; the others are one kind for each way to draw."""

_MIXED_KINDS = {
    Form.POINT: Kind.GREEDY_DRAFT,
    Form.SOFT: Kind.MIXED_SCORES,
    Form.RAW: Kind.RAW_DRAFT,
}


def _forms_of_q() -> tuple[Alternative, ...]:
    """Every way to draw a draft, to toss its coin and to take the residual.

    All but those that are lossless; those are alternatives to *how often* a token is kept.
    """
    made = []
    for forms in itertools.product(_MIXED_KINDS, _MIXED_KINDS, Form):
        drawn, coin, corrected = forms
        if forms == (Form.SOFT, Form.SOFT, Form.NOTHING):
            continue  # `Kind.NO_RESIDUAL` is that, and under every rule
        lossless = coin == corrected and (coin in (drawn, Form.POINT))
        rules = _ANY_RULE if drawn is Form.POINT else _ANY_RULE - {DeclaredRule.POINT_MASS}
        name = f"coin's q: {coin}, residual's: {corrected}"
        if lossless:
            kind, name = Kind.OTHER_RULE, f"drawn from {drawn}, {name}"
        elif forms in _TOLD_APART:
            kind, name = _TOLD_APART[forms], ""
        else:
            kind = _MIXED_KINDS[drawn]
        made.append(
            Alternative(
                kind=kind,
                strength=name,
                law=read_from(*forms),
                streams=_JOINT_ONLY if lossless else DRAFTED_STREAMS,
                rules=rules,
            )
        )
    return tuple(made)


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
    *(_drafted(Kind.LENIENCY, leniency(c), f"q × {c:g}") for c in (0.9, 0.7, 0.4)),
    Alternative(
        kind=Kind.LENIENCY,
        strength="always kept",
        law=kept_always,
        rules=frozenset({DeclaredRule.MATCH}),
    ),
    *(_drafted(Kind.DRAWN_OTHERWISE, drawn_at(t), f"× {t:g}") for t in (0.5, 0.7, 0.9, 1.2)),
    *_forms_of_q(),
    _drafted(Kind.FILTERS_ON_ONE_SIDE, unfiltered_acceptance, "acceptance"),
    _correction(Kind.FILTERS_ON_ONE_SIDE, lambda at, q: residual(at.unfiltered, q), "correction"),
    _correction(
        Kind.FIXED_CORRECTION, lambda at, q: one_hot(residual(at.p, q), at.size), "of the residual"
    ),
    _correction(Kind.FIXED_CORRECTION, lambda at, q: one_hot(at.p, at.size), "of the target"),
    _correction(Kind.LEAKING_CORRECTION, lambda at, q: uniform(at), "uniform"),
    _correction(Kind.LEAKING_CORRECTION, lambda at, q: drafts_law(at), "the draft model's"),
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
    _everywhere(Kind.EXCHANGED, top_two_exchanged),
)
"""Every alternative, in the order in which evidence is stored."""


def _index(kind: Kind, strength: str = "") -> int:
    return next(i for i, a in enumerate(ALTERNATIVES) if a.kind is kind and a.strength == strength)


DRAFTS_LAW = _index(Kind.DRAFTS_LAW)
"""Index of the alternative whose share is the contamination."""

STATED_FAULTS: tuple[int, ...] = (
    DRAFTS_LAW,
    _index(Kind.NO_RESIDUAL),
    _index(Kind.DRAWN_OTHERWISE, "× 0.9"),
    _index(Kind.RELUCTANCE, "× 0.9"),
)
"""Indices of the alternatives that power is stated for: one that changes the output much, two that
change it little, and one that changes only how often tokens are kept."""
