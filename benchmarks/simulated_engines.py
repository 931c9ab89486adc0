"""Engines that speculate on tables, lossless and faulty, many runs at once.

Each is written as the procedure that an engine follows (draw, toss, correct), not as the law that
follows from it, and uses nothing of `draftproof.lossless.evidence`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ADVERSARIAL = Path(__file__).resolve().parent.parent / "fixtures/adversarial/distributions.json"
FIRST, DRAFTED, BONUS = 0, 1, 2


@dataclass(frozen=True)
class Tables:
    """The laws at every context, each ``[contexts, vocabulary]``."""

    p: np.ndarray
    q: np.ndarray
    unfiltered: np.ndarray | None = None
    raw: np.ndarray | None = None

    @property
    def contexts(self):
        return len(self.p)

    @property
    def vocabulary(self):
        return self.p.shape[1]

    def after(self, contexts, tokens):
        """The context that a token leads to."""
        return (contexts * 31 + tokens * 7 + 1) % self.contexts


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def random_tables(seed, vocabulary, contexts=64, temperature=1.0, top_k=None):
    """Target logits of spread 1.5, 2 or 2.5; the draft model's are these plus N(0, 1)."""
    generator = np.random.default_rng([seed, vocabulary])
    spread = generator.choice([1.5, 2.0, 2.5], (contexts, 1))
    target = generator.normal(0, 1, (contexts, vocabulary)) * spread
    draft = target + generator.normal(0, 1, target.shape)
    tempered = softmax(target / temperature)
    p, q = tempered, softmax(draft / temperature)
    if top_k:
        p, q = (filtered(law, top_k) for law in (p, q))
    return Tables(p=p, q=q, unfiltered=tempered, raw=softmax(target))


def filtered(law, top_k):
    kept = law >= np.sort(law, axis=-1)[:, -top_k, None]
    return np.where(kept, law, 0) / np.where(kept, law, 0).sum(axis=-1, keepdims=True)


def adversarial_tables():
    """The committed adversarial pairs, each rolled to make three contexts."""
    entries = json.loads(ADVERSARIAL.read_text(encoding="utf-8"))
    pairs = [(np.array(entry["p"]), np.array(entry["q"])) for entry in entries]
    rolled = [(np.roll(p, k), np.roll(q, k)) for p, q in pairs if len(p) == 3 for k in range(3)]
    p, q = (np.array(side) for side in zip(*rolled, strict=True))
    return Tables(
        p=p / p.sum(axis=1, keepdims=True), q=q / q.sum(axis=1, keepdims=True), unfiltered=p, raw=p
    )


class Sampler:
    """Draws from one law a context, for many runs at once."""

    def __init__(self, laws):
        cumulative = np.cumsum(laws, axis=1)
        cumulative /= cumulative[:, -1:]
        self._vocabulary = laws.shape[1]
        self._flat = (cumulative + np.arange(len(laws))[:, None]).ravel()
        self._last = laws.shape[1] - 1 - np.argmax(laws[:, ::-1] > 0, axis=1)

    def at(self, contexts, uniforms):
        """The inverse cumulative distribution function of each run's context."""
        index = np.searchsorted(self._flat, contexts + uniforms, side="right")
        return np.minimum(index - contexts * self._vocabulary, self._last[contexts])


def residual(p, q):
    left = np.maximum(p - q, 0)
    total = left.sum(axis=-1, keepdims=True)
    return np.where(total > 0, left / np.where(total > 0, total, 1), p)


def smaller_of_1(above, below):
    return np.minimum(1, np.divide(above, below, out=np.ones_like(above), where=below > 0))


class Corrections:
    """How the token after a rejection comes about."""

    def draw(self, generator, contexts, x, coin):
        """One token a run, given what was rejected and the coin that rejected it."""
        raise NotImplementedError

    def law(self, rejected, keep):
        """The law of (rejected, token), from that of the rejected ``[contexts, vocabulary]``."""
        raise NotImplementedError


class FromLaw(Corrections):
    """Drawn from one law a context."""

    def __init__(self, laws):
        self._laws, self._sampler = laws, Sampler(laws)

    def draw(self, generator, contexts, x, coin):
        return self._sampler.at(contexts, generator.random(len(contexts)))

    def law(self, rejected, keep):
        return rejected.sum(axis=1, keepdims=True) * self._laws


