"""A kernel under examination: what is known of it, and what the checks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from draftproof.kernels.adversarial import all_drafts
from draftproof.kernels.chance import Chance, chance_of
from draftproof.kernels.contract import Kernel, KernelFacts, RandomSource
from draftproof.kernels.laws import Measured, measure_all
from draftproof.kernels.tables import DraftTable, Fixture

TOLERANCES = {"float64": 1e-12, "float32": 1e-6, "bfloat16": 2.0**-6, "float16": 2.0**-9}
"""How far an exact law may be off, by dtype."""


@dataclass(kw_only=True)
class Examination:
    """A kernel under examination.

    Attributes:
        kernel: Under test.
        facts: What is declared of it.
        name: ``module:function``, for the regression test; may be empty.
        rows: The most rows that a sequential test draws.
        alpha: A right kernel fails a sequential test with at most this probability.
        seed: Of everything that is drawn.
        drawn: Pairs of laws that are drawn besides the adversarial and the hard ones.
    """

    kernel: Kernel
    facts: KernelFacts
    name: str = ""
    rows: int = 1_000_000
    alpha: float = 1e-4
    seed: int = 0
    drawn: int = 6
    suspected: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether its law can be computed."""
        return self.facts.randomness is RandomSource.UNIFORMS

    @property
    def tolerance(self) -> float:
        """How far its exact law may be off."""
        return TOLERANCES[self.facts.dtype]

    @cached_property
    def chance(self) -> Chance:
        """Where its chance comes from, found once.

        Raises:
            KernelError: The kernel raised, or returned what no kernel may return.
        """
        return chance_of(self.kernel, self.facts)

    @cached_property
    def drafts(self) -> list[tuple[Fixture, list[DraftTable]]]:
        """Every fixture with every draft of it; fewer where the kernel takes one row a call."""
        found = all_drafts(self.facts, drawn=self.drawn, seed=self.seed)
        if self.facts.one_row:
            found = [part for part in found if len(part[1]) <= 4][:24]
        return found

    @cached_property
    def tables(self) -> list[DraftTable]:
        """All drafts, fixture after fixture."""
        return [table for _, tables in self.drafts for table in tables]

    @cached_property
    def measured(self) -> Measured:
        """The exact laws on `tables`, computed once.

        Raises:
            KernelError: The kernel raised, or returned what no kernel may return.
        """
        return self.measure(self.tables)

    def measure(self, tables: Sequence[DraftTable], *, fine: int = 1) -> Measured:
        """The exact laws on some tables."""
        return measure_all(self.kernel, self.facts, tables, fine=fine)
