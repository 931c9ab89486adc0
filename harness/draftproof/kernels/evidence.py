"""The sequential test of a kernel that draws by itself: counts of emissions against their law.

For each table the null law of an emission is known, so that for any other law a the product of
a/null over rows is a nonnegative martingale with mean 1 while the kernel is right and its rows are
independent. The test's value is an average, under weights that are fixed beforehand, of such
products: of every named fault at four shares of rows (one product over all tables), and of
Dirichlet mixtures around the null law, which have no fault in mind (one for each table, and one
over all). By Ville's inequality it ever reaches 1/α with probability at most α, whenever one looks;
so batches may be drawn until it does.

A null law is known up to rounding: `TOLERANCE` of it is taken off at every row, and emissions that
only rounding makes possible (a rejection where p and q are equal) have at least that probability.

Source:
    Ville 1939; Robbins 1970 for mixtures; Ramdas et al. 2023 (arXiv 2210.01948) for e-processes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from draftproof.kernels.judge import EmittedLaw

SHARES = (1.0, 0.1, 0.01, 0.001)
"""Shares of rows at which a named fault is taken to act."""

CONCENTRATIONS = (3.0, 1e2, 1e3, 1e4, 1e5)
"""Of the Dirichlet mixtures: how many rows' worth they trust the null law."""

TOLERANCES = {"float64": 1e-9, "float32": 1e-6, "bfloat16": 2.0**-6, "float16": 2.0**-9}
"""Relative error of the null law, by the dtype of the probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Null:
    """The law of a table's emissions, and those of the faults.

    Attributes:
        emissions: Those of positive probability.
        law: ``[emissions + 1]``; the last is what only rounding makes possible.
        faults: ``[faults, emissions + 1]``.
    """

    emissions: tuple[tuple[int, ...], ...]
    law: np.ndarray
    faults: np.ndarray

    @classmethod
    def of(
        cls,
        law: EmittedLaw,
        faults: Mapping[str, EmittedLaw],
        names: Sequence[str],
        tolerance: float,
    ) -> Null:
        """From laws by emission.

        Args:
            law: What must be.
            faults: By name; those without an effect may be missing.
            names: Of all faults, in order.
            tolerance: Of rounding.
        """
        emissions = tuple(key for key, share in law.items() if share > 0)
        spare = max(tolerance, 1e-9)

        def row(values: EmittedLaw) -> np.ndarray:
            inside = np.array([values.get(key, 0.0) for key in emissions])
            return np.append(inside, max(0.0, 1 - inside.sum()))

        null = row(law)
        null[-1] = 0
        null = null / null.sum() * (1 - spare)
        null[-1] = spare
        others = np.array([row(faults.get(name, law)) for name in names]).reshape(
            len(names), len(null)
        )
        return cls(emissions=emissions, law=null, faults=others)


class Evidence:
    """Counts of emissions, and the value of the test so far.

    Args:
        nulls: Of each table.
        names: Of the faults.
        alpha: A right kernel is rejected with at most this probability.
        tolerance: Of rounding.

    Attributes:
        rows: Counted.
        proof: The first emission that cannot be: what was emitted, and at which table.
    """

    def __init__(
        self, nulls: Sequence[Null], names: Sequence[str], *, alpha: float, tolerance: float
    ) -> None:
        self.nulls, self.names, self.alpha = list(nulls), list(names), alpha
        self.counts = [np.zeros(len(null.law)) for null in nulls]
        self.rows = 0
        self.proof: tuple[int, str] | None = None
        self._tolerance = tolerance
        self._logs = [
            np.stack(
                [_logarithms((1 - share) + share * null.faults / null.law) for share in SHARES],
                1,
            )
            for null in nulls
        ]
        self._named = np.zeros((len(self.names), len(SHARES)))
        self._dirichlet = np.zeros((len(nulls), len(CONCENTRATIONS)))

    @property
    def bar(self) -> float:
        """The logarithm of 1/α: the value at which the test rejects."""
        return math.log(1 / self.alpha)

    def add(self, table: int, counts: np.ndarray) -> None:
        """Count emissions of a table: ``[emissions + 1]``."""
        cost = self._tolerance * counts.sum()
        if len(self.names):
            self._named += self._logs[table] @ counts - cost
        self.counts[table] += counts
        self.rows += int(counts.sum())
        total, law = self.counts[table], self.nulls[table].law
        n = total.sum()
        plain = total @ np.log(law)
        self._dirichlet[table] = [
            gammaln(k)
            - gammaln(k + n)
            + (gammaln(k * law + total) - gammaln(k * law)).sum()
            - plain
            - self._tolerance * n
            for k in CONCENTRATIONS
        ]

    @property
    def value(self) -> float:
        """The logarithm of the test's value; infinite where there is proof."""
        if self.proof is not None:
            return math.inf
        parts = [
            _mean(self._dirichlet.ravel()),
            _mean(self._dirichlet.sum(0)),
        ]
        if len(self.names):
            parts.append(_mean(self._named.ravel()))
        return _mean(np.array(parts))

    @property
    def rejects(self) -> bool:
        """Whether the test has reached 1/α."""
        return self.value >= self.bar

    def found(self, table: int) -> EmittedLaw:
        """The share of each emission of a table; what is not in the null law is `()`."""
        null, counts = self.nulls[table], self.counts[table]
        shares = counts / max(1.0, counts.sum())
        keys = (*null.emissions, ())
        return {key: float(s) for key, s in zip(keys, shares, strict=True) if s > 0}

    def named_best(self) -> tuple[str, float, float] | None:
        """The named fault that explains the counts best, its share, and its logarithm."""
        if not len(self.names):
            return None
        fault, share = np.unravel_index(int(np.argmax(self._named)), self._named.shape)
        value = float(self._named[fault, share])
        return self.names[int(fault)], SHARES[int(share)], value

    @property
    def unnamed(self) -> float:
        """The logarithm of the likelihood ratio of laws that no name was given, over all tables."""
        return float(self._dirichlet.sum(0).max())

    def worst_table(self) -> int:
        """The table whose own counts speak loudest."""
        return int(np.argmax(self._dirichlet.max(1)))


def _logarithms(values: np.ndarray) -> np.ndarray:
    logs: np.ndarray = np.log(np.maximum(values, 1e-12))
    return logs


def _mean(logs: np.ndarray) -> float:
    return float(logsumexp(logs) - math.log(logs.size))


def smallest_share(
    null: Sequence[Null], fault: int, rows: float, *, alpha: float, tests: int
) -> float:
    """The smallest share of rows at which a fault would be found with probability about .95.

    Args:
        null: Of every table; rows are spread over them evenly.
        fault: Index of the fault.
        rows: Counted in all.
        alpha: Of the test.
        tests: Alternatives that share the test's weight.

    Returns:
        From a grid of shares, 1 … 10⁻⁶; NaN where even 1 is too small.
    """
    bar = math.log(tests / alpha)
    smallest = math.nan
    each = rows / len(null)
    for share in np.logspace(0, -6, 49):
        drift = variance = 0.0
        for table in null:
            fault_law = (1 - share) * table.law + share * table.faults[fault]
            fault_law = np.maximum(fault_law, 1e-15)
            logs = np.log(fault_law / table.law)
            mean = float(fault_law @ logs)
            drift += each * mean
            variance += each * max(0.0, float(fault_law @ logs**2) - mean**2)
        if drift - 1.645 * math.sqrt(variance) < bar:
            break
        smallest = float(share)
    return smallest
