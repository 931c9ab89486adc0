"""Checks of a kernel's own draws: seeds, draw counts, and independence of rows and calls."""

from __future__ import annotations

import numpy as np
import torch

from draftproof.conformance.check_result import Finding, Status
from draftproof.kernels.calling import Reading, Tables, called
from draftproof.kernels.contract import RandomSource
from draftproof.kernels.evidence import TOLERANCES, Evidence, Null
from draftproof.kernels.examination import Examination
from draftproof.kernels.judge import EmittedLaw, rule_law
from draftproof.kernels.sampling import Source, place
from draftproof.kernels.tables import DraftTable, chain, drafts, turning

ROWS = 512
MOST_DRAWS = 200_000

_UNIFORMS = Finding(
    status=Status.NOT_AVAILABLE, lines=("it draws nothing: its uniforms are given to it",)
)


def _table(examination: Examination) -> DraftTable:
    """A table on which coin and correction are both open."""
    shape = chain(1) if examination.facts.shape == "chain" else (-1, -1)
    fixture = turning(
        "open",
        np.array([0.3, 0.3, 0.4]),
        np.array([0.6, 0.2, 0.2]),
        shape,
        proposals=examination.facts.proposals,
    )
    return next(iter(drafts(fixture)))


def same_seed(examination: Examination) -> Finding:
    """A generator in the same state gives the same tokens, and in another state others."""
    facts = examination.facts
    if facts.randomness is not RandomSource.GENERATOR:
        return _UNIFORMS if examination.exact else _no_generator()
    batch = Tables([_table(examination)], facts)
    rows = np.zeros(1 if facts.one_row else ROWS, np.int64)

    def tokens(seed: int) -> np.ndarray:
        generator = torch.Generator(facts.device)
        found = []
        generator.manual_seed(seed)
        for _ in range(64 if facts.one_row else 1):
            call = batch.call(rows, None, generator)
            found.append(batch.read(called(examination.kernel, call), len(rows)).tokens)
        return np.concatenate(found)

    first, again, other = tokens(1), tokens(1), tokens(2)
    problems = []
    if not np.array_equal(first, again):
        problems.append(
            "two calls with the generator in the same state emit other tokens: something else is "
            "drawn from, or the result depends on timing"
        )
    if np.array_equal(first, other):
        problems.append("two seeds of the generator give the same tokens: it is not drawn from")
    return Finding(
        status=Status.FAILED if problems else Status.PASSED,
        n=3,
        places=3 * len(first),
        place="rows",
        lines=tuple(problems),
    )


def draws(examination: Examination) -> Finding:
    """The given generator is drawn from, and torch's own is left alone."""
    facts = examination.facts
    if facts.randomness is not RandomSource.GENERATOR:
        return _UNIFORMS if examination.exact else _no_generator()
    table = _table(examination)
    batch = Tables([table], facts)
    rows = np.zeros(1 if facts.one_row else ROWS, np.int64)
    generator = torch.Generator(facts.device)
    generator.manual_seed(3)
    start = generator.get_state()
    own = torch.get_rng_state()
    called(examination.kernel, batch.call(rows, None, generator))
    problems = []
    if not torch.equal(own, torch.get_rng_state()):
        problems.append("torch's own generator was drawn from, although another was given")
    if torch.equal(start, generator.get_state()):
        problems.append(
            "the generator that was given is in the state that it was in: not drawn from"
        )
    lines = []
    count = _count(start, generator) if facts.device == "cpu" else None
    told: dict[str, object] = {}
    if count is not None:
        told["draws_a_row"] = count / len(rows)
        lines.append(f"{count / len(rows):.3g} uniforms' worth of draws a row")
        if count < len(rows) and not problems:
            problems.append(
                f"{count} draws for {len(rows)} rows with a coin each: rows share their draws"
            )
    return Finding(
        status=Status.FAILED if problems else Status.PASSED,
        n=1,
        places=len(rows),
        place="rows",
        lines=(*problems, *lines),
        facts=told,
    )


def _count(start: torch.Tensor, used: torch.Generator) -> int | None:
    """How many float32 uniforms bring a generator from one state to another's; None if too many."""
    probe = torch.Generator()
    probe.set_state(start)
    end = used.get_state()
    # Single draws and large ones advance the state differently; count single ones.
    for count in range(1, MOST_DRAWS):
        torch.rand(1, generator=probe)
        if torch.equal(probe.get_state(), end):
            return count
        if count > 8192:
            return None
    return None


def independence(examination: Examination) -> Finding:
    """Rows of one batch, and calls after one another, are independent."""
    facts = examination.facts
    if examination.exact:
        return _UNIFORMS
    if facts.rule == "any":
        return Finding(
            status=Status.NOT_AVAILABLE, lines=("no rule is declared: rows have no known law",)
        )
    table = _table(examination)
    batch = Tables([table], facts)
    given = batch.as_given()[0]
    law = rule_law(facts.rule, given)
    null = Null.of(_pairs(law), {}, (), TOLERANCES[facts.dtype])
    source = Source(facts, examination.seed + 11)
    problems, rows = [], 0
    size = 400 if facts.one_row else 4096
    tests = {
        name: Evidence([null], (), alpha=examination.alpha / 3, tolerance=TOLERANCES[facts.dtype])
        for name in ("rows side by side", "rows half a batch apart", "the same row of two calls")
    }
    for _ in range(3):
        first, second = (
            batch.run(examination.kernel, np.zeros(size, np.int64), None, source.generator)
            for _ in range(2)
        )
        rows += 2 * size
        half = size // 2
        pairs = {
            "rows side by side": (_part(first, slice(0, None, 2)), _part(first, slice(1, None, 2))),
            "rows half a batch apart": (
                _part(second, slice(0, half)),
                _part(second, slice(half, 2 * half)),
            ),
            "the same row of two calls": (first, second),
        }
        for name, (one, other) in pairs.items():
            counts = np.zeros(len(null.law))
            for row in range(len(one.tokens)):
                counts[place(null, (*one.emission(row), -9, *other.emission(row)))] += 1
            tests[name].add(0, counts)
    problems = [
        f"{name} are not independent (e-value 10^{test.value / np.log(10):.1f})"
        for name, test in tests.items()
        if test.rejects
    ]
    return Finding(
        status=Status.FAILED if problems else Status.PASSED,
        n=rows,
        places=rows,
        place="rows",
        lines=tuple(problems),
    )


def _part(reading: Reading, rows: slice) -> Reading:
    return Reading(tokens=reading.tokens[rows])


def _pairs(law: EmittedLaw) -> EmittedLaw:
    return {
        (*one, -9, *other): share * second
        for one, share in law.items()
        for other, second in law.items()
    }


def _no_generator() -> Finding:
    return Finding(status=Status.NOT_AVAILABLE, lines=("it takes no generator",))
