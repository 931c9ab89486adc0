"""Checks of rows in a batch: their order, their neighbours, their padding, a kernel's inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch

from draftproof.conformance.check_result import Finding, Status
from draftproof.kernels.adversarial import (
    chains_of_all_lengths,
    several_fixtures,
    trees_of_many_forms,
)
from draftproof.kernels.calling import KernelError, Reading, Tables, called, named
from draftproof.kernels.contract import Kernel, Shape
from draftproof.kernels.examination import Examination
from draftproof.kernels.sampling import Sampled, Source, completed, given_draft
from draftproof.kernels.tables import DraftTable
from draftproof.kernels.wrapping import (
    POISONS,
    after,
    beside,
    in_batches,
    last_of,
    relaid,
    repadded,
    shuffled,
)

ROWS = 256

SIZES = (1, 2, 9, 33, 129)
"""Rows of a call: one, few, and one more than a block has."""

_STRIDES = "the arguments do not lie one after another in memory"

_ONE_ROW = Finding(
    status=Status.NOT_AVAILABLE, lines=("the kernel takes one row a call: it has no batch",)
)


def row_order(examination: Examination) -> Finding:
    """Rows in another order emit the same tokens."""
    return _compared(examination, "in another order", [(shuffled(examination.kernel, 1), "")])


def rows_alone(examination: Examination) -> Finding:
    """A row alone, or in a batch of any size and at its end, emits the same tokens."""
    kernel = examination.kernel
    ways: list[tuple[Kernel, str]] = []
    if examination.exact:
        ways = [(in_batches(kernel, size), f"calls are of {size} rows") for size in SIZES]
    else:
        ways = [
            (last_of(kernel, size), f"each is the last of {size}" if size > 1 else "each is alone")
            for size in SIZES
        ]
    return _compared(examination, "in other batches", ways, rows=130, each=1000)


def neighbours(examination: Examination) -> Finding:
    """No row sees another's probabilities, uniforms, length or temperature."""
    ways: list[tuple[Kernel, str]] = []
    for name, poison in POISONS.items():
        for last in (True, False):
            place = "after all rows" if last else "before every row"
            ways.append((beside(examination.kernel, poison, last=last), f"{name} stand {place}"))
        ways.append((after(examination.kernel, poison), f"{name} were in the call before"))
    return _compared(examination, "beside other rows", ways)


def padding(examination: Examination) -> Finding:
    """Nothing depends on what stands beyond a row's drafted tokens."""
    if examination.facts.shape is Shape.TREE or not examination.facts.ragged:
        return Finding(
            status=Status.NOT_AVAILABLE, lines=("all rows are of one length: there is no padding",)
        )
    filler = examination.facts.padding_token
    tokens: tuple[int | None, ...] = (filler,) if filler < 0 else (filler, 1, None)
    ways = [
        (
            repadded(examination.kernel, law, token),
            f"the laws of the padding are {law:g} and its ids "
            + ("the most probable one" if token is None else f"{token}"),
        )
        for law in (0.0, 1.0, float("nan"))
        for token in tokens
    ]
    return _compared(examination, "with other padding", ways, padded=True)


def layout(examination: Examination) -> Finding:
    """Nothing depends on how the arguments lie in memory; a kernel may refuse other strides."""
    way = (relaid(examination.kernel), _STRIDES)
    return _compared(examination, "with other strides", [way], refusable=True)


def inputs_unchanged(examination: Examination) -> Finding:
    """What a kernel is given is as it was after the call."""
    facts = examination.facts
    if facts.changes_inputs:
        return Finding(
            status=Status.NOT_AVAILABLE, lines=("it is declared to write to its arguments",)
        )
    tables = _mixed(examination)
    batch = Tables(tables, facts)
    rows = np.arange(1 if facts.one_row else ROWS) % len(tables)
    source = Source(facts, examination.seed)
    call = batch.call(rows, source.uniforms(len(rows), batch.coins), source.generator)
    before = {
        field.name: value.clone()
        for field in fields(call)
        if isinstance(value := getattr(call, field.name), torch.Tensor)
    }
    called(examination.kernel, call)
    changed = [
        name
        for name, value in before.items()
        if not torch.equal(
            torch.nan_to_num(value.double()), torch.nan_to_num(getattr(call, name).double())
        )
    ]
    places = sum(value.numel() for value in before.values())
    return Finding(
        status=Status.FAILED if changed else Status.PASSED,
        n=len(rows),
        places=places,
        place="elements of arguments",
        lines=tuple(f"the kernel writes to its argument {name}" for name in changed),
    )


def _mixed(examination: Examination, *, padded: bool = False) -> list[DraftTable]:
    """Tables of several lengths, laws and temperatures, all in one batch."""
    facts = examination.facts
    if facts.shape is Shape.CHAIN and facts.ragged:
        lengths = range(1, 5) if padded else range(5)
        return chains_of_all_lengths(facts, lengths, seed=examination.seed, copies=4)
    if facts.shape is Shape.TREE and facts.ragged:
        return trees_of_many_forms(facts, seed=examination.seed, copies=3)
    shape = examination.tables[-1].parents
    return [table for table in examination.tables if table.parents == shape]


