"""Compares a run with an earlier one: gates, the first difference, and what was not comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from draftproof.errors import UsageError, unknown_value
from draftproof.gate.clues import Changes, changes, clues
from draftproof.gate.exact import FirstDifference, locate
from draftproof.gate.exchange import PairedSums
from draftproof.gate.expression import (
    EVERY_DOMAIN,
    IDENTICAL,
    OVERALL,
    RATIOS,
    SPEEDUP,
    Gate,
    parse_gate,
)
from draftproof.gate.identity import Mismatch, mismatches, timing_mismatches
from draftproof.gate.judging import (
    ALPHA,
    LEVEL,
    Judgement,
    Outcome,
    decide,
    judge,
    overall_outcome,
    without_figures,
)
from draftproof.gate.measured import MeasuredRun
from draftproof.gate.timing import judge_speed, speculative_speeds, speedups
from draftproof.statistics.summary import in_domain_order

SHOWN = tuple(
    parse_gate(text)
    for text in ("acceptance_rate:-0", "acceptance_rate@overall:-0", "block_efficiency@overall:-0%")
)
"""Changes that a comparison without gates shows; they are not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run beside an earlier one.

    Attributes:
        before: The earlier run.
        now: The later one.
        compared: Cases that both have, in the order of the later one.
        judgements: Each gate at each of its scopes; without gates, the changes of `SHOWN`.
        gated: Whether gates were given: if not, nothing is judged.
        alpha: Level of the gates together.
        mismatches: Facts that should be the same and are not, where a comparison was asked for
            all the same.
        changed: Cases whose steps differ; None where the runs need not be the same, step by step.
        first: The first difference; None where there is none.
        clues: What the differing steps have in common.
        notes: What a reader must know.
        alternated: Whether both were measured in one session, case by case in turn.
    """

    before: MeasuredRun
    now: MeasuredRun
    compared: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    gated: bool
    alpha: float = ALPHA
    mismatches: tuple[Mismatch, ...] = ()
    changed: Changes | None = None
    first: FirstDifference | None = None
    clues: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    alternated: bool = False

    @property
    def outcome(self) -> Outcome | None:
        """What the gates came to together; None without gates."""
        return overall_outcome(self.judgements) if self.gated else None

    @property
    def identical(self) -> bool:
        """Whether every step of every compared case is known to be the same."""
        return self.changed is not None and not self.changed.first


def compare(
    before: MeasuredRun,
    now: MeasuredRun,
    gates: Sequence[Gate] = (),
    *,
    anyway: bool = False,
    alpha: float = ALPHA,
    alternated: bool = False,
) -> Comparison:
    """A run beside an earlier one.

    Args:
        before: The earlier run.
        now: The later one.
        gates: Conditions on the change.
        anyway: Compare runs of other models, prompts, settings, versions or devices.
        alpha: Level of the gates together.
        alternated: Both were measured in one session, case by case in turn.

    Raises:
        UsageError: The runs differ in what must be the same, have no case in common, or a gate is
            about a domain that they do not have.
    """
    differing = [] if alternated else mismatches(before.run, now.run)
    if differing and not anyway:
        raise refusal(before.name, differing)
    compared = common_cases(before, now)
    domain_of = dict(zip(now.case_ids, now.domains, strict=True))
    domains = in_domain_order(domain_of[case_id] for case_id in compared)
    scopes = {domain: [c for c in compared if domain_of[c] == domain] for domain in domains}
    scopes[OVERALL] = list(compared)
    changed = None
    if not differing and not alternated:
        changed = changes(compared, before.steps, now.steps)
    applied = [
        (gate, scope) for gate in gates or SHOWN for scope in scopes_of(gate, tuple(domains))
    ]
    judged = [
        _judged(gate, scope, scopes[scope], before, now, changed, alternated=alternated)
        for gate, scope in applied
    ]
    first = _first(changed, before, now)
    return Comparison(
        before=before,
        now=now,
        compared=compared,
        judgements=tuple(decide(judged, alpha) if gates else judged),
        gated=bool(gates),
        alpha=alpha,
        mismatches=tuple(differing),
        changed=changed,
        first=first,
        clues=tuple(clues(changed, before.steps)) if changed is not None else (),
        notes=tuple(_notes(before, now, compared, first)),
        alternated=alternated,
    )


def check_metrics(baseline: MeasuredRun, gates: Sequence[Gate]) -> None:
    """Refuse gates on figures that the baseline does not have.

    Raises:
        UsageError: Names the first.
    """
    for gate in gates:
        if gate.metric in RATIOS:
            ratio = RATIOS[gate.metric]
            if not baseline.totals[ratio.denominator].sum() > 0:
                raise UsageError(
                    f"--spec-fail '{gate.text}': the baseline {baseline.name} has no "
                    f"{gate.metric}: {ratio.absent}"
                )


def refusal(name: str, differing: Sequence[Mismatch]) -> UsageError:
    """The error for runs that differ in what must be the same."""
    return UsageError(
        f"cannot compare with {name}: the runs differ in more than the change under test: "
        f"{'; '.join(str(fact) for fact in differing)}. Measure a new baseline (--spec-save), or "
        "compare all the same with --spec-compare-anyway (draftproof compare: --anyway)"
    )


def common_cases(before: MeasuredRun, now: MeasuredRun) -> tuple[str, ...]:
    """The cases that both runs measured, in the order of the later one.

    Raises:
        UsageError: There are none.
    """
    there = set(before.case_ids)
    compared = tuple(case_id for case_id in now.case_ids if case_id in there)
    if not compared:
        raise no_common_cases(before, now.case_ids)
    return compared


def no_common_cases(before: MeasuredRun, case_ids: Sequence[str]) -> UsageError:
    """The error for runs that have no case in common."""

    def some(ids: Sequence[str]) -> str:
        return ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "") if ids else "none"

    return UsageError(
        f"cannot compare with {before.name}: no case in common: it has {some(before.case_ids)}; "
        f"this run has {some(list(case_ids))}. Run the same suites"
    )


def scopes_of(gate: Gate, domains: Sequence[str]) -> list[str]:
    """Where a gate is applied.

    Raises:
        UsageError: It names a domain that is not there.
    """
    if gate.scope == EVERY_DOMAIN:
        return list(domains)
    if gate.scope != OVERALL and gate.scope not in domains:
        raise unknown_value(f"--spec-fail '{gate.text}': domain", gate.scope, [*domains, OVERALL])
    return [gate.scope]


def paired_sums(
    metric: str, before: MeasuredRun, now: MeasuredRun, case_ids: Sequence[str]
) -> PairedSums:
    """A ratio's sums in both runs."""
    ratio = RATIOS[metric]
    then, later = before.rows(case_ids), now.rows(case_ids)
    return PairedSums(
        numerator_before=before.totals[ratio.numerator][then],
        denominator_before=before.totals[ratio.denominator][then],
        numerator_now=now.totals[ratio.numerator][later],
        denominator_now=now.totals[ratio.denominator][later],
    )


