"""Judges a run: beside an earlier one, with the first difference, or by its own figures alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from draftproof.differences import Mismatch
from draftproof.errors import UsageError, unknown_value
from draftproof.gate.clues import Changes, changes, clues
from draftproof.gate.exact import FirstDifference, locate
from draftproof.gate.expression import (
    EVERY_DOMAIN,
    IDENTICAL,
    OVERALL,
    RATIOS,
    SPEEDUP,
    Gate,
    parse_gate,
)
from draftproof.gate.identity import mismatches, timing_mismatches
from draftproof.gate.judging import (
    ALPHA,
    LEVEL,
    Judgement,
    Outcome,
    between,
    decide,
    judge,
    overall_outcome,
    without_figures,
)
from draftproof.gate.measured import MeasuredRun
from draftproof.gate.paired import PairedSums
from draftproof.gate.timing import judge_speed, judge_speedup, speculative_speeds, speedups
from draftproof.statistics.small_samples import own_noise
from draftproof.statistics.summary import in_domain_order
from draftproof.wording import counted

SHOWN = tuple(
    parse_gate(text)
    for text in ("acceptance_rate:-0", "acceptance_rate@overall:-0", "block_efficiency@overall:-0%")
)
"""Changes that a comparison without gates shows; they are not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run beside an earlier one, or by itself where its gates are on its own figures.

    Attributes:
        before: The earlier run; None where there is none.
        now: The later one.
        compared: Cases that are judged, in the order of their ids: those that both runs have.
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

    before: MeasuredRun | None
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
        gates: Conditions on the change, or on the later run's own figures.
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
    pairs = _Scopes.of(now, compared, lost=now.errors.keys() & set(before.case_ids))
    own = _Scopes.of(now, now.case_ids, lost=now.errors.keys())
    changed = None
    if not differing and not alternated and _tell_steps(before, now, compared):
        changed = changes(compared, before.steps, now.steps)

    def judged(gate: Gate, scope: str) -> Judgement:
        if gate.bound is not None:
            return _judged_alone(gate, scope, own.cases[scope], now)
        if gate.metric == IDENTICAL:
            may_be_same = not differing and not alternated
            return _judged_identical(gate, changed, compared, may_be_same=may_be_same)
        if gate.metric == SPEEDUP:
            cases = pairs.cases[scope]
            return _judged_speed(gate, scope, cases, before, now, alternated=alternated)
        sums = paired_sums(gate.metric, before, now, pairs.cases[scope])
        return judge(gate, scope, sums, LEVEL, deepest=max(before.deepest, now.deepest))

    judgements = _all_judged(gates or SHOWN, pairs, own, judged)
    if gates:
        judgements = _unless_lost(decide(judgements, alpha), pairs, own)
    first = _first(changed, before, now)
    return Comparison(
        before=before,
        now=now,
        compared=compared,
        judgements=tuple(judgements),
        gated=bool(gates),
        alpha=alpha,
        mismatches=tuple(differing),
        changed=changed,
        first=first,
        clues=tuple(clues(changed, before.steps)) if changed is not None else (),
        notes=tuple(_notes([before, now], compared, first)),
        alternated=alternated,
    )


def judge_alone(now: MeasuredRun, gates: Sequence[Gate], *, alpha: float = ALPHA) -> Comparison:
    """A run judged by its own figures.

    Args:
        now: The run.
        gates: Floors and ceilings; at least one.
        alpha: Level of the gates together.

    Raises:
        UsageError: A gate is about a change, or about a domain that the run does not have.
    """
    if needing := [gate.text for gate in gates if gate.needs_baseline]:
        raise UsageError(
            f"'{needing[0]}' is about a change, and there is no earlier run to compare with; give "
            "one, or a bound of the figure itself, for example 'block_efficiency:>=1.2'"
        )
    own = _Scopes.of(now, now.case_ids, lost=now.errors.keys())
    judgements = _all_judged(
        gates, own, own, lambda gate, scope: _judged_alone(gate, scope, own.cases[scope], now)
    )
    return Comparison(
        before=None,
        now=now,
        compared=now.case_ids,
        judgements=tuple(_unless_lost(decide(judgements, alpha), own, own)),
        gated=True,
        alpha=alpha,
        notes=tuple(_notes([now], now.case_ids, None)),
    )


