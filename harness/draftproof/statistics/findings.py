"""The study's five findings, each *confirmed*, *refuted* or *not resolved* by a run.

A finding is confirmed only if all that it states holds, and refuted only if something it states
fails, after Bonferroni over the statements it is made of. That one of a run's five verdicts is
wrong, either way, has a chance of at most one in twenty: Holm's method over the five.
``docs/statistics.md`` has them in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations

import numpy as np

from draftproof.statistics.bootstrap import Estimate
from draftproof.statistics.dependence import TaskOrDepth
from draftproof.statistics.metrics import study_length
from draftproof.statistics.ordering import DomainOrder

STUDY_ORDER = ("chat", "code", "logic", "math")
"""The study's domains by acceptance probability, highest first."""

PUBLISHED = {"chat": 0.565, "code": 0.538, "logic": 0.532, "math": 0.518}
"""The study's acceptance probabilities (arXiv 2604.14682)."""

STUDY_DEPTH = 3
"""Depth of the study's trees."""

PUBLISHED_LENGTHS = {name: study_length(alpha, STUDY_DEPTH) for name, alpha in PUBLISHED.items()}
"""The study's expected accepted lengths, by its definition from its acceptance probabilities."""

PUBLISHED_CORRELATIONS = (-0.20, -0.15)
"""The range in which the study has every domain's Spearman's ρ of entropy and acceptance."""

PUBLISHED_RISES = (0.011, 0.021)
"""The range in which the study has the rise of acceptance probability with depth."""

WEAK = 0.3
"""A rank correlation nearer to 0 than this is weak (Cohen 1988: from .3 on it is medium)."""

FAMILYWISE_ERROR = 0.05
"""Largest chance that any of a run's verdicts is wrong."""

FAMILYWISE_LINE = (
    f"The five verdicts are one family: that any of them is wrong has a chance of at most "
    f"{FAMILYWISE_ERROR:.0%} (Holm's method), as far as intervals cover what they say."
)
"""How sure the verdicts of a run are, in words."""


class FindingVerdict(StrEnum):
    """What a run says about a finding."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    NOT_RESOLVED = "not resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of the things that a finding states, judged by itself.

    Attributes:
        claim: What is stated.
        verdict: What the run says about it, at the same error as the finding.
        decides: Whether the finding's verdict rests on it. The ranges of figures that the study
            published for its own pair do not: a finding is about what holds in words.
    """

    claim: str
    verdict: FindingVerdict
    decides: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding of the study and what a run says about it.

    Attributes:
        number: 1 to 5, as the study's.
        claim: What the study found.
        verdict: What the run says about it: refuted if a part that decides is, confirmed if all of
            them are, and else not resolved.
        evidence: Why, with the numbers.
        estimates: The figures it rests on, by name, with 95% intervals.
        parts: What it states, judged apart; empty where it is one statement, or not estimable.
    """

    number: int
    claim: str
    verdict: FindingVerdict
    evidence: str
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    @property
    def said(self) -> str:
        """The verdict as it may be quoted alone.

        A finding may hold in words where the study's own figures of it do not: both are said.

        Example:
            >>> parts = (Part(claim="weak", verdict=FindingVerdict.CONFIRMED),
            ...          Part(claim="−.20 to −.15", verdict=FindingVerdict.REFUTED, decides=False))
            >>> Finding(number=4, claim="weak", verdict=FindingVerdict.CONFIRMED, evidence="",
            ...         parts=parts).said
            "confirmed in words, the study's range refuted"
        """
        other = {part.verdict for part in self.parts if not part.decides} - {self.verdict}
        if self.verdict is FindingVerdict.REFUTED or not other:
            return str(self.verdict)
        return f"{self.verdict} in words, the study's range {' or '.join(sorted(other))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the findings are judged by, for the study's four domains.

    Attributes:
        acceptance: Acceptance probability by domain.
        acceptance_order: The domains by it.
        entropy: Mean draft entropy by domain.
        entropy_order: The domains by it.
        depth: Depth of the deepest draft.
        lengths: The study's expected accepted length by domain, with intervals of a level.
        task_or_depth: What domain and depth say about acceptance.
        correlation: Spearman's ρ of draft entropy and acceptance probability by domain, with
            intervals of a level.
        level: Of the intervals that are shown.
    """

    acceptance: Mapping[str, Estimate]
    acceptance_order: DomainOrder
    entropy: Mapping[str, Estimate]
    entropy_order: DomainOrder
    depth: int
    lengths: Callable[[float], Mapping[str, Estimate]]
    task_or_depth: TaskOrDepth
    correlation: Callable[[float], Mapping[str, Estimate]]
    level: float


