"""The law that each named fault of verification induces on a table, given the draft.

They point to the faulty line, and are alternatives of the sequential test. None of them decides
whether a kernel is right: that is `draftproof.kernels.judge`, which shares nothing with them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from draftproof.kernels.judge import EmittedLaw, rule_law
from draftproof.kernels.tables import DraftTable, Law
from draftproof.tree import ROOT

Weights = Callable[[Law, Law, int], Law]
"""From p, q and the rejected token to weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """A verification that walks down from the root, each of its lines exchangeable.

    Attributes:
        keep: Probability of keeping a token, from p, q and the token.
        rest: What replaces p after a rejection.
        narrow: What replaces q after a rejection.
        bonus: Weights of the bonus token, from p, the table and the node.
        correction: Weights of the correction token, from what is left of p.
        target_shift: By how many nodes the target's row is off where a token is judged.
        draft_shift: The same of the draft model's row.
        correction_shift: The same of the target's row that the correction comes from; None for
            the row that was judged.
        emits_rejected: Whether the rejected token is emitted before the correction.
    """

    keep: Callable[[Law, Law, int], float]
    rest: Weights
    narrow: Callable[[Law, int], Law]
    bonus: Callable[[Law, DraftTable, int], Law]
    correction: Callable[[Law], Law]
    target_shift: int = 0
    draft_shift: int = 0
    correction_shift: int | None = None
    emits_rejected: bool = False


def law_of(procedure: Procedure, table: DraftTable) -> EmittedLaw:
    """The law of what a procedure emits, given a draft; shares may not add up to 1 to the end."""
    law: dict[tuple[int, ...], float] = defaultdict(float)
    last = len(table)

    def at(row: int) -> int:
        return min(max(row, 0), last)

    def visit(node: int, mass: float, kept: tuple[int, ...]) -> None:
        children = table.children.get(node, ())
        own = table.target[node + 1]
        p = table.target[at(node + 1 + procedure.target_shift)] if children else own
        q = table.draft[at(node + 1 + procedure.draft_shift)]
        rejected = -1
        for child in children:
            token = table.tokens[child]
            keep = min(1.0, max(0.0, procedure.keep(p, q, token)))
            visit(child, mass * keep, (*kept, token))
            mass *= 1 - keep
            if mass <= 1e-15:
                return
            if procedure.correction_shift is not None and rejected < 0:
                p = table.target[at(node + 1 + procedure.correction_shift)]
            p, q = normal(procedure.rest(p, q, token), p), procedure.narrow(q, token)
            rejected = token
        weights = procedure.correction(p) if children else procedure.bonus(p, table, node)
        before = (*kept, rejected) if children and procedure.emits_rejected else kept
        for token, share in enumerate(normal(weights, own)):
            if share > 0:
                law[(*before, token)] += mass * float(share)

    visit(ROOT, 1.0, ())
    return dict(law)


def normal(weights: Law, otherwise: Law) -> Law:
    """Weights as a law; another one where they are all 0."""
    total = weights.sum()
    law: Law = weights / total if total > 0 else otherwise / otherwise.sum()
    return law


def ratio(p: Law, q: Law, token: int) -> float:
    """p/q of a token; 1 where q is 0."""
    return float(p[token] / q[token]) if q[token] > 0 else 1.0


def without(law: Law, token: int) -> Law:
    """A law with one token taken out, not normalised."""
    return np.where(np.arange(len(law)) == token, 0.0, law)


def one_hot(law: Law) -> Law:
    """All on the argmax."""
    certain = np.zeros_like(law)
    certain[int(np.argmax(law))] = 1
    return certain


def sound(rule: str) -> Procedure:
    """The procedure of a rule, nothing wrong; for ``block``, that of rejection."""
    if rule == "point-mass":
        return Procedure(
            keep=lambda p, q, x: float(p[x]),
            rest=lambda p, q, x: without(p, x),
            narrow=lambda q, x: q,
            bonus=lambda p, table, node: p,
            correction=lambda p: p,
        )
    narrows = rule == "without-replacement"
    return Procedure(
        keep=ratio,
        rest=lambda p, q, x: np.maximum(p - q, 0),
        narrow=lambda q, x: normal(without(q, x), np.ones_like(q)) if narrows else q,
        bonus=lambda p, table, node: p,
        correction=lambda p: p,
    )