def _judged(
    gate: Gate,
    scope: str,
    case_ids: list[str],
    before: MeasuredRun,
    now: MeasuredRun,
    changed: Changes | None,
    *,
    alternated: bool,
) -> Judgement:
    if gate.metric == IDENTICAL:
        return _judged_identical(gate, changed, len(case_ids))
    if gate.metric == SPEEDUP:
        return _judged_speed(gate, scope, case_ids, before, now, alternated=alternated)
    return judge(gate, scope, paired_sums(gate.metric, before, now, case_ids), LEVEL)


def _judged_speed(
    gate: Gate,
    scope: str,
    case_ids: list[str],
    before: MeasuredRun,
    now: MeasuredRun,
    *,
    alternated: bool,
) -> Judgement:
    speed = speculative_speeds if alternated else speedups
    found = judge_speed(
        gate, scope, speed(before)[before.rows(case_ids)], speed(now)[now.rows(case_ids)], LEVEL
    )
    other = [] if alternated else timing_mismatches(before.run, now.run)
    if not other:
        return found
    reason = f"measured on another machine ({'; '.join(map(str, other))})"
    return replace(found, outcome=Outcome.NO_VERDICT, reason=reason)


def _judged_identical(gate: Gate, changed: Changes | None, cases: int) -> Judgement:
    found = without_figures(gate, OVERALL, cases)
    if changed is None:
        reason = "only runs of the same models, prompts, settings and versions can be the same"
        return replace(found, outcome=Outcome.NO_VERDICT, reason=reason)
    if not changed.first:
        return replace(found, p_pass=0.0, reason="every step is the same")
    return replace(found, p_fail=0.0, reason=f"{len(changed.first)} of {cases} cases differ")


def _first(
    changed: Changes | None, before: MeasuredRun, now: MeasuredRun
) -> FirstDifference | None:
    if changed is None or not changed.first:
        return None
    case_id = next(iter(changed.first))
    return locate(
        case_id, changed.first[case_id], before.traces.get(case_id), now.traces.get(case_id)
    )


def _notes(
    before: MeasuredRun,
    now: MeasuredRun,
    compared: tuple[str, ...],
    first: FirstDifference | None,
) -> list[str]:
    notes = []
    for run in (before, now):
        if missing := len(run.case_ids) - len(compared):
            notes.append(f"{missing} cases of {run.name} are not in the other run.")
        if run.errors:
            notes.append(f"{len(run.errors)} cases of {run.name} ended in an error: left out.")
        if run.different:
            notes.append(
                f"{len(run.different)} cases of {run.name} have an output that is not the "
                "target's own."
            )
    if first is not None and first.before is None:
        notes.append(
            "The earlier run's traces were not kept, so its tree cannot be shown; "
            "--spec-save-traces keeps them."
        )
    return notes