def findings(evidence: Evidence) -> tuple[Finding, ...]:
    """The five findings with their verdicts.

    Holm's method, in rounds: of m findings that are not resolved, each is judged with an error of
    5% ÷ m, until a round resolves none.

    Source:
        *Acceptance Dynamics Across Cognitive Domains in Speculative Decoding*, arXiv 2604.14682;
        Holm 1979; Shaffer 1980 on verdicts that say in which direction a hypothesis fails.
    """
    judged: dict[int, Finding] = {}
    open_ones = dict(enumerate(_JUDGES))
    while open_ones:
        error = FAMILYWISE_ERROR / len(open_ones)
        found = {i: judge(evidence, error) for i, judge in open_ones.items()}
        judged |= found
        still_open = {
            i: open_ones[i]
            for i, finding in found.items()
            if finding.verdict is FindingVerdict.NOT_RESOLVED
        }
        if len(still_open) == len(open_ones):
            break
        open_ones = still_open
    return tuple(judged[i] for i in range(len(_JUDGES)))


def _order(evidence: Evidence, error: float) -> Finding:
    order = evidence.acceptance_order
    claim = "acceptance probability falls in the order chat > code > logic > math"
    if order.reason:
        return _unresolved(1, claim, order.reason)
    support = order.probability(STUDY_ORDER)
    pairs = list(combinations(STUDY_ORDER, 2))
    reversed_pairs = [(a, b) for a, b in pairs if order.above[a, b] <= error / len(pairs)]
    best, best_support = order.probabilities[0]
    text = f"this order in {_share(support)} of resamples"
    if best != STUDY_ORDER:
        text += f"; most often {' > '.join(best)} ({_share(best_support)})"
    if reversed_pairs:
        text += "; reversed: " + ", ".join(f"{b} > {a}" for a, b in reversed_pairs)
    return Finding(
        number=1,
        claim=claim,
        verdict=_verdict(support >= 1 - error, bool(reversed_pairs)),
        evidence=f"{_list(evidence.acceptance, STUDY_ORDER)}; {text}",
        estimates=dict(evidence.acceptance),
    )


def _only_chat_above_one(evidence: Evidence, error: float) -> Finding:
    claim = "only chat is above 1.0 token a step by the study's expected accepted length"
    lengths = evidence.lengths(evidence.level)
    if reason := _missing(lengths):
        return _unresolved(2, claim, reason, lengths)
    wide, strict = (
        evidence.lengths(_level(error, statements=count)) for count in (1, len(STUDY_ORDER))
    )
    parts = [
        Part(
            claim="chat above 1.0",
            verdict=_verdict(wide["chat"].low > 1, strict["chat"].high < 1),
        ),
        Part(
            claim=f"{', '.join(STUDY_ORDER[1:-1])} and {STUDY_ORDER[-1]} below 1.0",
            verdict=_verdict(
                all(wide[other].high < 1 for other in STUDY_ORDER[1:]),
                any(strict[other].low > 1 for other in STUDY_ORDER[1:]),
            ),
        ),
    ]
    definition = f"Σ αᵈ to depth {evidence.depth}, α the acceptance probability of a node"
    if evidence.depth != STUDY_DEPTH:
        definition += f" (the study's trees have depth {STUDY_DEPTH})"
    return _of_parts(
        2,
        claim,
        parts,
        f"{definition}: {_list(lengths, STUDY_ORDER, decimals=2)}",
        lengths,
    )


def _task_rather_than_depth(evidence: Evidence, error: float) -> Finding:
    claim = "task type predicts acceptance better than depth, and acceptance rises with depth"
    answer = evidence.task_or_depth
    rise = answer.depth_rise
    estimates = {"information_difference": answer.information_difference, "depth_rise": rise}
    if reason := _missing(estimates):
        return _unresolved(3, claim, reason, estimates)
    wide, strict = (
        {name: each.estimate(_level(error, statements=count)) for name, each in drawn.items()}
        for drawn, count in ((answer.replicates, 1), (answer.replicates, 2))
    )
    low, high = PUBLISHED_RISES
    parts = [
        Part(
            claim="task type predicts acceptance better than depth",
            verdict=_verdict(
                wide["information_difference"].low > 0, strict["information_difference"].high < 0
            ),
        ),
        Part(
            claim="acceptance rises with depth",
            verdict=_verdict(wide["depth_rise"].low > 0, strict["depth_rise"].high < 0),
        ),
        Part(
            claim=f"by as much as in the study, {low:+.3f} to {high:+.3f}",
            verdict=_within(
                {"overall": wide["depth_rise"]}, {"overall": strict["depth_rise"]}, PUBLISHED_RISES
            ),
            decides=False,
        ),
    ]
    return _of_parts(
        3,
        claim,
        parts,
        f"{answer.sentence} From depth 1 to the greatest, acceptance changes by {_signed(rise)}",
        estimates,
    )


