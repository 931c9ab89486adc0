"""The exact one-step law that each named fault of speculative decoding induces.

Write p for the target's law and q for the law that a draft token x is drawn from. Rejection keeps x
with probability min(1, p(x)/q(x)) and else draws from the residual norm((p − q)₊), so that

    kept and y          min(p, q)(y)
    rejected and y      (p − q)₊(y)         which together are p(y).

A fault changes a line of that procedure, and with it these two rows. Each function gives the rows
of one fault. All are probability laws on {kept, rejected} × tokens whatever p and q are, which is
all that the test's validity rests on. That they are the *right* laws is what its power rests on;
tests compare each with an enumeration of the faulty procedure.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np

from draftproof.lossless.evidence.position import Joint, Outcomes, Position

Drafted = Callable[[Position, Outcomes], Joint]
"""From a position and its q to the law of (kept?, token)."""


# Parts ----------------------------------------------------------------------------------------


def normalised(weights: Outcomes, otherwise: Outcomes) -> Outcomes:
    """The weights as a law; another one where they are all 0."""
    total = weights.sum()
    return weights / total if total > 0 else otherwise


def residual(p: Outcomes, q: Outcomes) -> Outcomes:
    """norm((p − q)₊), and p where nothing is left: as `draftproof.acceptance` has it."""
    return normalised(np.maximum(p - q, 0), p)


def ratio(p: Outcomes, q: Outcomes | float) -> Outcomes:
    """min(1, p/q), and 1 where q is 0."""
    below_1: Outcomes = np.divide(p, q, out=np.ones_like(p), where=p < q)
    return below_1


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


def rejection(drawn: Outcomes, keep: Outcomes, correction: Outcomes) -> Joint:
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


# One q in three places ---------------------------------------------------------------------------


class Form(StrEnum):
    """What is used as q: the three places of a procedure that read it must agree."""

    SOFT = "q"
    """The draft model's law, after the run's processors."""
    RAW = "raw q"
    """The draft model's softmax, nothing applied."""
    POINT = "1"
    """Certainty of the drafted token x: its q is 1. To draw from it is to take the argmax."""
    NOTHING = "0"
    """Nothing at all: the correction is drawn from p. No draft is drawn from it, and no coin."""


def read_from(drawn: Form, coin: Form, corrected: Form) -> Drafted:
    """The draft is drawn by one form of q, its coin uses another, and the residual a third.

    Where the drafted tokens are known, they are what was drawn. Where all three forms agree, and
    where the coin and the residual take q to be 1, the token follows p.
    """

    def law(at: Position, q: Outcomes) -> Joint:
        if at.soft_q is None:
            return at.lift(at.p)
        draws = q if at.proposed is not None else _form(at, drawn)
        kept = draws * _coin(at, coin)
        return Joint(kept, _correction(at, corrected, draws - kept))

    return law


def _form(at: Position, form: Form) -> Outcomes:
    assert at.soft_q is not None
    assert at.raw_q is not None
    if form is Form.POINT:
        return one_hot(at.soft_q, at.size)
    return at.raw_q if form is Form.RAW else at.soft_q


def _coin(at: Position, form: Form) -> Outcomes | float:
    """The probability of keeping a token: min(1, p/q); p where q is 1, for several tokens too."""
    if form is not Form.POINT:
        return ratio(at.p, _form(at, form))
    return at.p if at.proposed is None else float(at.p.sum(where=at.proposed))


def _correction(at: Position, form: Form, rejected: Outcomes) -> Outcomes:
    """The law of (rejected, token), from that of the rejected."""
    p = at.p
    total = float(rejected.sum())
    if form is Form.NOTHING:
        return total * p
    if form is not Form.POINT:
        return total * residual(p, _form(at, form))
    if at.proposed is not None:
        return total * normalised(np.where(at.proposed, 0.0, p), p)
    # A rejected x leaves p without x: Σₓ rejected(x) p(y) [y ≠ x] / (1 − p(x)); p if x is all of p.
    share = np.divide(rejected, 1 - p, out=np.zeros_like(p), where=p < 1)
    without_x: Outcomes = p * np.maximum(share.sum() - share, 0)
    return without_x + float(rejected.sum(where=p >= 1)) * p


# Faults of the draft and of acceptance ----------------------------------------------------------


def inverted_ratio(at: Position, q: Outcomes) -> Joint:
    """Kept with min(1, q/p); the residual is as it should be."""
    return rejection(q, ratio(q, at.p), residual(at.p, q))


def leniency(factor: float) -> Drafted:
    """Kept with min(1, p / (factor q))."""

    def law(at: Position, q: Outcomes) -> Joint:
        return rejection(q, ratio(at.p, factor * q), residual(at.p, q))

    return law


def drawn_at(temperature: float) -> Drafted:
    """The draft token is drawn at another temperature than q says."""

    def law(at: Position, q: Outcomes) -> Joint:
        drawn = tempered(q, at.size, temperature)
        return rejection(drawn, ratio(at.p, q), residual(at.p, q))

    return law


def unfiltered_acceptance(at: Position, q: Outcomes) -> Joint:
    """The ratio's p lacks its filters, the residual's does not."""
    return rejection(q, ratio(at.unfiltered, q), residual(at.p, q))


def one_coin(at: Position, q: Outcomes) -> Joint:
    """The same u for every token of a step.

    It kept the earlier ones, so it is uniform below `coin`, and keeps x with probability
    min(1, h(x) / coin).
    """
    return rejection(q, ratio(ratio(at.p, q), at.coin), residual(at.p, q))


def dropped_draft(threshold: float) -> Drafted:
    """Draft tokens with q(x) below a threshold are thrown away.

    Those that are verified have the law q given that it is not below.
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
    """Every draft token is kept."""
    return Joint(q, np.zeros_like(q))


# Another law in place of p ------------------------------------------------------------------------


def replaced(target: Callable[[Position], Outcomes]) -> Drafted:
    """Another law is used throughout in place of p, wherever the token comes from."""

    def law(at: Position, q: Outcomes) -> Joint:
        return at.lift(target(at))

    return law


def at_temperature(temperature: float) -> Callable[[Position], Outcomes]:
    """P at another temperature, relative to the run's."""
    return lambda at: tempered(at.p, at.size, temperature)


def uniform(at: Position) -> Outcomes:
    """Every token alike."""
    return normalised(at.size, at.p)


def drafts_law(at: Position) -> Outcomes:
    """The draft model's law, and p where it is not known."""
    return at.p if at.soft_q is None else at.soft_q


def top_two_exchanged(at: Position) -> Outcomes:
    """P with its two most probable tokens exchanged."""
    order = np.argsort(-(at.p / at.size), kind="stable")
    exchanged = at.p.copy()
    exchanged[order[:2]] = at.p[order[1::-1]]
    return exchanged
