"""What a kernel's law is on some tables: computed, where its uniforms can be given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.kernels.calling import OUTSIDE, Reading, Tables, malformed
from draftproof.kernels.coins import decompose
from draftproof.kernels.contract import END, Kernel, KernelFacts, Shape
from draftproof.kernels.judge import EmittedLaw
from draftproof.kernels.tables import DraftTable

RESOLUTIONS = {"float64": 2.0**-50, "float32": 2.0**-25, "bfloat16": 2.0**-25, "float16": 2.0**-25}
"""Width to which a boundary is bracketed, by dtype: that of uniforms in [½, 1)."""

_LEAST_DIGIT = 3


class Coder:
    """Emissions as single integers, and back.

    Args:
        support: Ids of the tables that are called together.
        width: Tokens that a row can hold.
    """

    def __init__(self, support: int, width: int) -> None:
        self.base = support + _LEAST_DIGIT
        self.width = width
        self._powers = self.base ** np.arange(width, dtype=np.int64)
        if self.base**width * (width + 3) >= 2**62:
            raise ValueError(f"{support} ids in {width} places do not fit into one integer")

    def encode(self, reading: Reading) -> np.ndarray:
        """``[rows]`` codes; wider readings are cut after a token more than fits."""
        tokens = reading.tokens[:, : self.width]
        if tokens.shape[1] < self.width:
            tokens = np.pad(
                tokens, ((0, 0), (0, self.width - tokens.shape[1])), constant_values=END
            )
        codes = ((tokens + _LEAST_DIGIT) * self._powers).sum(1)
        stated = np.zeros(len(codes), np.int64)
        if reading.accepted is not None:
            stated = np.clip(reading.accepted, -1, self.width) + 2
        coded: np.ndarray = codes * (self.width + 3) + stated
        return coded

    def decode(self, code: int) -> Reading:
        """The one row of a code."""
        code, stated = divmod(int(code), self.width + 3)
        tokens = []
        for _ in range(self.width):
            code, digit = divmod(code, self.base)
            tokens.append(digit - _LEAST_DIGIT)
        accepted = np.array([stated - 2]) if stated else None
        return Reading(tokens=np.array([tokens]), accepted=accepted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A kernel's laws on some tables.

    Attributes:
        tables: As the kernel was given them: their laws rounded to its dtype.
        laws: Of each, the law of what was emitted; `OUTSIDE` stands for unknown ids.
        malformed: Rows whose form is wrong: index of the table, and what is wrong.
        unresolved: Indices of tables whose coins do not decide one at a time.
        boundaries: Boundaries of coins that were found.
        points: Rows at which the kernel was asked.
        restless: Whether rows emitted other tokens in another order, with the same uniforms.
    """

    tables: tuple[DraftTable, ...]
    laws: tuple[EmittedLaw, ...]
    malformed: tuple[tuple[int, str], ...] = ()
    unresolved: frozenset[int] = frozenset()
    boundaries: int = 0
    points: int = 0
    restless: bool = False


def measure(
    kernel: Kernel,
    facts: KernelFacts,
    tables: Sequence[DraftTable],
    *,
    places: int = 0,
    vocabulary: int = 0,
    fine: int = 1,
) -> Measured:
    """The exact laws of a kernel that is given its uniforms.

    Args:
        kernel: Under test.
        facts: What is declared of it.
        tables: Of one shape; chains of several lengths where it takes them.
        places: Of the batch, at least.
        vocabulary: Of the batch, at least.
        fine: How many times as many points to look at.

    Raises:
        KernelError: It raised, or returned what no kernel may return.
    """
    batch = Tables(tables, facts, places=places, vocabulary=vocabulary)
    coder = Coder(len(batch.ids), max(table.depth for table in tables) + 2)
    given = batch.as_given()
    if _restless(kernel, batch, coder) or _tangled(kernel, facts, tables):
        return Measured(
            tables=tuple(given),
            laws=tuple({} for _ in given),
            unresolved=frozenset(range(len(given))),
            restless=_restless(kernel, batch, coder),
        )
    # Large vocabularies cost memory, and their tables have few ids.
    few = facts.one_row or batch.vocabulary > 1024
    boxes = decompose(
        lambda at, uniforms: coder.encode(batch.run(kernel, at, uniforms)),
        len(tables),
        batch.coins,
        resolution=RESOLUTIONS[facts.dtype],
        points=(8 if few else 32) * fine,
        random_points=(4 if few else 32) * fine,
    )
    laws: list[EmittedLaw] = []
    wrong: list[tuple[int, str]] = []
    for index, (table, coded) in enumerate(zip(given, boxes.laws(len(tables)), strict=True)):
        law: dict[tuple[int, ...], float] = {}
        for code, share in coded.items():
            reading = local(coder.decode(code), batch.ids, table)
            problem = malformed(reading, table, 0)
            if problem is not None and share > 0:
                wrong.append((index, problem))
            emitted = reading.emission(0)
            law[emitted] = law.get(emitted, 0.0) + share
        laws.append(law)
    return Measured(
        tables=tuple(given),
        laws=tuple(laws),
        malformed=tuple(wrong),
        unresolved=boxes.unresolved,
        boundaries=sum(boxes.boundaries(index) for index in range(len(tables))),
        points=boxes.calls,
    )