def _weak_negative_correlation(evidence: Evidence, error: float) -> Finding:
    claim = "draft entropy and acceptance correlate negatively but weakly in every domain"
    found = evidence.correlation(evidence.level)
    if reason := _missing(found):
        return _unresolved(4, claim, reason, found)
    wide, strict = (
        evidence.correlation(_level(error, statements=count)) for count in (1, 2 * len(STUDY_ORDER))
    )
    low, high = PUBLISHED_CORRELATIONS
    parts = [
        Part(
            claim="negative in every domain",
            verdict=_verdict(
                all(rho.high < 0 for rho in wide.values()),
                any(rho.low > 0 for rho in strict.values()),
            ),
        ),
        Part(
            claim=f"weak in every domain, nearer to 0 than {WEAK}",
            verdict=_within(wide, strict, (-WEAK, WEAK)),
        ),
        Part(
            claim=f"as strong as in the study in every domain, {low:.2f} to {high:.2f}",
            verdict=_within(wide, strict, PUBLISHED_CORRELATIONS),
            decides=False,
        ),
    ]
    return _of_parts(
        4,
        claim,
        parts,
        "Spearman's ρ: " + ", ".join(f"{d} {_signed(found[d])}" for d in STUDY_ORDER),
        found,
    )


def _chat_highest_in_both(evidence: Evidence, error: float) -> Finding:
    claim = "chat has both the highest draft entropy and the highest acceptance"
    orders = {"entropy": evidence.entropy_order, "acceptance": evidence.acceptance_order}
    for order in orders.values():
        if order.reason:
            return _unresolved(5, claim, order.reason)
    tops = {name: _top(order, "chat") for name, order in orders.items()}
    others = STUDY_ORDER[1:]
    higher = {
        name: [
            other
            for other in others
            if order.above["chat", other] <= error / (len(orders) * len(others))
        ]
        for name, order in orders.items()
    }
    text = "; ".join(f"highest {name} in {_share(top)} of resamples" for name, top in tops.items())
    return _of_parts(
        5,
        claim,
        [
            Part(
                claim=f"chat has the highest {name}",
                verdict=_verdict(top >= 1 - error, bool(higher[name])),
            )
            for name, top in tops.items()
        ],
        "; ".join(
            [
                f"chat: {text}",
                *(
                    f"{other} has the higher {name}"
                    for name, above in higher.items()
                    for other in above
                ),
                f"entropy in nats {_list(evidence.entropy, STUDY_ORDER, decimals=2)}",
            ]
        ),
        {
            **{f"entropy_{name}": estimate for name, estimate in evidence.entropy.items()},
            **{f"acceptance_{name}": estimate for name, estimate in evidence.acceptance.items()},
        },
    )


_JUDGES: tuple[Callable[[Evidence, float], Finding], ...] = (
    _order,
    _only_chat_above_one,
    _task_rather_than_depth,
    _weak_negative_correlation,
    _chat_highest_in_both,
)


def _top(order: DomainOrder, domain: str) -> float:
    return sum(share for names, share in order.probabilities if names[0] == domain)


def _level(error: float, *, statements: int) -> float:
    """One-sided error over all statements: two-sided level 1 − 2 · error ÷ statements."""
    return 1 - 2 * error / statements


def _verdict(holds: bool, fails: bool) -> FindingVerdict:
    if fails:
        return FindingVerdict.REFUTED
    return FindingVerdict.CONFIRMED if holds else FindingVerdict.NOT_RESOLVED


def _within(
    wide: Mapping[str, Estimate], strict: Mapping[str, Estimate], limits: tuple[float, float]
) -> FindingVerdict:
    """Whether every figure is within limits: by its interval, or else some figure's is outside."""
    low, high = limits
    return _verdict(
        all(each.low > low and each.high < high for each in wide.values()),
        any(each.high < low or each.low > high for each in strict.values()),
    )


def _of_parts(
    number: int,
    claim: str,
    parts: Sequence[Part],
    evidence: str,
    estimates: Mapping[str, Estimate],
) -> Finding:
    deciding = [part.verdict for part in parts if part.decides]
    return Finding(
        number=number,
        claim=claim,
        verdict=_verdict(
            all(verdict is FindingVerdict.CONFIRMED for verdict in deciding),
            FindingVerdict.REFUTED in deciding,
        ),
        evidence=evidence,
        estimates=dict(estimates),
        parts=tuple(parts),
    )


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
