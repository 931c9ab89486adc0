"""What a page is made of, and the figures that only the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from draftproof.report.promise_table import JudgedPromise
from draftproof.report.run_info import RunInfo
from draftproof.report.texts import Texts
from draftproof.statistics import RunSummary, Study, prompt_sums
from draftproof.statistics.costs import Costs, costs
from draftproof.statistics.entropy_profile import EntropyRange, entropy_profile
from draftproof.statistics.lengths import LengthHistogram, length_histogram
from draftproof.trace import CaseRecord


@dataclass(frozen=True, kw_only=True)
class PageSource:
    """A run and its figures.

    Attributes:
        run: What the run was.
        cases: Its records.
        summary: Its figures.
        study: What it says on the study's questions.
        texts: The text of its tokens, as far as it was kept.
        promised: What its budget promised beside what was measured, if anything.
        complete: Whether the run ended.
    """

    run: RunInfo
    cases: Sequence[CaseRecord]
    summary: RunSummary
    study: Study
    texts: Texts = field(default_factory=Texts)
    promised: Sequence[JudgedPromise] = ()
    complete: bool = True

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains in the order of every table and legend."""
        return tuple(self.summary.domains)

    @cached_property
    def lengths(self) -> LengthHistogram:
        """How often each accepted length occurs."""
        return length_histogram(prompt_sums(self.cases), self.domains, self.summary.resampling)

    @cached_property
    def entropies(self) -> dict[str, tuple[EntropyRange, ...]]:
        """Acceptance by draft entropy, by domain."""
        return entropy_profile(self.cases, self.domains, self.summary.resampling)

    @cached_property
    def costs(self) -> tuple[dict[str, Costs], Costs]:
        """Seconds and speedup, by domain and over all prompts."""
        return costs(self.cases, self.domains, self.summary.resampling)