class WithoutRejected(Corrections):
    """Drawn from p again and again until it is not the rejected token."""

    def __init__(self, p):
        self._p, self._sampler = p, Sampler(p)

    def draw(self, generator, contexts, x, coin):
        found = self._sampler.at(contexts, generator.random(len(contexts)))
        while (same := np.flatnonzero(found == x)).size:
            found[same] = self._sampler.at(contexts[same], generator.random(len(same)))
        return found

    def law(self, rejected, keep):
        result = np.zeros_like(self._p)
        for x in range(self._p.shape[1]):
            others = self._p.copy()
            others[:, x] = 0
            mass = others.sum(axis=1)
            result += rejected[:, x, None] * others / np.where(mass > 0, mass, 1)[:, None]
        return result


class SameUniform(Corrections):
    """The inverse distribution function of the residual, at the coin that rejected."""

    def __init__(self, laws):
        self._laws, self._sampler = laws, Sampler(laws)

    def draw(self, generator, contexts, x, coin):
        return self._sampler.at(contexts, coin)

    def law(self, rejected, keep):
        high = np.cumsum(self._laws, axis=1)
        high /= high[:, -1:]
        low = np.concatenate([np.zeros((len(high), 1)), high[:, :-1]], axis=1)
        result = np.zeros_like(high)
        for x in range(high.shape[1]):
            above = keep[:, x, None]
            length = np.maximum(high - np.maximum(low, above), 0)
            result += rejected[:, x, None] * length / np.where(above < 1, 1 - above, 1)
        return result


class NoisyResidual(Corrections):
    """From norm((p − q/E)₊), with the exponential noise E that made x the winner of the race."""

    def __init__(self, tables):
        self._p, self._q = tables.p, tables.q

    def draw(self, generator, contexts, x, coin):
        p, q = self._p[contexts], self._q[contexts]
        runs = np.arange(len(contexts))
        # x won at the time A ~ Exp(1); it was rejected, so the coin exceeded p(x) A.
        time = generator.standard_exponential(len(contexts))
        coin = generator.random(len(contexts))
        while (kept := np.flatnonzero(coin < p[runs, x] * time)).size:
            time[kept] = generator.standard_exponential(kept.size)
            coin[kept] = generator.random(kept.size)
        # The others come later, and how much later has no memory.
        with np.errstate(divide="ignore"):
            later = generator.standard_exponential(q.shape) / q
        later[runs, x] = 0
        left = residual(p, 1 / (time[:, None] + later))
        cumulative = np.cumsum(left, axis=1)
        uniform = generator.random((len(contexts), 1)) * cumulative[:, -1:]
        return np.minimum((cumulative <= uniform).sum(axis=1), p.shape[1] - 1)


@dataclass(frozen=True)
class SimulatedEngine:
    """A chain of drafted positions, and a bonus token after it.

    Attributes:
        tables: What its models say.
        drawn: The law that draft tokens are drawn from.
        keep: The probability with which a draft token is kept.
        corrections: How the token after a rejection comes about.
        bonus: The law of bonus tokens.
        depth: Tokens drafted a step; None for ever, 0 for bonus tokens only.
        threshold: Draft tokens of a smaller probability are dropped after they were drawn.
    """

    tables: Tables
    drawn: np.ndarray
    keep: np.ndarray
    corrections: Corrections
    bonus: np.ndarray
    depth: int | None = None
    threshold: float = 0.0

    def runs(self, generator, count, tokens):
        """For each of `tokens` tokens: context, where it stands, whether it was kept, the token.

        Each is an array with one entry a run. Dropped draft tokens leave a bonus token.
        """
        draft, bonus = Sampler(self.drawn), Sampler(self.bonus)
        contexts = generator.integers(0, self.tables.contexts, count)
        depth = np.zeros(count, int)
        for _ in range(tokens):
            x = draft.at(contexts, generator.random(count))
            is_drafted = np.ones(count, bool) if self.depth is None else depth < self.depth
            is_drafted &= self.drawn[contexts, x] >= self.threshold
            coin = generator.random(count)
            kept = is_drafted & (coin < self.keep[contexts, x])
            token = np.where(is_drafted, x, bonus.at(contexts, generator.random(count)))
            wrong = np.flatnonzero(is_drafted & ~kept)
            token[wrong] = self.corrections.draw(generator, contexts[wrong], x[wrong], coin[wrong])
            yield contexts, np.where(is_drafted, DRAFTED, BONUS), kept, token
            depth = np.where(kept, depth + 1, 0)
            contexts = self.tables.after(contexts, token)

    def emitted_law(self):
        """The exact law of a token at each context, where every position is drafted (or none)."""
        if self.depth == 0:
            return self.bonus
        verified = self.drawn * (self.drawn >= self.threshold)
        dropped = 1 - verified.sum(axis=1, keepdims=True)
        corrected = self.corrections.law(verified * (1 - self.keep), self.keep)
        return verified * self.keep + dropped * self.bonus + corrected


