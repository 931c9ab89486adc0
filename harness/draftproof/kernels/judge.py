"""What a kernel's law must be: closed forms, written apart from every rule that ships."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from draftproof.kernels.tables import DraftTable, Fixture, Law, row_of
from draftproof.tree import ROOT

EmittedLaw = Mapping[tuple[int, ...], float]
"""Probability of each emission: kept tokens and the extra one, as positions in the support."""


def left_over(p: Law, q: Law) -> Law:
    """norm((p − q)₊), and p where nothing is left."""
    left = np.maximum(p - q, 0)
    total = left.sum()
    law: Law = left / total if total > 0 else p / p.sum()
    return law


def rule_law(rule: str, table: DraftTable) -> EmittedLaw:
    """The law of what a rule emits, given a draft.

    Args:
        rule: ``rejection``, ``block``, ``point-mass``, ``multi-round`` or ``without-replacement``.
        table: The draft.

    Source:
        Leviathan et al. 2023 (arXiv 2211.17192); SpecInfer, Miao et al. 2024 (arXiv 2305.09781);
        Sequoia, Chen et al. 2024 (arXiv 2402.12374); Sun et al. 2024 (arXiv 2403.10444).
    """
    if table.greedy:
        return {_greedy_emission(table): 1.0}
    if rule == "block":
        return _block_law(table)
    law: dict[tuple[int, ...], float] = defaultdict(float)

    def visit(node: int, mass: float, kept: tuple[int, ...]) -> None:
        p = table.target[node + 1] / table.target[node + 1].sum()
        q = table.draft[node + 1].copy()
        for child in table.children.get(node, ()):
            token = table.tokens[child]
            if rule == "point-mass":
                keep = p[token]
                rest = np.where(np.arange(len(p)) == token, 0, p)
            else:
                q = q / q.sum()
                keep = 1.0 if p[token] >= q[token] else p[token] / q[token]
                rest = np.maximum(p - q, 0)
            visit(child, mass * keep, (*kept, token))
            mass *= 1 - keep
            if mass <= 0:
                return
            p = rest / rest.sum() if rest.sum() > 0 else p
            if rule == "without-replacement":
                q[token] = 0
                if q.sum() == 0:
                    q[:] = 1
        for extra in np.flatnonzero(p):
            law[(*kept, int(extra))] += mass * float(p[extra])

    visit(ROOT, 1.0, ())
    return dict(law)


def _greedy_emission(table: DraftTable) -> tuple[int, ...]:
    kept: list[int] = []
    node = ROOT
    while True:
        best = int(np.argmax(table.target[node + 1]))
        kept.append(best)
        following = [c for c in table.children.get(node, ()) if table.tokens[c] == best]
        if not following:
            return tuple(kept)
        node = following[0]


def _block_law(table: DraftTable) -> EmittedLaw:
    """P(the kept prefix is at least i long) is found from the end; see Sun et al., Algorithm 2."""
    law: dict[tuple[int, ...], float] = defaultdict(float)
    p, q, tokens = table.target, table.draft, table.tokens
    weight = [1.0]
    for i, token in enumerate(tokens):
        weight.append(min(1.0, weight[-1] * p[i, token] / q[i, token]))
    undecided = 1.0
    for kept in reversed(range(len(tokens) + 1)):
        if kept == len(tokens):
            coin, extra = weight[kept], p[kept] / p[kept].sum()
        else:
            left = np.maximum(weight[kept] * p[kept] - q[kept], 0)
            total = left.sum()
            divisor = total + 1 - weight[kept]
            coin = 1.0 if kept == 0 else (total / divisor if divisor > 0 else 1.0)
            extra = left / total if total > 0 else p[kept] / p[kept].sum()
        for at in np.flatnonzero(extra):
            law[(*tokens[:kept], int(at))] += undecided * coin * float(extra[at])
        undecided *= 1 - coin
    return {emitted: share for emitted, share in law.items() if share > 0}


def completed_law(fixture: Fixture, laws: Iterable[tuple[float, EmittedLaw]]) -> np.ndarray:
    """The law of the next depth + 1 tokens, if the target alone goes on after each emission.

    A kernel is lossless where that is the target's own law of as many tokens.

    Args:
        fixture: Its models.
        laws: Of each draft its probability, and the law of what was emitted.

    Returns:
        ``[support ** (depth + 1)]``. Emissions with a token outside the support add nothing.
    """
    support, length = fixture.support, fixture.depth + 1
    total = np.zeros(support**length)
    emissions: dict[tuple[int, ...], float] = defaultdict(float)
    for weight, law in laws:
        for emitted, share in law.items():
            emissions[emitted] += weight * share
    for emitted, share in emissions.items():
        if not emitted or len(emitted) > length or any(not 0 <= t < support for t in emitted):
            continue
        going = np.array([share])
        for depth in range(len(emitted), length):
            first = row_of(emitted, support) * support ** (depth - len(emitted))
            rows = fixture.target[depth][first : first + len(going)]
            going = (going[:, None] * rows).ravel()
        start = row_of(emitted, support) * len(going)
        total[start : start + len(going)] += going
    return total


def target_law(fixture: Fixture) -> np.ndarray:
    """``[support ** (depth + 1)]`` the target's law of its next tokens."""
    law = np.ones(1)
    for rows in fixture.target:
        law = (law[:, None] * rows).ravel()
    return law


def sequence(index: int, support: int, length: int) -> tuple[int, ...]:
    """The tokens at an index of `target_law`.

    Example:
        >>> sequence(5, 3, 2)
        (1, 2)
    """
    digits = []
    for _ in range(length):
        index, digit = divmod(index, support)
        digits.append(digit)
    return tuple(reversed(digits))
