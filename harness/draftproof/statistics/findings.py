"""The study's five findings, each *confirmed*, *refuted* or *not resolved* by a run.

Every rule errs at most one time in twenty on either side: a finding is confirmed only if all that
it states holds at 95%, and refuted only if something it states fails at 95% after Bonferroni over
the statements it is made of. ``docs/statistics.md`` has them in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import combinations

import numpy as np

from draftproof.statistics.bootstrap import Estimate, Resampling
from draftproof.statistics.dependence import TaskOrDepth
from draftproof.statistics.ordering import DomainOrder

STUDY_ORDER = ("chat", "code", "logic", "math")
"""The study's domains by acceptance probability, highest first."""

PUBLISHED = {"chat": 0.565, "code": 0.538, "logic": 0.532, "math": 0.518}
"""The study's acceptance probabilities (arXiv 2604.14682)."""

WEAK = 0.3
"""A rank correlation nearer to 0 than this is weak (Cohen 1988: from .3 on it is medium)."""

_ERROR = 0.05


class FindingVerdict(StrEnum):
    """What a run says about a finding."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    NOT_RESOLVED = "not resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding of the study and what a run says about it.

    Attributes:
        number: 1 to 5, as the study's.
        claim: What the study found.
        verdict: What the run says about it.
        evidence: Why, with the numbers.
        estimates: The figures it rests on, by name, with 95% intervals.
    """

    number: int
    claim: str
    verdict: FindingVerdict
    evidence: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the findings are judged by, for the study's four domains.

    Attributes:
        acceptance: Acceptance probability by domain.
        acceptance_order: The domains by it.
        entropy: Mean draft entropy by domain.
        entropy_order: The domains by it.
        lengths: Expected accepted length by domain, with intervals of the resampling's level.
        task_or_depth: What domain and depth say about acceptance.
        correlation: Spearman's ρ of draft entropy and acceptance probability by domain, with
            intervals of the resampling's level.
        resampling: How the intervals are made.
    """

    acceptance: Mapping[str, Estimate]
    acceptance_order: DomainOrder
    entropy: Mapping[str, Estimate]
    entropy_order: DomainOrder
    lengths: Callable[[Resampling], Mapping[str, Estimate]]
    task_or_depth: TaskOrDepth
    correlation: Callable[[Resampling], Mapping[str, Estimate]]
    resampling: Resampling


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """The five findings with their verdicts.

    Source:
        *Acceptance Dynamics Across Cognitive Domains in Speculative Decoding*, arXiv 2604.14682.
    """
    return (
        _order(evidence),
        _only_chat_above_one(evidence),
        _task_rather_than_depth(evidence),
        _weak_negative_correlation(evidence),
        _chat_highest_in_both(evidence),
    )


def _order(evidence: Evidence) -> Finding:
    order = evidence.acceptance_order
    claim = "acceptance probability falls in the order chat > code > logic > math"
    if order.reason:
        return _unresolved(1, claim, order.reason)
    support = order.probability(STUDY_ORDER)
    pairs = list(combinations(STUDY_ORDER, 2))
    reversed_pairs = [(a, b) for a, b in pairs if order.above[a, b] <= _ERROR / len(pairs)]
    best, best_support = order.probabilities[0]
    text = f"this order in {_share(support)} of resamples"
    if best != STUDY_ORDER:
        text += f"; most often {' > '.join(best)} ({_share(best_support)})"
    if reversed_pairs:
        text += "; reversed: " + ", ".join(f"{b} > {a}" for a, b in reversed_pairs)
    return Finding(
        number=1,
        claim=claim,
        verdict=_verdict(support >= 1 - _ERROR, bool(reversed_pairs)),
        evidence=f"{_list(evidence.acceptance, STUDY_ORDER)}; {text}",
        estimates=dict(evidence.acceptance),
    )


def _only_chat_above_one(evidence: Evidence) -> Finding:
    claim = "only chat has an expected accepted length above 1.0 token a step"
    lengths = evidence.lengths(evidence.resampling)
    if reason := _missing(lengths):
        return _unresolved(2, claim, reason, lengths)
    strict = evidence.lengths(_at_level(evidence.resampling, statements=len(STUDY_ORDER)))
    others = STUDY_ORDER[1:]
    holds = lengths["chat"].low > 1 and all(lengths[other].high < 1 for other in others)
    fails = strict["chat"].high < 1 or any(strict[other].low > 1 for other in others)
    return Finding(
        number=2,
        claim=claim,
        verdict=_verdict(holds, fails),
        evidence=_list(lengths, STUDY_ORDER, decimals=2),
        estimates=dict(lengths),
    )


def _task_rather_than_depth(evidence: Evidence) -> Finding:
    claim = "task type predicts acceptance better than depth, and acceptance rises with depth"
    answer = evidence.task_or_depth
    rise = answer.depth_rise
    estimates = {
        "information_difference": answer.information_difference,
        "given_difference": answer.given_difference,
        "depth_rise": rise,
    }
    if reason := _missing(estimates):
        return _unresolved(3, claim, reason, estimates)
    holds = answer.verdict == "domain" and rise.low > 0
    fails = answer.information_difference.high < 0 or rise.high < 0
    return Finding(
        number=3,
        claim=claim,
        verdict=_verdict(holds, fails),
        evidence=(
            f"{answer.sentence} From depth 1 to the greatest, acceptance changes by {_signed(rise)}"
        ),
        estimates=estimates,
    )


def _weak_negative_correlation(evidence: Evidence) -> Finding:
    claim = "draft entropy and acceptance correlate negatively but weakly in every domain"
    found = evidence.correlation(evidence.resampling)
    if reason := _missing(found):
        return _unresolved(4, claim, reason, found)
    strict = evidence.correlation(_at_level(evidence.resampling, statements=2 * len(STUDY_ORDER)))
    holds = all(rho.low > -WEAK and rho.high < 0 for rho in found.values())
    fails = any(rho.low > 0 or rho.high < -WEAK for rho in strict.values())
    return Finding(
        number=4,
        claim=claim,
        verdict=_verdict(holds, fails),
        evidence="Spearman's ρ: " + ", ".join(f"{d} {_signed(found[d])}" for d in STUDY_ORDER),
        estimates=dict(found),
    )


def _chat_highest_in_both(evidence: Evidence) -> Finding:
    claim = "chat has both the highest draft entropy and the highest acceptance"
    orders = {"entropy": evidence.entropy_order, "acceptance": evidence.acceptance_order}
    for order in orders.values():
        if order.reason:
            return _unresolved(5, claim, order.reason)
    # Each statement is resolved by itself, so that both hold at 95%.
    tops = {name: _top(order, "chat") for name, order in orders.items()}
    below = [
        f"{other} has the higher {name}"
        for name, order in orders.items()
        for other in STUDY_ORDER[1:]
        if order.above["chat", other] <= _ERROR / (2 * len(STUDY_ORDER[1:]))
    ]
    text = "; ".join(f"highest {name} in {_share(top)} of resamples" for name, top in tops.items())
    return Finding(
        number=5,
        claim=claim,
        verdict=_verdict(all(top >= 1 - _ERROR for top in tops.values()), bool(below)),
        evidence="; ".join(
            [
                f"chat: {text}",
                *below,
                f"entropy in nats {_list(evidence.entropy, STUDY_ORDER, decimals=2)}",
            ]
        ),
        estimates={
            **{f"entropy_{name}": estimate for name, estimate in evidence.entropy.items()},
            **{f"acceptance_{name}": estimate for name, estimate in evidence.acceptance.items()},
        },
    )


def _top(order: DomainOrder, domain: str) -> float:
    return sum(share for names, share in order.probabilities if names[0] == domain)


def _at_level(resampling: Resampling, *, statements: int) -> Resampling:
    """One-sided error of 5% over all statements: two-sided level 1 − 2 · 5% ÷ statements."""
    return replace(resampling, level=1 - 2 * _ERROR / statements)


def _verdict(holds: bool, fails: bool) -> FindingVerdict:
    if fails:
        return FindingVerdict.REFUTED
    return FindingVerdict.CONFIRMED if holds else FindingVerdict.NOT_RESOLVED


def _unresolved(
    number: int, claim: str, reason: str, estimates: Mapping[str, Estimate] | None = None
) -> Finding:
    return Finding(
        number=number,
        claim=claim,
        verdict=FindingVerdict.NOT_RESOLVED,
        evidence=f"not estimable: {reason}",
        estimates=dict(estimates or {}),
    )


def _missing(estimates: Mapping[str, Estimate]) -> str:
    for name, estimate in estimates.items():
        if np.isnan([estimate.value, estimate.low, estimate.high]).any():
            return f"{name}: {estimate.reason}"
    return ""


def _share(value: float) -> str:
    """A share in percent that never rounds to a certainty it is not."""
    if 0 < value < 0.001:
        return "< 0.1%"
    if 0.999 < value < 1:
        return "> 99.9%"
    return f"{value:.1%}"


def _list(estimates: Mapping[str, Estimate], names: Sequence[str], decimals: int = 3) -> str:
    return ", ".join(
        f"{name} {estimates[name].value:.{decimals}f} "
        f"[{estimates[name].low:.{decimals}f}, {estimates[name].high:.{decimals}f}]"
        for name in names
    )


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"
