"""Checks at the ends of coins: uniforms, or draws, of exactly 0 and of the largest below 1."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from draftproof.conformance.check_result import Finding, Status
from draftproof.kernels.calling import Reading, Tables, called, malformed, named
from draftproof.kernels.contract import RandomSource
from draftproof.kernels.examination import Examination
from draftproof.kernels.laws import grouped, local
from draftproof.kernels.sampling import impossible
from draftproof.kernels.tables import DraftTable

_SHOWN = 4
"""Problems of one kind that are told; the others are counted."""

ENDS = {"0": (3, 1_532_311, 0.0), "1 − 2⁻²⁴": (3, 3_641_423, 1 - 2.0**-24)}
"""By value: a seed of torch's generator on a CPU, and the uniforms in float32 before that one."""

_TABLES, _ROWS = 12, 8


def edge_coins(examination: Examination) -> Finding:
    """With uniforms of 0 and of the largest below 1, no impossible token is emitted."""
    if not examination.exact:
        return _drawn_ends(examination)
    facts = examination.facts
    top = 1 - 2.0**-53 if facts.dtype == "float64" else 1 - 2.0**-24
    problems: list[str] = []
    rows = 0
    tables = examination.tables[:: 4 if facts.one_row else 1]
    for group in grouped(tables, facts):
        batch = Tables([tables[index] for index in group], facts)
        given, coins = batch.as_given(), batch.coins
        random = np.random.default_rng(examination.seed)
        points = [list(row) for row in itertools.product((0.0, top), repeat=min(coins, 3))]
        fixed = np.array([row + [0.5] * (coins - len(row)) for row in points])
        single = np.repeat(random.random((1, coins)), 2 * coins, 0)
        single[np.arange(2 * coins), np.arange(2 * coins) // 2] = [0.0, top] * coins
        every = np.concatenate([fixed, single])
        at = np.repeat(np.arange(len(given)), len(every))
        uniforms = np.tile(every, (len(given), 1))
        reading = batch.run(examination.kernel, at, uniforms)
        rows += len(at)
        for row in range(len(at)):
            table = given[at[row]]
            wrong = _impossible_row(reading, row, batch.ids, table)
            if wrong is not None:
                ends = [f"{value:.9g}" for value in uniforms[row]]
                problems.append(
                    f"with uniforms {', '.join(ends)}: {wrong} (fixture '{table.name}', draft "
                    f"{named(table, table.tokens)})"
                )
    return _told(problems, rows)


def _told(problems: Sequence[str], rows: int) -> Finding:
    hidden = len(problems) - _SHOWN
    return Finding(
        status=Status.FAILED if problems else Status.PASSED,
        n=rows,
        places=rows,
        place="ends of coins",
        lines=(*problems[:_SHOWN], *([f"and {hidden:,} more"] if hidden > 0 else [])),
    )


def _drawn_ends(examination: Examination) -> Finding:
    """The same of a kernel that draws by itself: torch's generator is put before such a draw."""
    facts = examination.facts
    if facts.device != "cpu":
        return Finding(
            status=Status.NOT_AVAILABLE,
            lines=("where a device's generator gives such numbers is not known",),
        )
    rows = 1 if facts.one_row else _ROWS
    problems: list[str] = []
    asked = 0
    tables = [t for t in examination.tables if len(t) <= 2 and (t.target == 0).any()][:_TABLES]
    for group in grouped(tables, facts):
        batch = Tables([tables[index] for index in group], facts)
        steps = rows * (batch.coins + 1)
        for value, states in _states(steps):
            for position, state in itertools.product(range(len(group)), states):
                generator = None
                if facts.randomness is RandomSource.GENERATOR:
                    generator = torch.Generator()
                    generator.set_state(state)
                else:
                    torch.set_rng_state(state)
                call = batch.call(np.full(rows, position), None, generator)
                reading = batch.read(called(examination.kernel, call), rows)
                asked += rows
                table = batch.tables[position]
                wrong = [_impossible_row(reading, row, batch.ids, table) for row in range(rows)]
                problems += [
                    f"with a draw of {value}: {what} (fixture '{table.name}', draft "
                    f"{named(table, table.tokens)})"
                    for what in wrong
                    if what is not None
                ]
    if not asked:
        return Finding(
            status=Status.NOT_TRIED, lines=("torch's generator gives other numbers here",)
        )
    return _told(problems, asked)


def _states(steps: int) -> Iterator[tuple[str, list[torch.Tensor]]]:
    """States of a generator from which the draw in question is the first, the second, and so on."""
    for value, (seed, before, expected) in ENDS.items():
        generator = torch.Generator()
        generator.manual_seed(seed)
        torch.rand(before - steps + 1, generator=generator)
        states = []
        for _ in range(steps):
            states.append(generator.get_state())
            drawn = float(torch.rand(1, generator=generator))
        if drawn == expected:
            yield value, states


def _impossible_row(
    reading: Reading, row: int, ids: Sequence[int], table: DraftTable
) -> str | None:
    accepted = None if reading.accepted is None else reading.accepted[row : row + 1]
    one = local(Reading(tokens=reading.tokens[row : row + 1], accepted=accepted), ids, table)
    return malformed(one, table, 0) or impossible(table, one.emission(0))
