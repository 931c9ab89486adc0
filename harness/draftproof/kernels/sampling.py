"""Rows of a kernel that draws by itself, counted until the test decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from draftproof.kernels.calling import Reading, Tables, malformed
from draftproof.kernels.contract import Kernel, KernelFacts, RandomSource, Shape
from draftproof.kernels.evidence import TOLERANCES, Evidence, Null
from draftproof.kernels.faults import NAMES, fault_laws
from draftproof.kernels.judge import EmittedLaw, completed_law, rule_law, sequence, target_law
from draftproof.kernels.laws import Coder, grouped, local
from draftproof.kernels.tables import DraftTable, Fixture, row_of

FIRST_BATCH = 8192
LARGEST_BATCH = 131_072


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """The end of a sequential test.

    Attributes:
        evidence: Counts and value.
        tables: Whose emissions were counted.
        malformed: The first row whose form is wrong: its table and what is wrong.
    """

    evidence: Evidence
    tables: tuple[DraftTable, ...]
    malformed: tuple[int, str] | None = None


class Source:
    """What a kernel is given for its chance: uniforms or a generator of ours, or nothing.

    Args:
        facts: Of the kernel.
        seed: Of whatever is drawn here; a kernel that draws from torch's own generator is given
            that generator in a state made from this seed.
    """

    def __init__(self, facts: KernelFacts, seed: int) -> None:
        self._facts = facts
        self._uniform = np.random.default_rng(seed)
        self.generator: torch.Generator | None = None
        if facts.randomness is RandomSource.GENERATOR:
            self.generator = torch.Generator(facts.device)
            self.generator.manual_seed(seed)
        elif facts.randomness is RandomSource.OWN:
            torch.manual_seed(seed)

    def uniforms(self, rows: int, coins: int) -> np.ndarray | None:
        """``[rows, coins]``, if the kernel takes any."""
        if self._facts.randomness is not RandomSource.UNIFORMS:
            return None
        return self._uniform.random((rows, coins))


class Batches:
    """Tables in groups that one call can hold, with one numbering.

    Args:
        tables: In their order.
        facts: Of the kernel.
        places: Of a call, at least.
    """

    def __init__(self, tables: Sequence[DraftTable], facts: KernelFacts, places: int = 0) -> None:
        self.given: list[DraftTable] = list(tables)
        self.groups: list[tuple[np.ndarray, Tables, Coder]] = []
        for members in _together(tables, facts):
            batch = Tables([tables[index] for index in members], facts, places=places)
            width = max(tables[index].depth for index in members) + 2
            self.groups.append((np.array(members), batch, Coder(len(batch.ids), width)))
            for index, table in zip(members, batch.as_given(), strict=True):
                self.given[index] = table

    def emissions(
        self, kernel: Kernel, at: np.ndarray, source: Source
    ) -> Iterator[tuple[int, Reading, np.ndarray]]:
        """Every table's distinct rows with their numbers, from one run over rows of all tables.

        Args:
            kernel: To call.
            at: ``[rows]`` index of each row's table.
            source: Of its chance.
        """
        for members, batch, coder in self.groups:
            inside = np.full(len(self.given), -1)
            inside[members] = np.arange(len(members))
            own = inside[at]
            own = own[own >= 0]
            if not len(own):
                continue
            reading = batch.run(
                kernel, own, source.uniforms(len(own), batch.coins), source.generator
            )
            codes = coder.encode(reading)
            order = np.argsort(own, kind="stable")
            bounds = np.searchsorted(own[order], np.arange(len(members) + 1))
            for position, index in enumerate(members.tolist()):
                rows = codes[order[bounds[position] : bounds[position + 1]]]
                distinct, amounts = np.unique(rows, return_counts=True)
                for code, amount in zip(distinct.tolist(), amounts, strict=True):
                    yield index, local(coder.decode(code), batch.ids, self.given[index]), amount


def _together(tables: Sequence[DraftTable], facts: KernelFacts) -> list[list[int]]:
    """Groups that one call takes: chains of all lengths, or trees of as many nodes."""
    if not facts.ragged:
        return grouped(tables, facts)
    groups: dict[tuple[int, bool], list[int]] = {}
    for index, table in enumerate(tables):
        nodes = len(table) if facts.shape is Shape.TREE else 0
        groups.setdefault((nodes, table.vocabulary > 4 * len(table.ids)), []).append(index)
    return list(groups.values())


def given_draft(
    kernel: Kernel,
    facts: KernelFacts,
    tables: Sequence[DraftTable],
    *,
    rows: int,
    alpha: float,
    seed: int = 0,
    places: int = 0,
) -> Sampled:
    """Test the law of emissions given the draft, on rows of all tables mixed.

    Args:
        kernel: Under test.
        facts: What is declared of it; its rule is not ``any``.
        tables: To take rows of.
        rows: The most to draw.
        alpha: A right kernel is rejected with at most this probability.
        seed: Of the order of rows and of what the kernel is given.
        places: Of a call, at least.

    Raises:
        KernelError: It raised, or returned what no kernel may return.
    """
    batches = Batches(tables, facts, places)
    given, tolerance = batches.given, TOLERANCES[facts.dtype]
    nulls = [
        Null.of(rule_law(facts.rule, table), fault_laws(facts.rule, table), NAMES, tolerance)
        for table in given
    ]
    evidence = Evidence(nulls, NAMES, alpha=alpha, tolerance=tolerance)
    source, random = Source(facts, seed), np.random.default_rng(seed + 1)
    size = min(FIRST_BATCH, rows)
    while evidence.rows < rows and not evidence.rejects:
        at = random.permutation(np.arange(size) % len(given))
        counts = [np.zeros(len(null.law)) for null in nulls]
        for index, row, amount in batches.emissions(kernel, at, source):
            emitted = row.emission(0)
            problem = malformed(row, given[index], 0) or impossible(given[index], emitted)
            if problem is not None:
                evidence.proof = (index, problem)
                return Sampled(evidence=evidence, tables=tuple(given), malformed=(index, problem))
            counts[index][place(nulls[index], emitted)] += amount
        for index, own in enumerate(counts):
            if own.any():
                evidence.add(index, own)
        size = min(LARGEST_BATCH, size * 2, max(1, rows - evidence.rows))
    return Sampled(evidence=evidence, tables=tuple(given))


def place(null: Null, emitted: tuple[int, ...]) -> int:
    """Index of an emission in a null law."""
    return null.emissions.index(emitted) if emitted in null.emissions else len(null.emissions)


def impossible(table: DraftTable, emitted: tuple[int, ...]) -> str | None:
    """Why an emission can never be, whatever the rule; None if it can."""
    node = -1
    for depth, token in enumerate(emitted):
        if not 0 <= token < len(table.ids):
            return f"position {depth}: an id was emitted that has probability 0"
        if table.target[node + 1][token] <= 0:
            return (
                f"position {depth}: id {table.ids[token]} was emitted, whose probability under the "
                "target is 0"
            )
        following = [c for c in table.children.get(node, ()) if table.tokens[c] == token]
        if not following:
            return None
        node = following[0]
    return None


def completed(
    kernel: Kernel,
    facts: KernelFacts,
    drafts: Sequence[tuple[Fixture, Sequence[DraftTable]]],
    *,
    rows: int,
    alpha: float,
    seed: int = 0,
) -> Sampled:
    """Test the law of emissions over drafts, each emission continued by the target alone.

    Whatever is lossless passes; arguments as for `given_draft`, and of each fixture its drafts.
    """
    tolerance = TOLERANCES[facts.dtype]
    batches = Batches([table for _, tables in drafts for table in tables], facts)
    given = batches.given
    rule = facts.rule if facts.rule != "any" else _nearest_rule(facts)
    nulls: list[Null] = []
    starts: list[int] = []
    weights: list[np.ndarray] = []
    fixture_of: list[int] = []
    for index, (fixture, tables) in enumerate(drafts):
        starts.append(len(fixture_of))
        own = given[starts[-1] : starts[-1] + len(tables)]
        fixture_of += [index] * len(tables)
        weights.append(np.cumsum([table.weight for table in tables]))
        laws: dict[str, list[tuple[float, EmittedLaw]]] = defaultdict(list)
        for table in own:
            for name, law in fault_laws(rule, table).items():
                laws[name].append((table.weight, law))
        faults = {
            name: _by_sequence(fixture, completed_law(fixture, parts))
            for name, parts in laws.items()
        }
        nulls.append(Null.of(_by_sequence(fixture, target_law(fixture)), faults, NAMES, tolerance))
    evidence = Evidence(nulls, NAMES, alpha=alpha, tolerance=tolerance)
    source, random = Source(facts, seed), np.random.default_rng(seed + 1)
    size = min(FIRST_BATCH, rows)
    while evidence.rows < rows and not evidence.rejects:
        owner = random.permutation(np.arange(size) % len(drafts))
        at = np.empty(size, np.int64)
        for index, cumulative in enumerate(weights):
            mine = np.flatnonzero(owner == index)
            picks = np.searchsorted(cumulative, random.random(len(mine)) * cumulative[-1], "right")
            at[mine] = starts[index] + np.minimum(picks, len(cumulative) - 1)
        counts = [np.zeros(len(null.law)) for null in nulls]
        for table_index, row, amount in batches.emissions(kernel, at, source):
            table, index = given[table_index], fixture_of[table_index]
            emitted = row.emission(0)
            problem = malformed(row, table, 0) or impossible(table, emitted)
            if problem is not None:
                evidence.proof = (index, problem)
                return Sampled(
                    evidence=evidence, tables=tuple(given), malformed=(table_index, problem)
                )
            fixture = drafts[index][0]
            ends = _continued(fixture, emitted, int(amount), random)
            for end, number in zip(*np.unique(ends, return_counts=True), strict=True):
                key = sequence(int(end), fixture.support, fixture.depth + 1)
                counts[index][place(nulls[index], key)] += number
        for index, own_counts in enumerate(counts):
            if own_counts.any():
                evidence.add(index, own_counts)
        size = min(LARGEST_BATCH, size * 2, max(1, rows - evidence.rows))
    return Sampled(evidence=evidence, tables=tuple(given))


def _nearest_rule(facts: KernelFacts) -> str:
    return {
        "deterministic": "point-mass",
        "independent": "multi-round",
        "without_replacement": "without-replacement",
    }[str(facts.proposals)]


def _by_sequence(fixture: Fixture, law: np.ndarray) -> EmittedLaw:
    length = fixture.depth + 1
    return {
        sequence(index, fixture.support, length): float(share)
        for index, share in enumerate(law)
        if share > 0
    }


def _continued(
    fixture: Fixture, emitted: tuple[int, ...], count: int, random: np.random.Generator
) -> np.ndarray:
    """Indices of sequences that begin with an emission and that the target went on with."""
    rows = np.full(count, row_of(emitted, fixture.support))
    for depth in range(len(emitted), fixture.depth + 1):
        cumulative = np.cumsum(fixture.target[depth], 1)[rows]
        drawn = random.random(count)[:, None] * cumulative[:, -1:]
        rows = rows * fixture.support + np.minimum(
            (cumulative <= drawn).sum(1), fixture.support - 1
        )
    return rows
