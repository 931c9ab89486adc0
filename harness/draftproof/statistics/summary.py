"""Every figure of a run, by domain and over all prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from draftproof.data.prompt import DOMAINS
from draftproof.statistics.accuracy import Accuracy, accuracy
from draftproof.statistics.bootstrap import Estimate, RatioSums, stratified_estimates
from draftproof.statistics.identities import check_figures
from draftproof.statistics.metrics import (
    DEPTH_METRICS,
    METRICS,
    STUDY_LENGTH,
    RatioMetric,
    study_length,
)
from draftproof.statistics.resampling import Resampling
from draftproof.statistics.small_samples import own_noise
from draftproof.statistics.sums import PromptSums, prompt_sums
from draftproof.trace import CaseRecord, Verdict

NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCounts:
    """How many cases ended in each verdict.

    Attributes:
        identical: Both outputs are equal.
        numerical: They part at near-ties that the target's own rounding explains.
        algorithmic: They part where it does not: speculation changed the output.
        sampled: Drawn at a temperature above 0, so not compared.
        unjudged: Results of another tool, with which nothing was compared.
        errors: Cases that ended in an error; they are in no other figure.
    """

    identical: int = 0
    numerical: int = 0
    algorithmic: int = 0
    sampled: int = 0
    unjudged: int = 0
    errors: int = 0

    @property
    def cases(self) -> int:
        """All cases."""
        return self.compared + self.sampled + self.unjudged + self.errors

    @property
    def compared(self) -> int:
        """Cases whose two outputs were compared."""
        return self.identical + self.numerical + self.algorithmic


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
        metrics: An estimate for each of `METRICS`, and of `STUDY_LENGTH`, by name.
        prompt_means: Those of `METRICS` as means of prompts' own ratios: every prompt counts the
            same, however many nodes or steps it has; n is the number of prompts.
        depth_profile: One entry a depth, from 1.
        verdicts: Of all its cases, errors included.
        accuracy: Of those that were scored; None if none was.
        most_steps: The most steps there can have been, where the engine tells its counters and no
            steps and an output may have been cut inside a step; `steps` are then the fewest, and
            the accepted length and the block efficiency are what they are at most. None where
            the steps are known.
        committed_tokens: Tokens that the steps committed.
        accepted: Drafted tokens that they kept, where the steps are told or bounded.
    """

    prompts: int
    steps: int
    nodes: int
    metrics: dict[str, Estimate]
    depth_profile: tuple[DepthSummary, ...]
    verdicts: VerdictCounts
    prompt_means: dict[str, Estimate] = field(default_factory=dict)
    accuracy: Accuracy | None = None
    most_steps: int | None = None
    committed_tokens: int = 0
    accepted: int = 0

    @property
    def at_least(self) -> dict[str, float]:
        """The least that each figure over steps can be; empty where the steps are known."""
        if self.most_steps is None:
            return {}
        return {
            "accepted_length": self.accepted / self.most_steps,
            "block_efficiency": max(1.0, self.committed_tokens / self.most_steps),
        }


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
    columns, metrics, bounds = _ratio_columns(sums)
    estimates = stratified_estimates(
        {domain: columns.at(rows) for domain, rows in members.items()},
        [metric.absent for metric in metrics],
        resampling,
        bounds,
    )
    return RunSummary(
        domains={
            domain: _group(
                sums,
                members[domain],
                estimates.by_stratum[domain],
                [case for case in cases if case.domain == domain],
            )
            for domain in domains
        },
        overall=_group(sums, np.arange(len(sums.case_ids)), estimates.pooled, cases),
        resampling=resampling,
    )


def study_length_estimate(acceptance: Estimate, depth: int) -> Estimate:
    """The study's expected accepted length with its interval.

    It rises with the acceptance probability of a node, so its interval is that one's ends.

    Args:
        acceptance: Mean acceptance probability of nodes.
        depth: Depth of the deepest draft.
    """
    return replace(
        acceptance,
        value=study_length(acceptance.value, depth),
        low=study_length(acceptance.low, depth),
        high=study_length(acceptance.high, depth),
        design_effect=NAN,
        effective_n=NAN,
    )