def _parent(table: DraftTable, node: int) -> int:
    assert table.parents is not None
    return table.parents[node] if node >= 0 else ROOT


def _softmax(weights: Law) -> Law:
    grown: Law = np.exp(weights)
    return grown


_CHANGES: dict[str, dict[str, object]] = {
    "the correction is drawn from p, not from what is left of it": {"rest": lambda p, q, x: p},
    "the residual is max(q − p, 0)": {"rest": lambda p, q, x: np.maximum(q - p, 0)},
    "the residual is |p − q|": {"rest": lambda p, q, x: np.abs(p - q)},
    "the residual is put through a softmax": {
        "rest": lambda p, q, x: _softmax(np.maximum(p - q, 0))
    },
    "the residual takes the rejected token out of p, and nothing else": {
        "rest": lambda p, q, x: without(p, x)
    },
    "the residual is max(p − q, 0), as if the draft were sampled": {
        "rest": lambda p, q, x: np.maximum(p - q, 0)
    },
    "the coin is min(1, q/p): the ratio is inverted": {
        "keep": lambda p, q, x: float(q[x] / p[x]) if p[x] > 0 else 1.0
    },
    "the coin is min(1, p/q), as if the draft were sampled": {"keep": ratio},
    "the coin is p, as if the draft were deterministic": {"keep": lambda p, q, x: float(p[x])},
    "every drafted token is kept": {"keep": lambda p, q, x: 1.0},
    "no drafted token is kept": {"keep": lambda p, q, x: 0.0},
    "a token is kept exactly where p ≥ q: there is no coin": {
        "keep": lambda p, q, x: float(p[x] >= q[x])
    },
    "a token is kept exactly where it is the target's argmax": {
        "keep": lambda p, q, x: float(x == int(np.argmax(p)))
    },
    "the coin is lenient: min(1, p / 0.9 q)": {"keep": lambda p, q, x: ratio(p, q, x) / 0.9},
    "the coin is strict: min(1, 0.9 p / q)": {"keep": lambda p, q, x: 0.9 * ratio(p, q, x)},
    "the coin is min(1, (p/q)²)": {"keep": lambda p, q, x: ratio(p, q, x) ** 2},
    "the bonus comes from the row before its own": {
        "bonus": lambda p, table, node: table.target[_parent(table, node) + 1]
    },
    "the bonus comes from the first row": {"bonus": lambda p, table, node: table.target[0]},
    "the bonus is the argmax": {"bonus": lambda p, table, node: one_hot(p)},
    "the bonus comes from the last row's residual": {
        "bonus": lambda p, table, node: normal(
            np.maximum(
                table.target[_parent(table, node) + 1] - table.draft[_parent(table, node) + 1], 0
            ),
            p,
        )
    },
    "the bonus comes from max(p − q, 0)": {
        "bonus": lambda p, table, node: np.maximum(p - table.draft[node + 1], 0)
    },
    "the correction is the argmax of what is left": {"correction": one_hot},
    "coins and corrections read the target's row after their own": {"target_shift": 1},
    "coins and corrections read the target's row before their own": {"target_shift": -1},
    "coins read the target's row after their own": {"target_shift": 1, "correction_shift": 0},
    "coins read the target's row before their own": {"target_shift": -1, "correction_shift": 0},
    "everything reads the target's row before its own": {
        "target_shift": -1,
        "bonus": lambda p, table, node: table.target[_parent(table, node) + 1],
    },
    "coins and corrections read the draft model's row after their own": {"draft_shift": 1},
    "coins and corrections read the draft model's row before their own": {"draft_shift": -1},
    "the correction reads the target's row after its own": {"correction_shift": 1},
    "the correction reads the target's row before its own": {"correction_shift": -1},
    "the rejected token is emitted, and the correction after it": {"emits_rejected": True},
    "q is not narrowed for later siblings": {"narrow": lambda q, x: q},
    "q is narrowed for later siblings, which were drawn with replacement": {
        "narrow": lambda q, x: normal(without(q, x), np.ones_like(q))
    },
    "q loses a rejected sibling's mass, and is not renormalised": {
        "narrow": lambda q, x: without(q, x)
    },
}