def _compared(
    examination: Examination,
    how: str,
    ways: list[tuple[Kernel, str]],
    *,
    rows: int = ROWS,
    each: int = 0,
    padded: bool = False,
    refusable: bool = False,
) -> Finding:
    """The kernel called as it is and other ways: the same tokens, or else the same law."""
    facts = examination.facts
    if facts.one_row:
        return _ONE_ROW
    tables = _mixed(examination, padded=padded)
    if examination.exact:
        return _same_tokens(examination, tables, how, ways, rows, refusable)
    return _same_law(examination, tables, how, ways, each, refusable)


def _same_tokens(
    examination: Examination,
    tables: list[DraftTable],
    how: str,
    ways: list[tuple[Kernel, str]],
    rows: int,
    refusable: bool,
) -> Finding:
    facts = examination.facts
    batch = Tables(tables, facts)
    at = np.random.default_rng(examination.seed).integers(len(tables), size=rows)
    uniforms = np.random.default_rng(examination.seed + 1).random((rows, batch.coins))

    def tokens(kernel: Kernel) -> Reading:
        return batch.read(called(kernel, batch.call(at, uniforms)), rows)

    plain = tokens(examination.kernel)
    again = tokens(examination.kernel)
    if not _same(plain, again).all():
        return Finding(
            status=Status.FAILED,
            n=rows,
            places=rows,
            place="rows",
            lines=("the same rows with the same uniforms emit other tokens at a second call",),
        )
    problems, notes, places = [], [], 0
    for kernel, what in ways:
        try:
            other = tokens(kernel)
        except KernelError as error:
            if refusable or "NaN" in what or "nan" in what:
                notes.append(f"where {what}: {error}")
                continue
            problems.append(f"{how}, where {what}: {error}" if what else f"{how}: {error}")
            continue
        places += rows
        same = _same(plain, other)
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            table = tables[at[row]]
            where = f", where {what}," if what else ""
            problems.append(
                f"{how}{where} {int((~same).sum())} of {rows} rows emit other tokens: row {row} "
                f"{named_ids(batch, other, row)} in place of {named_ids(batch, plain, row)} (draft "
                f"{named(table, table.tokens)})"
            )
    return Finding(
        status=Status.FAILED if problems else Status.PASSED if places else Status.NOT_TRIED,
        n=rows,
        places=places,
        place="rows",
        lines=(*problems, *notes),
    )


def _same(one: Reading, other: Reading) -> np.ndarray:
    width = max(one.tokens.shape[1], other.tokens.shape[1])
    first, second = (
        np.pad(reading.tokens, ((0, 0), (0, width - reading.tokens.shape[1])), constant_values=-1)
        for reading in (one, other)
    )
    same: np.ndarray = (first == second).all(1)
    return same


def named_ids(batch: Tables, reading: Reading, row: int) -> tuple[int | str, ...]:
    """What a row emitted, in token ids."""
    return tuple(
        batch.ids[token] if token >= 0 else "unknown id" for token in reading.emission(row)
    )


def _same_law(
    examination: Examination,
    tables: list[DraftTable],
    how: str,
    ways: list[tuple[Kernel, str]],
    each: int,
    refusable: bool,
) -> Finding:
    facts = examination.facts
    problems, notes, places = [], [], 0
    each = each or max(8192, examination.rows // 50)
    alpha = examination.alpha / len(ways)

    def counted(kernel: Kernel, seed: int) -> Sampled:
        if facts.rule == "any":
            drafts = several_fixtures(facts, seed=examination.seed)
            return completed(kernel, facts, drafts, rows=each, alpha=alpha, seed=seed)
        return given_draft(kernel, facts, tables, rows=each, alpha=alpha, seed=seed)

    for number, (kernel, what) in enumerate(ways):
        seed = examination.seed + 7 * number
        try:
            found = counted(kernel, seed)
        except KernelError as error:
            if refusable or "NaN" in what or "nan" in what:
                notes.append(f"where {what}: {error}")
            else:
                problems.append(f"{how}: {error}")
            continue
        places += found.evidence.rows
        if found.evidence.rejects:
            where = f", where {what}," if what else ""
            form = f": {found.malformed[1]}" if found.malformed else ""
            law = "target" if facts.rule == "any" else "rule"
            problems.append(
                f"{how}{where} the law of {found.evidence.rows:,} rows is not the {law}'s{form}"
            )
            if counted(examination.kernel, seed).evidence.rejects:
                problems[-1] += (
                    "; nor is it where nothing is changed: the batch is not what matters"
                )
                break
    return Finding(
        status=Status.FAILED if problems else Status.PASSED if places else Status.NOT_TRIED,
        n=places,
        places=places,
        place="rows",
        lines=(*problems, *notes),
    )


BatchCheck = Callable[[Examination], Finding]