def verdict_counts(cases: Iterable[CaseRecord]) -> VerdictCounts:
    """How many of the cases ended in each verdict."""
    verdicts = [case.verdict for case in cases]
    return VerdictCounts(
        identical=verdicts.count(Verdict.IDENTICAL),
        numerical=verdicts.count(Verdict.NUMERICAL),
        algorithmic=verdicts.count(Verdict.ALGORITHMIC),
        sampled=verdicts.count(Verdict.SAMPLED),
        errors=verdicts.count(Verdict.ERROR),
        unjudged=verdicts.count(Verdict.UNJUDGED),
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


def ratio_sums(metric: RatioMetric, sums: Mapping[str, np.ndarray]) -> RatioSums:
    """What a metric is made of, each ``[prompts, 1]``."""
    numerator, denominator = sums[metric.numerator], sums[metric.denominator]
    squares = sums[metric.squares] if metric.squares else numerator
    noise = own_noise(numerator, denominator, squares)
    # Where an engine tells no steps, lengths scatter as counts of rare events do, at least.
    noise = np.where(
        np.isnan(squares), np.maximum(0, numerator - metric.floor * denominator), noise
    )
    return RatioSums(numerator[:, None], denominator[:, None], squares[:, None], noise[:, None])


def domain_ratio_sums(metric: RatioMetric, sums: PromptSums, rows: np.ndarray) -> RatioSums:
    """What a metric of some prompts is made of, each ``[prompts, 1]``."""
    return ratio_sums(metric, sums.totals).at(rows)


def _ratio_columns(
    sums: PromptSums,
) -> tuple[RatioSums, list[RatioMetric], list[tuple[float, float]]]:
    """`METRICS`, their prompt means, every depth's, each ``[prompts, ratios]``; and the bounds."""
    parts = [ratio_sums(metric, sums.totals) for metric in METRICS]
    metrics = [*METRICS, *METRICS]
    for part in list(parts):
        has = part.denominators > 0
        count = np.where(has, part.denominators, 1.0)
        means = np.where(has, part.numerators / count, 0.0)
        noise = None if part.noise is None else part.noise / count**2
        parts.append(RatioSums(means, has.astype(np.float64), means**2, noise))
    bounds = [
        metric.bounds(sums.deepest, sums.ceilings.get(metric.name, math.inf)) for metric in metrics
    ]
    for depth in range(sums.depths):
        at_depth = {name: column[:, depth] for name, column in sums.by_depth.items()}
        at_depth["steps"] = sums.totals["steps"]
        parts += [ratio_sums(metric, at_depth) for metric in DEPTH_METRICS]
        metrics += DEPTH_METRICS
        for metric in DEPTH_METRICS:
            most = sums.ceilings_by_depth.get(metric.name)
            bounds.append(metric.bounds(sums.deepest, math.inf if most is None else most[depth]))
    return RatioSums(*(np.hstack(side) for side in zip(*parts, strict=True))), metrics, bounds


def _with_study_length(estimates: Sequence[Estimate], depth: int) -> dict[str, Estimate]:
    by_name: dict[str, Estimate] = {}
    for metric, estimate in zip(METRICS, estimates, strict=True):
        by_name[metric.name] = estimate
        if metric.name == "acceptance_probability":
            by_name[STUDY_LENGTH] = study_length_estimate(estimate, depth)
    return by_name


def _group(
    sums: PromptSums,
    rows: np.ndarray,
    estimates: Sequence[Estimate],
    cases: Sequence[CaseRecord],
) -> GroupSummary:
    nodes_by_depth = sums.by_depth["nodes"][rows].sum(axis=0)
    remaining = iter(estimates)
    steps, most_steps = int(sums.totals["steps"][rows].sum()), int(sums.most_steps[rows].sum())
    return GroupSummary(
        prompts=len(rows),
        steps=steps,
        nodes=int(sums.totals["drafted"][rows].sum()),
        metrics=_believed(_with_study_length([next(remaining) for _ in METRICS], sums.depths)),
        prompt_means=_believed(
            {
                metric.name: replace(next(remaining), design_effect=NAN, effective_n=NAN)
                for metric in METRICS
            }
        ),
        depth_profile=tuple(
            DepthSummary(
                depth=depth,
                nodes=int(nodes),
                metrics={metric.name: next(remaining) for metric in DEPTH_METRICS},
            )
            for depth, nodes in enumerate(nodes_by_depth, start=1)
        ),
        verdicts=verdict_counts(cases),
        accuracy=accuracy(cases),
        most_steps=None if most_steps == steps else most_steps,
        committed_tokens=int(sums.totals["committed_tokens"][rows].sum()),
        accepted=int(sums.totals["accepted"][rows].sum()),
    )


def _believed(estimates: dict[str, Estimate]) -> dict[str, Estimate]:
    """The estimates without the ones that contradict each other: not estimable, with the reason."""
    wrong = check_figures({name: estimate.value for name, estimate in estimates.items()})
    return {
        name: replace(
            estimate,
            value=NAN,
            low=NAN,
            high=NAN,
            design_effect=NAN,
            effective_n=NAN,
            reason=wrong[name],
        )
        if name in wrong
        else estimate
        for name, estimate in estimates.items()
    }