def _one_coin(rule: str, table: DraftTable) -> EmittedLaw:
    """One uniform for every coin of a row: the prefix is kept while u is below all ratios."""
    law: dict[tuple[int, ...], float] = defaultdict(float)
    base, reach = sound(rule), 1.0
    for i, token in enumerate((*table.tokens, -1)):
        p, q, kept = table.target[i], table.draft[i], table.tokens[:i]
        below = 0.0
        weights = p
        if token >= 0:
            below = min(reach, base.keep(p / p.sum(), q, token))
            weights = normal(base.rest(p, q, token), p)
        for extra in np.flatnonzero(weights):
            law[(*kept, int(extra))] += (reach - below) * float(weights[extra] / weights.sum())
        reach = below
    return law


def _reused_draw(rule: str, table: DraftTable) -> EmittedLaw:
    """The uniform that rejects a token also picks the correction, by the residual's inverse CDF."""
    law: dict[tuple[int, ...], float] = defaultdict(float)
    base, reach = sound(rule), 1.0
    for i, token in enumerate((*table.tokens, -1)):
        p, q, kept = table.target[i], table.draft[i], table.tokens[:i]
        if token < 0:
            for extra, share in enumerate(p / p.sum()):
                law[(*kept, extra)] += reach * float(share)
            break
        keep = min(1.0, base.keep(p / p.sum(), q, token))
        edges = np.concatenate([[0.0], np.cumsum(normal(base.rest(p, q, token), p))])
        edges[-1] = 1.0
        above = np.maximum(edges, keep)
        for extra, share in enumerate(np.diff(above)):
            law[(*kept, extra)] += reach * float(share)
        reach *= keep
    return {emitted: share for emitted, share in law.items() if share > 0}


def _counted(rule: str, table: DraftTable) -> EmittedLaw:
    """As many tokens are kept as coins succeeded, also after a rejection."""
    law: dict[tuple[int, ...], float] = defaultdict(float)
    base, length = sound(rule), len(table)
    keep = [
        min(1.0, base.keep(table.target[i], table.draft[i], x)) for i, x in enumerate(table.tokens)
    ]
    for coins in itertools.product((0, 1), repeat=length):
        mass = float(np.prod([k if c else 1 - k for k, c in zip(keep, coins, strict=True)]))
        count = sum(coins)
        p, q = table.target[count], table.draft[count]
        weights = p if count == length else normal(base.rest(p, q, table.tokens[count]), p)
        for extra, share in enumerate(weights / weights.sum()):
            law[(*table.tokens[:count], extra)] += mass * float(share)
    return {emitted: share for emitted, share in law.items() if share > 0}


_CHAIN_ONLY: dict[str, Callable[[str, DraftTable], EmittedLaw]] = {
    "one uniform is used for every coin of a row": _one_coin,
    "the uniform that rejects a token picks the correction, too": _reused_draw,
    "tokens are counted as kept after a rejection": _counted,
    "the rule is block verification": lambda rule, table: rule_law("block", table),
    "the rule is rejection": lambda rule, table: rule_law("rejection", table),
}

GREEDY_SAMPLED = "greedy rows are sampled"

NAMES = (*_CHANGES, *_CHAIN_ONLY, GREEDY_SAMPLED)
"""What each fault is, in a sentence."""


def fault_laws(rule: str, table: DraftTable) -> dict[str, EmittedLaw]:
    """The law of what is emitted under each fault that can be told of a rule on a table.

    Args:
        rule: The rule that the kernel is said to be.
        table: The draft.

    Returns:
        By the fault's name. Faults without an effect on this table are among them.
    """
    if table.greedy:
        return {GREEDY_SAMPLED: rule_law(rule, replace(table, greedy=False))}
    base = sound(rule)
    with np.errstate(divide="ignore", invalid="ignore"):
        laws = {
            name: law_of(replace(base, **change), table)  # type: ignore[arg-type]
            for name, change in _CHANGES.items()
        }
        if table.is_chain and len(table):
            for name, law in _CHAIN_ONLY.items():
                sampled = name.startswith("the rule is")
                if not sampled or rule in ("rejection", "block"):
                    laws[name] = law(rule, table)
    return laws
