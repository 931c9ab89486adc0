"""The smallest table that shows a fault, and the test of it that can be pasted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from draftproof.errors import DraftproofError
from draftproof.kernels.calling import KernelError, named
from draftproof.kernels.contract import Kernel, RandomSource, declared
from draftproof.kernels.examination import TOLERANCES
from draftproof.kernels.judge import rule_law
from draftproof.kernels.laws import largest_gap, measure
from draftproof.kernels.sampling import given_draft
from draftproof.kernels.tables import DraftTable


class LawError(AssertionError):
    """A kernel's law on a table is not what it must be."""


def require_law(
    kernel: Kernel, table: DraftTable, *, rows: int = 400_000, alpha: float = 1e-6, **facts: object
) -> None:
    """Raise unless a kernel's law on one table is its rule's: what a regression test calls.

    Args:
        kernel: Under test; its facts may be declared by `draftproof.kernels.declare`.
        table: One draft with the laws around it.
        rows: The most to draw of a kernel that draws by itself.
        alpha: Its law, if right, is rejected with at most this probability.
        facts: Fields of `KernelFacts`, where they are not declared.

    Raises:
        LawError: The law differs, with the emission that differs most.
    """
    known = declared(kernel, **facts)
    if known.rule == "any":
        raise DraftproofError("require_law: under the rule 'any' one draft has no law of its own")
    if known.randomness is RandomSource.UNIFORMS:
        measured = measure(kernel, known, [table])
        given, law = measured.tables[0], measured.laws[0]
        if measured.malformed:
            raise LawError(measured.malformed[0][1])
        expected = rule_law(known.rule, given)
        if largest_gap(expected, law) <= TOLERANCES[known.dtype]:
            return
        where = max(
            expected.keys() | law.keys(),
            key=lambda key: abs(expected.get(key, 0) - law.get(key, 0)),
        )
        raise LawError(
            f"tokens {named(given, where)} are emitted with probability {law.get(where, 0.0):.9g}, "
            f"and must be with {expected.get(where, 0.0):.9g}"
        )
    sampled = given_draft(kernel, known, [table], rows=rows, alpha=alpha)
    if sampled.malformed:
        raise LawError(sampled.malformed[1])
    evidence = sampled.evidence
    if evidence.rejects:
        expected, found = rule_law(known.rule, sampled.tables[0]), evidence.found(0)
        where = max(
            expected.keys() | found.keys(),
            key=lambda key: abs(expected.get(key, 0) - found.get(key, 0)),
        )
        raise LawError(
            f"in {evidence.rows} rows tokens {named(table, where)} were emitted at a share of "
            f"{found.get(where, 0.0):.5g}, and must be with probability "
            f"{expected.get(where, 0.0):.5g} (e-value 10^{evidence.value / np.log(10):.1f})"
        )


Fails = Callable[[DraftTable], bool]


def fails_exactly(kernel: Kernel, examined: object, tolerance: float) -> Fails:
    """Whether a table still shows a fault of a kernel that is given its uniforms."""
    facts = declared(kernel) if examined is None else examined

    def fails(table: DraftTable) -> bool:
        try:
            measured = measure(kernel, facts, [table])  # type: ignore[arg-type]
        except KernelError:
            return False
        if measured.malformed:
            return True
        law = rule_law(facts.rule, measured.tables[0])  # type: ignore[attr-defined]
        return largest_gap(law, measured.laws[0]) > tolerance

    return fails


def fails_counted(
    kernel: Kernel, examined: object, *, rows: int = 100_000, alpha: float = 1e-6, most: int = 60
) -> Fails:
    """Whether a table still shows a fault of a kernel that draws by itself, in a few rows.

    Args:
        kernel: Under test.
        examined: Its facts; None where they are declared.
        rows: To draw for each table: fewer than `require_law` draws, so that what fails here does
            there.
        alpha: As there.
        most: Tables that are tried; no later one is said to fail.
    """
    facts = declared(kernel) if examined is None else examined
    tried = 0

    def fails(table: DraftTable) -> bool:
        nonlocal tried
        tried += 1
        if tried > most:
            return False
        try:
            sampled = given_draft(kernel, facts, [table], rows=rows, alpha=alpha)  # type: ignore[arg-type]
        except KernelError:
            return False
        return sampled.malformed is not None or sampled.evidence.rejects

    return fails


