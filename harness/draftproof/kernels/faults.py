"""The law that each named fault of verification induces on a table, given the draft.

They point to the faulty line, and are alternatives of the sequential test. None of them decides
whether a kernel is right: that is `draftproof.kernels.judge`, which shares nothing with them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from draftproof.kernels.calling import OUTSIDE
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
        looked_at: The children of a node that are tried, in order, from the table, the node, and
            the children that it has.
        normalises: Whether what a rejection leaves of p is normalised.
        empty_is_last: Whether the last id is drawn where nothing is left of p.
        forgets: Whether every rejection is taken out of the whole p, the earlier ones forgotten.
        stale: Whether the law after a later sibling is what the earlier ones left of its parent's.
        target_row, draft_row: The row that a node reads; its own, or the root's.
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
    looked_at: Callable[[DraftTable, int, tuple[int, ...]], Sequence[int]] = (
        lambda table, node, own: own
    )
    normalises: bool = True
    empty_is_last: bool = False
    forgets: bool = False
    stale: bool = False
    target_row: Callable[[int], int] = lambda row: row
    draft_row: Callable[[int], int] = lambda row: row


def law_of(procedure: Procedure, table: DraftTable) -> EmittedLaw:
    """The law of what a procedure emits, given a draft; shares may not add up to 1 to the end."""
    law: dict[tuple[int, ...], float] = defaultdict(float)
    last = len(table)

    def at(row: int) -> int:
        return min(max(row, 0), last)

    def visit(node: int, mass: float, kept: tuple[int, ...], other: Law | None = None) -> None:
        own_children = table.children.get(node, ())
        children = procedure.looked_at(table, node, own_children)
        own = table.target[procedure.target_row(node + 1)] if other is None else other
        p = own
        if children and procedure.target_shift:
            p = table.target[at(node + 1 + procedure.target_shift)]
        q = table.draft[at(procedure.draft_row(node + 1) + procedure.draft_shift)]
        whole, rejected = p, -1
        for place, child in enumerate(children):
            token = table.tokens[child]
            keep = min(1.0, max(0.0, procedure.keep(p, q, token)))
            after = p if procedure.stale and place else None
            visit(child, mass * keep, (*kept, token), after)
            mass *= 1 - keep
            if mass <= 1e-15:
                return
            if procedure.correction_shift is not None and rejected < 0:
                p = table.target[at(node + 1 + procedure.correction_shift)]
            rest = procedure.rest(whole if procedure.forgets else p, q, token)
            empty = not rest.any() and not procedure.empty_is_last
            p = normal(rest, p) if procedure.normalises or empty else rest
            q, rejected = procedure.narrow(q, token), token
        judged = bool(own_children) and bool(children)
        weights = procedure.correction(p) if judged else procedure.bonus(p, table, node)
        if procedure.empty_is_last and not weights.any():
            # Where no sum exceeds a uniform, an inverse of sums ends at the last id.
            weights = np.append(weights[:-1], 1.0)
        before = (*kept, rejected) if judged and procedure.emits_rejected else kept
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
    """p/q of a token; 1 where q is 0, unless p is, too."""
    return float(p[token] / q[token]) if q[token] > 0 else float(p[token] > 0)


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


def _powered(law: Law, exponent: float) -> Law:
    raised: Law = np.where(law > 0, np.maximum(law, 1e-300) ** exponent, 0.0)
    return raised


def _rounded(law: Law) -> Law:
    return law.astype(np.float16).astype(np.float64)


def _without_last(law: Law) -> Law:
    moved = law.copy()
    if len(law) > 1:
        moved[-2] += moved[-1]
        moved[-1] = 0
    return moved


def _filled(weights: Law) -> Law:
    filled = weights.copy()
    filled[-1] += max(0.0, 1 - weights.sum())
    return filled


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
    "a constant is added to q in the coin: p / (q + c)": {
        "keep": lambda p, q, x: float(p[x] / (q[x] + 1e-4))
    },
    "the bonus is drawn at a higher temperature": {"bonus": lambda p, table, node: p**0.9},
    "the bonus is drawn at a lower temperature": {"bonus": lambda p, table, node: p**1.1},
    "corrections are drawn at a higher temperature": {"correction": lambda p: _powered(p, 0.9)},
    "corrections are drawn at a lower temperature": {"correction": lambda p: _powered(p, 1.1)},
    "the weights of the extra token are rounded to 16 bits": {
        "bonus": lambda p, table, node: _rounded(p),
        "correction": lambda p: _rounded(p),
    },
    "the last id is never drawn": {
        "bonus": lambda p, table, node: _without_last(p),
        "correction": lambda p: _without_last(p),
    },
    "the residual is not normalised: what it lacks goes to the last id": {
        "normalises": False,
        "correction": lambda p: _filled(p),
    },
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


def _distinct(table: DraftTable, node: int, own: tuple[int, ...]) -> Sequence[int]:
    first = {table.tokens[child]: child for child in reversed(own)}
    return [child for child in own if first[table.tokens[child]] == child]


def _side_by_side(table: DraftTable, node: int, own: tuple[int, ...]) -> Sequence[int]:
    return [child for place, child in enumerate(own) if child == own[0] + place]


def _and_the_next(table: DraftTable, node: int, own: tuple[int, ...]) -> Sequence[int]:
    following = {node + 1} if 0 <= node < len(table) - 1 else set()
    return sorted({*own, *following})


def _depth(table: DraftTable, node: int) -> int:
    return 0 if node < 0 else 1 + _depth(table, _parent(table, node))


_OF_TREES: dict[str, dict[str, object]] = {
    "only the first child of a node is looked at": {"looked_at": lambda t, n, own: own[:1]},
    "the last of several siblings is not looked at": {
        "looked_at": lambda t, n, own: own[:-1] if len(own) > 1 else own
    },
    "no more than two siblings are looked at": {"looked_at": lambda t, n, own: own[:2]},
    "no more than three siblings are looked at": {"looked_at": lambda t, n, own: own[:3]},
    "no more than four siblings are looked at": {"looked_at": lambda t, n, own: own[:4]},
    "siblings that do not stand side by side are not looked at": {"looked_at": _side_by_side},
    "a sibling of the same token is not looked at": {"looked_at": _distinct},
    "siblings are tried in the opposite order": {"looked_at": lambda t, n, own: own[::-1]},
    "siblings are tried in the order of the target's probabilities": {
        "looked_at": lambda t, n, own: sorted(own, key=lambda c: -t.target[n + 1][t.tokens[c]])
    },
    "the node after a kept one counts as its child": {"looked_at": _and_the_next},
    "nothing below depth two is looked at": {
        "looked_at": lambda t, n, own: own if _depth(t, n) < 2 else ()
    },
    "nothing below depth three is looked at": {
        "looked_at": lambda t, n, own: own if _depth(t, n) < 3 else ()
    },
    "what is left of p is not normalised between siblings": {"normalises": False},
    "what is left of p is not normalised between siblings; of nothing the last id is drawn": {
        "normalises": False,
        "empty_is_last": True,
    },
    "of the rejected siblings only the last one is taken out of p": {"forgets": True},
    "siblings are all judged by p, and so is the correction": {
        "forgets": True,
        "rest": lambda p, q, x: p,
    },
    "after a later sibling comes what the earlier ones left of its parent's law": {"stale": True},
    "every node reads the target's law after the root": {"target_row": lambda row: 0},
    "every node reads the draft model's law after the root": {"draft_row": lambda row: 0},
}
"""Of nodes with siblings, or deeper than a chain's need."""


