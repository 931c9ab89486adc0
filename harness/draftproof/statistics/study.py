"""The study's questions of one run: entropy, position, task or depth, order, and its findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from draftproof.data.prompt import DOMAINS
from draftproof.statistics.association import entropy_and_acceptance, spearman
from draftproof.statistics.bootstrap import Estimate, stratified_estimates
from draftproof.statistics.coupling import Couplings, coupling
from draftproof.statistics.dependence import TaskOrDepth, task_or_depth
from draftproof.statistics.findings import Evidence, Finding, findings
from draftproof.statistics.metrics import ENTROPY_METRIC, METRICS, RatioMetric
from draftproof.statistics.ordering import DomainOrder, domain_order
from draftproof.statistics.positions import PositionProfile, position_profile
from draftproof.statistics.replicates import Replicates
from draftproof.statistics.resampling import Resampling
from draftproof.statistics.summary import (
    domain_ratio_sums,
    in_domain_order,
    study_length_estimate,
)
from draftproof.statistics.sums import PromptSums, prompt_sums
from draftproof.trace import CaseRecord, Verdict

ACCEPTANCE = next(metric for metric in METRICS if metric.name == "acceptance_probability")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What a run says about the study's questions.

    Attributes:
        draft_entropy: Mean draft entropy of a node in nats, by domain.
        entropy_correlation: Spearman's ρ of draft entropy and acceptance probability, by domain.
        positions: Acceptance by position in the output.
        task_or_depth: What domain and depth say about acceptance.
        acceptance_order: The domains by acceptance probability.
        entropy_order: The domains by draft entropy.
        findings: The study's five findings; empty unless the run has its four domains.
        coupling: How near drawn chains come to the bound; None of other drafts.
    """

    draft_entropy: dict[str, Estimate]
    entropy_correlation: dict[str, Estimate]
    positions: PositionProfile
    task_or_depth: TaskOrDepth
    acceptance_order: DomainOrder
    entropy_order: DomainOrder
    findings: tuple[Finding, ...] = ()
    coupling: Couplings | None = None


def study(
    cases: Sequence[CaseRecord],
    resampling: Resampling | None = None,
    *,
    is_drawn_chain: bool = False,
) -> Study:
    """What a run says about the study's questions; see ``docs/statistics.md``.

    Args:
        cases: The records of the run, in any order; the result does not depend on it.
        resampling: Number of resamples, level and seed.
        is_drawn_chain: Whether drafts were chains drawn from the draft model's law, which their
            records do not tell.

    Raises:
        TraceError: A record is not a trace, or an id occurs twice.
    """
    resampling = resampling or Resampling()
    measured = [case for case in cases if case.verdict is not Verdict.ERROR]
    found = _study(measured, in_domain_order(case.domain for case in measured), resampling)
    if is_drawn_chain:
        found = replace(found, coupling=coupling(measured, resampling))
    return found


def _study(cases: Sequence[CaseRecord], domains: Sequence[str], resampling: Resampling) -> Study:
    sums = prompt_sums(cases)
    correlations = _correlations(cases, domains, resampling)
    found = Study(
        draft_entropy=_by_domain(sums, ENTROPY_METRIC, domains, resampling),
        entropy_correlation={
            domain: each.estimate(resampling.level) for domain, each in correlations.items()
        },
        positions=position_profile(cases, domains, resampling),
        task_or_depth=task_or_depth(sums, domains, resampling),
        acceptance_order=domain_order(sums, ACCEPTANCE, domains, resampling),
        entropy_order=domain_order(sums, ENTROPY_METRIC, domains, resampling),
    )
    if set(domains) == set(DOMAINS):
        return replace(found, findings=_findings(sums, found, correlations, resampling))
    if set(domains) > set(DOMAINS):
        # The findings are about the study's domains, whatever others the run has.
        four = [case for case in cases if case.domain in DOMAINS]
        return replace(found, findings=_study(four, DOMAINS, resampling).findings)
    return found


def _findings(
    sums: PromptSums,
    found: Study,
    correlations: Mapping[str, Replicates],
    resampling: Resampling,
) -> tuple[Finding, ...]:
    @cache
    def lengths(level: float) -> dict[str, Estimate]:
        acceptance = _by_domain(sums, ACCEPTANCE, DOMAINS, replace(resampling, level=level))
        return {
            domain: study_length_estimate(estimate, sums.depths)
            for domain, estimate in acceptance.items()
        }

    return findings(
        Evidence(
            acceptance=_by_domain(sums, ACCEPTANCE, DOMAINS, resampling),
            acceptance_order=found.acceptance_order,
            entropy=found.draft_entropy,
            entropy_order=found.entropy_order,
            depth=sums.depths,
            lengths=lengths,
            task_or_depth=found.task_or_depth,
            correlation=lambda level: {
                domain: each.estimate(level) for domain, each in correlations.items()
            },
            level=resampling.level,
        )
    )


def _correlations(
    cases: Sequence[CaseRecord], domains: Sequence[str], resampling: Resampling
) -> dict[str, Replicates]:
    return {
        domain: spearman(
            entropy_and_acceptance([case for case in cases if case.domain == domain]),
            domain,
            resampling,
        )
        for domain in domains
    }


def _by_domain(
    sums: PromptSums, metric: RatioMetric, domains: Sequence[str], resampling: Resampling
) -> dict[str, Estimate]:
    domain_of = np.array(sums.domains, dtype=object)
    strata = {
        domain: domain_ratio_sums(metric, sums, np.flatnonzero(domain_of == domain))
        for domain in domains
    }
    bounds = [metric.bounds(sums.deepest, sums.ceilings.get(metric.name, math.inf))]
    found = stratified_estimates(strata, [metric.absent], resampling, bounds).by_stratum
    return {domain: estimates[0] for domain, estimates in found.items()}