def smallest(table: DraftTable, fails: Fails) -> DraftTable:
    """A table as small as can be found that still shows the fault.

    Args:
        table: Shows it.
        fails: Whether a table does.
    """
    going = True
    while going:
        going = False
        for candidate in _smaller(table):
            if fails(candidate):
                table, going = candidate, True
                break
    return table


def _smaller(table: DraftTable) -> Iterator[DraftTable]:
    """Tables one step smaller: fewer nodes, fewer ids, shorter figures."""
    if table.is_chain and len(table) > 1:
        last = len(table) - 1
        yield _chain(table, range(1, last + 2))
        yield _chain(table, range(last + 1))
    elif len(table) > 1:
        leaves = [node for node in range(len(table)) if node not in table.children]
        for leaf in reversed(leaves):
            keep = [node for node in range(len(table)) if node != leaf]
            place = {-1: -1} | {node: index for index, node in enumerate(keep)}
            rows = [0, *(node + 1 for node in keep)]
            yield replace(
                table,
                tokens=tuple(table.tokens[node] for node in keep),
                parents=tuple(place[(table.parents or ())[node]] for node in keep),
                target=table.target[rows],
                draft=table.draft[rows],
            )
    if len(table.ids) > 2:
        for gone in reversed(range(len(table.ids))):
            if gone not in table.tokens:
                kept = [i for i in range(len(table.ids)) if i != gone]
                target, draft = table.target[:, kept], table.draft[:, kept]
                if (target.sum(1) > 0).all() and (draft.sum(1) > 0).all():
                    yield replace(
                        table,
                        tokens=tuple(kept.index(token) for token in table.tokens),
                        target=_normal(target),
                        draft=_normal(draft),
                        ids=tuple(range(len(kept))),
                        vocabulary=len(kept),
                    )
    if table.vocabulary > len(table.ids):
        yield replace(table, ids=tuple(range(len(table.ids))), vocabulary=len(table.ids))
    for decimals in (1, 2, 3, 4):
        target, draft = np.round(table.target, decimals), np.round(table.draft, decimals)
        exact = np.array_equal(target, table.target) and np.array_equal(draft, table.draft)
        sums = np.allclose(target.sum(1), 1, atol=1e-9) and np.allclose(draft.sum(1), 1, atol=1e-9)
        drawn = all(
            draft[parent + 1, token] > 0
            for token, parent in zip(table.tokens, table.parents or (), strict=True)
        )
        if sums and drawn and not exact:
            yield replace(table, target=target, draft=draft)


def _chain(table: DraftTable, rows: range) -> DraftTable:
    """A part of a chain: its laws from one position to another."""
    tokens = table.tokens[rows[0] : rows[-1]]
    return replace(
        table,
        tokens=tokens,
        parents=tuple(range(-1, len(tokens) - 1)),
        target=table.target[list(rows)],
        draft=table.draft[list(rows)],
    )


def _normal(laws: np.ndarray) -> np.ndarray:
    normal: np.ndarray = laws / laws.sum(1, keepdims=True)
    return normal


def pasteable(table: DraftTable, name: str, facts: dict[str, object]) -> str:
    """A test of one table, ready to be pasted.

    Args:
        table: The smallest that shows the fault.
        name: ``module:function`` of the kernel.
        facts: Fields of `KernelFacts` that are not the default.
    """
    module, _, function = name.partition(":")
    whence = f"from {module} import {function}\n" if function else ""
    called = function or "kernel"
    form = "" if table.is_chain else f"        parents={table.parents},\n"
    if table.proposals != "independent":
        form += f'        proposals="{table.proposals}",\n'
    if table.greedy:
        form += "        greedy=True,\n"
    if table.ids != tuple(range(table.vocabulary)):
        form += f"        ids={table.ids},\n        vocabulary={table.vocabulary},\n"
    given = "".join(f', {key}="{value}"' for key, value in facts.items())
    return (
        f"from draftproof.kernels import DraftTable, require_law\n{whence}\n\n"
        f"def test_{called}_on_a_small_table():\n"
        "    table = DraftTable(\n"
        f"        tokens={table.tokens},\n{form}"
        f"        target={_written(table.target)},\n"
        f"        draft={_written(table.draft)},\n"
        "    )\n"
        f"    require_law({called}, table{given})\n"
    )


def _written(laws: np.ndarray) -> str:
    rows = ", ".join("[" + ", ".join(f"{value:.9g}" for value in row) + "]" for row in laws)
    return f"[{rows}]"