def _restless(kernel: Kernel, batch: Tables, coder: Coder) -> bool:
    """Whether the same rows with the same uniforms emit other tokens in another order."""
    few = batch.facts.one_row or batch.vocabulary > 1024
    random = np.random.default_rng(5)
    at = np.arange(len(batch.tables) * (2 if few else 8)) % len(batch.tables)
    uniforms = random.random((len(at), batch.coins))
    order = random.permutation(len(at))
    plain = coder.encode(batch.run(kernel, at, uniforms))
    other = coder.encode(batch.run(kernel, at[order], uniforms[order]))
    return not np.array_equal(plain[order], other)


def _tangled(kernel: Kernel, facts: KernelFacts, tables: Sequence[DraftTable]) -> bool:
    """Whether already the first of many tables falls into boxes without end."""
    first = next((table for table in tables if table.depth), None)
    if len(tables) < 3 or first is None:
        return False
    return bool(measure(kernel, facts, [first]).unresolved)


def grouped(tables: Sequence[DraftTable], facts: KernelFacts) -> list[list[int]]:
    """Indices of tables that one call can hold; each length of chains apart, for few coins."""
    groups: dict[object, list[int]] = {}
    for index, table in enumerate(tables):
        form = table.parents if facts.shape is Shape.TREE else len(table)
        groups.setdefault((form, table.vocabulary > 4 * len(table.ids)), []).append(index)
    return list(groups.values())


def measure_all(
    kernel: Kernel, facts: KernelFacts, tables: Sequence[DraftTable], *, fine: int = 1
) -> Measured:
    """As `measure`, for tables of several shapes, in their order."""
    given: list[DraftTable] = list(tables)
    laws: list[EmittedLaw] = [{}] * len(tables)
    wrong: list[tuple[int, str]] = []
    unresolved: set[int] = set()
    boundaries = points = 0
    restless = False
    for group in grouped(tables, facts):
        part = measure(kernel, facts, [tables[index] for index in group], fine=fine)
        for position, index in enumerate(group):
            given[index], laws[index] = part.tables[position], part.laws[position]
        wrong += [(group[position], problem) for position, problem in part.malformed]
        unresolved |= {group[position] for position in part.unresolved}
        boundaries, points = boundaries + part.boundaries, points + part.points
        restless |= part.restless
    return Measured(
        tables=tuple(given),
        laws=tuple(laws),
        malformed=tuple(wrong),
        unresolved=frozenset(unresolved),
        boundaries=boundaries,
        points=points,
        restless=restless,
    )


def local(reading: Reading, ids: Sequence[int], table: DraftTable) -> Reading:
    """A reading in positions of one table's support, from those of the batch's."""
    if tuple(ids) == table.ids:
        return reading
    where = {i: position for position, i in enumerate(table.ids)}
    own = np.array([where.get(i, OUTSIDE) for i in ids])
    tokens = reading.tokens
    known = tokens >= 0
    return Reading(
        tokens=np.where(known, own[np.where(known, tokens, 0)], tokens), accepted=reading.accepted
    )


def largest_gap(expected: EmittedLaw, found: EmittedLaw) -> float:
    """The largest difference of two laws' probabilities of one emission.

    Example:
        >>> largest_gap({(0,): 1.0}, {(0,): 0.75, (1,): 0.25})
        0.25
    """
    keys = expected.keys() | found.keys()
    return max(abs(expected.get(key, 0.0) - found.get(key, 0.0)) for key in keys)
