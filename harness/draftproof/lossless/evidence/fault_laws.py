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


def greedy_draft(at: Position, q: Outcomes) -> Joint:
    """The draft token is q's argmax; ratio and residual are those of a draw from q."""
    return rejection(one_hot(q, at.size), ratio(at.p, q), residual(at.p, q))


def raw_draft_scores(at: Position, q: Outcomes) -> Joint:
    """The draft token is drawn from q, and scored by the draft model's raw softmax."""
    scored = q if at.raw_q is None else at.raw_q
    return rejection(q, ratio(at.p, scored), residual(at.p, scored))


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
    """P at another temperature, relative to the run's."""
    return lambda at: tempered(at.p, at.size, temperature)


def uniform(at: Position) -> Outcomes:
    """Every token alike."""
    return normalised(at.size, at.p)


def drafts_law(at: Position) -> Outcomes:
    """Q, and p where q is not known."""
    return at.p if at.q is None else at.q