def lossless(tables, depth=None):
    p, q = tables.p, tables.q
    return SimulatedEngine(tables, q, smaller_of_1(p, q), FromLaw(residual(p, q)), p, depth)


def by_match(tables, depth=None):
    """Kept with p(x), and else a draw from p without x: lossless for any draft."""
    return dataclasses.replace(
        lossless(tables, depth), keep=tables.p, corrections=WithoutRejected(tables.p)
    )


def greedy_one_hot(tables, depth=None):
    """The most probable draft token, verified as the point mass that it is: lossless."""
    return dataclasses.replace(
        lossless(tables, depth),
        drawn=one_hot(tables.q),
        keep=tables.p,
        corrections=WithoutRejected(tables.p),
    )


def one_hot(laws):
    return (np.arange(laws.shape[1]) == laws.argmax(axis=1)[:, None]).astype(float)


def tempered(law, temperature):
    weights = law ** (1 / temperature)
    return weights / weights.sum(axis=1, keepdims=True)


def with_noise(tables):
    """Exponential noise divides q in place, before the ratio and the residual are taken from it."""
    p = tables.p

    # The race's winner is x with probability q(x), and its time A ~ Exp(1) does not depend on which
    # it is: it is kept with probability E[min(1, p(x) A)].
    safe = np.where(p > 0, p, 1)
    keep = np.where(p > 0, safe * -np.expm1(-1 / safe), 0)
    return dataclasses.replace(lossless(tables), keep=keep, corrections=NoisyResidual(tables))


def exchanged(laws, every=4):
    """The two most probable tokens exchanged at one context in so many."""
    changed = laws.copy()
    for context in range(0, len(laws), every):
        first, second = np.argsort(-laws[context], kind="stable")[:2]
        changed[context, [first, second]] = laws[context, [second, first]]
    return changed


def of_another_target(tables, p):
    """Right in every step, for a target whose law is p."""
    return dataclasses.replace(
        lossless(tables),
        keep=smaller_of_1(p, tables.q),
        corrections=FromLaw(residual(p, tables.q)),
        bonus=p,
    )


def faulty(name, tables):
    """An engine with one fault. Every token is at a drafted position, or all are bonus tokens."""
    p, q = tables.p, tables.q
    right = lossless(tables)
    change = dataclasses.replace
    return {
        "ratio inverted": lambda: change(right, keep=smaller_of_1(q, p)),
        "no residual": lambda: change(right, corrections=FromLaw(p)),
        "residual of the wrong sign": lambda: change(right, corrections=FromLaw(residual(q, p))),
        "softmax of the residual": lambda: change(
            right, corrections=FromLaw(softmax(np.maximum(p - q, 0)))
        ),
        "partial residual": lambda: change(right, corrections=WithoutRejected(p)),
        "leniency 0.9": lambda: change(right, keep=smaller_of_1(p, 0.9 * q)),
        "leniency 0.8": lambda: change(right, keep=smaller_of_1(p, 0.8 * q)),
        "drawn at T = 0.7, scored at 1": lambda: change(right, drawn=tempered(q, 0.7)),
        "drawn at T = 0.8, scored at 1": lambda: change(right, drawn=tempered(q, 0.8)),
        "drawn at T = 0.9, scored at 1": lambda: change(right, drawn=tempered(q, 0.9)),
        "greedy draft verified as sampled": lambda: change(right, drawn=one_hot(q)),
        "one draw for coin and correction": lambda: change(
            right, corrections=SameUniform(residual(p, q))
        ),
        "draft tokens below 0.1 dropped": lambda: change(right, threshold=0.1),
        "argmax correction": lambda: change(right, corrections=FromLaw(one_hot(residual(p, q)))),
        "filters missing in correction": lambda: change(
            right, corrections=FromLaw(residual(tables.unfiltered, q))
        ),
        "bonus at T = 1, run at 0.7": lambda: change(right, depth=0, bonus=tables.raw),
        "bonus is the argmax": lambda: change(right, depth=0, bonus=one_hot(p)),
        "stored draft law divided by noise": lambda: with_noise(tables),
        "greedy draft, coin p(x), residual of q": lambda: change(right, drawn=one_hot(q), keep=p),
        "sampled draft, coin p(x), residual of q": lambda: change(right, keep=p),
        "greedy draft, coin of q, no residual": lambda: change(
            right, drawn=one_hot(q), corrections=FromLaw(p)
        ),
        "two likeliest exchanged in a quarter of contexts": lambda: of_another_target(
            tables, exchanged(p)
        ),
        "target at 1.15": lambda: of_another_target(tables, tempered(p, 1.15)),
        "coin ignored once in 20": lambda: change(right, keep=0.95 * smaller_of_1(p, q) + 0.05),
    }[name]()
