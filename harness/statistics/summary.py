"""Every figure of a run, by domain and over all prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.data.prompt import DOMAINS
from harness.statistics.bootstrap import Estimate, RatioSums, Resampling, stratified_estimates
from harness.statistics.metrics import DEPTH_METRICS, METRICS
from harness.statistics.sums import PromptSums, prompt_sums
from harness.trace import CaseRecord, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCounts:
    """How many cases ended in each verdict.

    Attributes:
        identical: Both outputs are equal.
        different: They are not.
        sampled: Drawn at a temperature above 0, so not compared.
        errors: Cases that ended in an error; they are in no other figure.
    """

    identical: int = 0
    different: int = 0
    sampled: int = 0
    errors: int = 0

    @property
    def cases(self) -> int:
        """All cases."""
        return self.identical + self.different + self.sampled + self.errors


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthSummary:
    """The figures of one depth.

    Attributes:
        depth: The depth, from 1.
        nodes: Nodes drafted at it.
        metrics: An estimate for each of `DEPTH_METRICS`, by name.
    """

    depth: int
    nodes: int
    metrics: dict[str, Estimate]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSummary:
    """The figures of a domain, or of all prompts.

    Attributes:
        prompts: Prompts that were measured (those that ended in an error were not).
        steps: Their steps.
        nodes: Nodes drafted in those steps.
        metrics: An estimate for each of `METRICS`, by name.
        depth_profile: One entry a depth, from 1.
        verdicts: Of all its cases, errors included.
    """

    prompts: int
    steps: int
    nodes: int
    metrics: dict[str, Estimate]
    depth_profile: tuple[DepthSummary, ...]
    verdicts: VerdictCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The figures of a run.

    Attributes:
        domains: By domain, in the order of `in_domain_order`; only those with a case.
        overall: Of all prompts, pooled; intervals by resampling within each domain.
        resampling: How the intervals were made.
    """

    domains: dict[str, GroupSummary]
    overall: GroupSummary
    resampling: Resampling


def summarise(cases: Sequence[CaseRecord], resampling: Resampling | None = None) -> RunSummary:
    """Every figure of a run with its 95% interval by bootstrap over prompts.

    Args:
        cases: The records of the run, in any order; the result does not depend on it.
        resampling: Number of resamples, level and seed.

    Raises:
        TraceError: A record is not a trace, or an id occurs twice.
    """
    resampling = resampling or Resampling()
    sums = prompt_sums(cases)
    domains = in_domain_order(case.domain for case in cases)
    domain_of = np.array(sums.domains, dtype=object)
    members = {domain: np.flatnonzero(domain_of == domain) for domain in domains}
    numerators, denominators, absent = _ratio_columns(sums)
    estimates = stratified_estimates(
        {
            domain: RatioSums(numerators[rows], denominators[rows])
            for domain, rows in members.items()
        },
        absent,
        resampling,
    )
    return RunSummary(
        domains={
            domain: _group(
                sums,
                members[domain],
                estimates.by_stratum[domain],
                verdict_counts(case for case in cases if case.domain == domain),
            )
            for domain in domains
        },
        overall=_group(
            sums, np.arange(len(sums.case_ids)), estimates.pooled, verdict_counts(cases)
        ),
        resampling=resampling,
    )


def verdict_counts(cases: Iterable[CaseRecord]) -> VerdictCounts:
    """How many of the cases ended in each verdict."""
    verdicts = [case.verdict for case in cases]
    return VerdictCounts(
        identical=verdicts.count(Verdict.IDENTICAL),
        different=verdicts.count(Verdict.DIFFERENT),
        sampled=verdicts.count(Verdict.SAMPLED),
        errors=verdicts.count(Verdict.ERROR),
    )


def in_domain_order(domains: Iterable[str]) -> tuple[str, ...]:
    """The distinct domains: the study's in its order, then one's own by name.

    Example:
        >>> in_domain_order(["poetry", "chat", "code", "chat", "law"])
        ('code', 'chat', 'law', 'poetry')
    """
    present = set(domains)
    return (
        *(domain for domain in DOMAINS if domain in present),
        *sorted(present.difference(DOMAINS)),
    )


def _ratio_columns(sums: PromptSums) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Sums above and below the line, each ``[prompts, ratios]``: `METRICS`, then every depth's."""
    numerators = [sums.totals[metric.numerator] for metric in METRICS]
    denominators = [sums.totals[metric.denominator] for metric in METRICS]
    absent = [metric.absent for metric in METRICS]
    for depth in range(sums.depths):
        at_depth = {name: column[:, depth] for name, column in sums.by_depth.items()}
        at_depth["steps"] = sums.totals["steps"]
        numerators += [at_depth[metric.numerator] for metric in DEPTH_METRICS]
        denominators += [at_depth[metric.denominator] for metric in DEPTH_METRICS]
        absent += [metric.absent for metric in DEPTH_METRICS]
    return np.stack(numerators, axis=1), np.stack(denominators, axis=1), absent


def _group(
    sums: PromptSums, rows: np.ndarray, estimates: Sequence[Estimate], verdicts: VerdictCounts
) -> GroupSummary:
    nodes_by_depth = sums.by_depth["nodes"][rows].sum(axis=0)
    remaining = iter(estimates)
    return GroupSummary(
        prompts=len(rows),
        steps=int(sums.totals["steps"][rows].sum()),
        nodes=int(sums.totals["drafted"][rows].sum()),
        metrics={metric.name: next(remaining) for metric in METRICS},
        depth_profile=tuple(
            DepthSummary(
                depth=depth,
                nodes=int(nodes),
                metrics={metric.name: next(remaining) for metric in DEPTH_METRICS},
            )
            for depth, nodes in enumerate(nodes_by_depth, start=1)
        ),
        verdicts=verdicts,
    )