def check_metrics(baseline: MeasuredRun, gates: Sequence[Gate]) -> None:
    """Refuse gates on changes of figures that the baseline does not have.

    Raises:
        UsageError: Names the first.
    """
    for gate in gates:
        if gate.metric in RATIOS and gate.needs_baseline:
            ratio = RATIOS[gate.metric]
            if not baseline.totals[ratio.denominator].sum() > 0:
                raise UsageError(
                    f"--spec-fail '{gate.text}': the baseline {baseline.name} has no "
                    f"{gate.metric}: {ratio.absent}"
                )


def refusal(name: str, differing: Sequence[Mismatch]) -> UsageError:
    """The error for runs that differ in what must be the same."""
    prompts_differ = any(" of prompt " in fact.fact for fact in differing)
    what = (
        "the prompts differ, so that a change of a figure need not be one of the engine"
        if prompts_differ
        else "the runs differ in more than the change under test"
    )
    return UsageError(
        f"cannot compare with {name}: {what}: "
        f"{'; '.join(str(fact) for fact in differing)}. Measure a new baseline (pytest --spec-save "
        "NAME), or compare all the same with --spec-compare-anyway (draftproof compare: --anyway)"
    )


def common_cases(before: MeasuredRun, now: MeasuredRun) -> tuple[str, ...]:
    """The cases that both runs measured, in the order of their ids.

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

    what = (
        "Run the same suites"
        if before.run.imported is None
        else "It is imported, and its ids are those of its tool's file: compare it with a run that "
        "the same format was read from, or whose prompts have these ids"
    )
    return UsageError(
        f"cannot compare with {before.name}: no case in common: it has {some(before.case_ids)}; "
        f"this run has {some(list(case_ids))}. {what}"
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


@dataclass(frozen=True, slots=True)
class _Scopes:
    """Which cases a gate is applied to.

    Attributes:
        cases: By domain, and of all domains, the ids of the measured cases.
        lost: By domain, and of all domains, how many cases ended in an error in the later run and
            would have been judged otherwise.
    """

    cases: dict[str, list[str]]
    lost: dict[str, int]

    @classmethod
    def of(cls, now: MeasuredRun, case_ids: Sequence[str], *, lost: Iterable[str]) -> _Scopes:
        domain_of = dict(zip(now.case_ids, now.domains, strict=True)) | dict(now.errors)
        lost = list(lost)
        # A domain of which nothing is left is judged too: it cannot pass.
        domains = in_domain_order(domain_of[case_id] for case_id in (*case_ids, *lost))
        # The domain of a case in error is not known of old baselines: it may be any.
        return cls(
            cases={
                **{
                    d: [case_id for case_id in case_ids if domain_of[case_id] == d] for d in domains
                },
                OVERALL: list(case_ids),
            },
            lost={
                **{d: sum(domain_of[case_id] in (d, "") for case_id in lost) for d in domains},
                OVERALL: len(lost),
            },
        )

    @property
    def domains(self) -> tuple[str, ...]:
        """Every domain that has a case."""
        return tuple(domain for domain in self.cases if domain not in (OVERALL, ""))


def _all_judged(
    gates: Sequence[Gate],
    pairs: _Scopes,
    own: _Scopes,
    judged: Callable[[Gate, str], Judgement],
) -> list[Judgement]:
    return [
        judged(gate, scope)
        for gate in gates
        for scope in scopes_of(gate, (pairs if gate.needs_baseline else own).domains)
    ]


def _unless_lost(judgements: Sequence[Judgement], pairs: _Scopes, own: _Scopes) -> list[Judgement]:
    """Nothing passes where cases were lost to errors: they may be the ones that changed."""

    def unless_lost(judgement: Judgement) -> Judgement:
        lost = (pairs if judgement.gate.needs_baseline else own).lost[judgement.scope]
        if not lost or judgement.outcome is not Outcome.PASS:
            return judgement
        return replace(
            judgement,
            outcome=Outcome.INCONCLUSIVE,
            reason=f"{lost} of its cases ended in an error and may be the ones that would fail; "
            "see to the errors first",
        )

    return [unless_lost(judgement) for judgement in judgements]


def _judged_alone(gate: Gate, scope: str, case_ids: list[str], now: MeasuredRun) -> Judgement:
    """A floor or a ceiling."""
    assert gate.bound is not None
    rows = now.rows(case_ids)
    if gate.metric == SPEEDUP:
        return judge_speedup(gate, scope, speedups(now)[rows], LEVEL)
    ratio = RATIOS[gate.metric]
    above, below = (now.totals[name][rows] for name in (ratio.numerator, ratio.denominator))
    most_steps = now.most_steps[rows]
    squares = now.totals[ratio.squares][rows] if ratio.squares else above
    noise = own_noise(above, below, squares)
    known = None if np.isnan(noise).any() else noise

    def against_bound(below: np.ndarray) -> Judgement:
        assert gate.bound is not None
        sums = PairedSums.beside_bound(above, below, gate.bound)
        return judge(gate, scope, sums, LEVEL, deepest=now.deepest, noise=known)

    if ratio.denominator != "steps" or np.array_equal(below, most_steps):
        return against_bound(below)
    return between(against_bound(most_steps), against_bound(below))


def _tell_steps(before: MeasuredRun, now: MeasuredRun, case_ids: Sequence[str]) -> bool:
    """Whether there is a step to compare: of engines that tell none, nothing is the same."""
    return any(len(run.steps[case_id].rows) for run in (before, now) for case_id in case_ids)


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


def _judged_identical(
    gate: Gate, changed: Changes | None, compared: tuple[str, ...], *, may_be_same: bool
) -> Judgement:
    cases = len(compared)
    found = without_figures(gate, OVERALL, cases)
    if changed is None:
        reason = (
            "the engine tells no steps, so none was compared"
            if may_be_same
            else "only runs of the same models, prompts, settings and versions can be the same"
        )
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
    runs: Sequence[MeasuredRun], compared: tuple[str, ...], first: FirstDifference | None
) -> list[str]:
    notes = []
    for run in runs:
        if (imported := run.run.imported) is not None:
            notes.append(
                f"{run.name} is imported from {imported['title']}, which does not tell "
                f"{imported['not_told']}; its cases are paired {imported['pairing']}."
            )
        if missing := len(run.case_ids) - len(compared):
            cases = counted(missing, f"case of {run.name} is", f"cases of {run.name} are")
            notes.append(f"{cases} not in the other run.")
        if run.errors:
            notes.append(
                f"{counted(len(run.errors), 'case')} of {run.name} ended in an error: left out."
            )
        if run.different:
            which = counted(
                len(run.different), f"case of {run.name} has", f"cases of {run.name} have"
            )
            notes.append(f"{which} an output that is not the target's own.")
        if run.contradictory:
            notes.append(
                f"In {counted(len(run.contradictory), 'case')} of {run.name} counts contradict "
                "each other: believe no figure of them."
            )
        if (run.most_steps > run.totals["steps"]).any():
            notes.append(
                f"The engine of {run.name} does not tell its steps: changes of accepted length and "
                "block efficiency are those of the most that they can be, and bounds are held to "
                "the least and to the most."
            )
    if first is not None and first.before is None:
        notes.append(
            "The earlier run's traces were not kept, so its tree cannot be shown; "
            "pytest --spec-save-traces keeps them."
        )
    return notes