def _one_coin(rule: str, table: DraftTable) -> EmittedLaw:
    """One uniform for every coin of a row: where it lies decides the whole walk."""
    law: dict[tuple[int, ...], float] = defaultdict(float)
    base = sound(rule)

    def visit(node: int, low: float, high: float, kept: tuple[int, ...]) -> None:
        p, q = table.target[node + 1], table.draft[node + 1]
        for child in table.children.get(node, ()):
            token = table.tokens[child]
            keep = min(1.0, base.keep(p / p.sum(), q, token))
            if low < min(high, keep):
                visit(child, low, min(high, keep), (*kept, token))
            low = max(low, keep)
            if low >= high:
                return
            p, q = normal(base.rest(p, q, token), p), base.narrow(q, token)
        for extra in np.flatnonzero(p):
            law[(*kept, int(extra))] += (high - low) * float(p[extra] / p.sum())

    visit(ROOT, 0.0, 1.0, ())
    return dict(law)


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
    "the uniform that rejects a token picks the correction, too": _reused_draw,
    "tokens are counted as kept after a rejection": _counted,
    "the rule is block verification": lambda rule, table: rule_law("block", table),
    "the rule is rejection": lambda rule, table: rule_law("rejection", table),
}

_PADDED = 16
"""With more ids that have no probability a fault's law is told over the others alone."""

ONE_COIN = "one uniform is used for every coin of a row"
GREEDY_SAMPLED = "greedy rows are sampled"

NAMES = (*_CHANGES, *_OF_TREES, ONE_COIN, *_CHAIN_ONLY, GREEDY_SAMPLED)
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
    if 0 < table.vocabulary - len(table.ids) <= _PADDED:
        return _over_all_ids(rule, table)
    base = sound(rule)
    changes = _CHANGES if table.is_chain else _CHANGES | _OF_TREES
    with np.errstate(divide="ignore", invalid="ignore"):
        laws = {
            name: law_of(replace(base, **change), table)  # type: ignore[arg-type]
            for name, change in changes.items()
        }
        laws[ONE_COIN] = _one_coin(rule, table)
        if table.is_chain and len(table):
            for name, law in _CHAIN_ONLY.items():
                sampled = name.startswith("the rule is")
                if not sampled or rule in ("rejection", "block"):
                    laws[name] = law(rule, table)
    return laws


def _over_all_ids(rule: str, table: DraftTable) -> dict[str, EmittedLaw]:
    """The same where some ids have no probability: a fault may emit these."""
    every = tuple(range(table.vocabulary))
    ids = list(table.ids)

    def spread(laws: np.ndarray) -> np.ndarray:
        whole = np.zeros((len(laws), len(every)))
        whole[:, ids] = laws
        return whole

    whole = replace(
        table,
        tokens=tuple(ids[token] for token in table.tokens),
        target=spread(table.target),
        draft=spread(table.draft),
        ids=every,
    )
    position = {i: place for place, i in enumerate(ids)}
    found: dict[str, EmittedLaw] = {}
    for name, law in fault_laws(rule, whole).items():
        moved: dict[tuple[int, ...], float] = defaultdict(float)
        for emitted, share in law.items():
            moved[tuple(position.get(token, OUTSIDE) for token in emitted)] += share
        found[name] = moved
    return found
