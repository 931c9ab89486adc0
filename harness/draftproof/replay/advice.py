"""Advice: the best draft model and tree by domain, and what they promise."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from draftproof.budget import require_domains
from draftproof.errors import UsageError, unknown_value
from draftproof.replay.candidates import LOOKUP, NONE, PLAIN, Candidate, Sweep
from draftproof.replay.choosing import (
    CHAIN,
    EARLY,
    EARLY_ENTROPY,
    Choice,
    Limits,
    choose,
    simple_candidates,
)
from draftproof.replay.costs import CostModel
from draftproof.replay.crossfit import (
    CrossFit,
    HeldOut,
    cross_fit,
    efficiency_estimate,
    folds,
    speedup_estimate,
)
from draftproof.replay.pricing import Widths, within_costs
from draftproof.replay.recorded import Recording
from draftproof.replay.trees import tree_paths
from draftproof.replay.what_if import (
    SweepPoints,
    break_even_ratio,
    sweep_points,
)
from draftproof.shapes import KAryShape
from draftproof.statistics.bootstrap import Estimate
from draftproof.statistics.resampling import Resampling

DEFAULT_SHAPE = KAryShape(3, 2)
"""The tree that suites use without being told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A setting and what it promises on prompts like these.

    Attributes:
        candidate: The setting, chosen on all prompts.
        kind: What kind of setting it is the fastest of.
        block_efficiency: Committed tokens ÷ steps, on prompts that had no part in the choice.
        speedup: Plain ÷ speculative seconds, likewise.
    """

    candidate: Candidate
    kind: str
    block_efficiency: Estimate
    speedup: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainAdvice:
    """The advice for one domain.

    Attributes:
        domain: Its name.
        prompts: How many were recorded.
        advised: The fastest setting. On prompts that had no part in the choice, where the one
            setting for all domains is faster, it is that; where nothing is faster than plain
            decoding, no speculation.
        is_single: Whether the one setting for all domains is advised.
        compared: The fastest setting of each drafter and kind.
        agreeing: Of `folds` parts, how many would have chosen the same setting without it.
        folds: Parts of the prompts.
        default: The default tree with the first draft model; None where the costs, or the
            tokens that were recorded of each position, do not reach it.
        single_loss: The share of the speed that is lost with the one setting that is the fastest
            over all domains.
        break_even: Cost ratio of draft and target from which speculation with the advised draft
            model is slower than none, on prompts that had no part in choosing; NaN without a draft
            model.
        early_gain: By how much the best chain that ends early, with the advised draft model, is
            faster than its best chain of one length; None where such chains were not recorded.
        entropy_gain: By how much it is faster where the entropy counts beside the largest
            probability.
        points: What the page's sweep is drawn from.
    """

    domain: str
    prompts: int
    advised: Promise
    is_single: bool
    compared: tuple[Promise, ...]
    agreeing: int
    folds: int
    default: Promise | None
    single_loss: Estimate
    break_even: float
    early_gain: Estimate | None
    entropy_gain: Estimate | None
    points: SweepPoints

    def chain_length(self, draft: str) -> int:
        """The best length of a chain with a draft model; 0 where even that is slower than none."""
        for promise in self.compared:
            if promise.candidate.draft == draft and promise.kind == CHAIN:
                return promise.candidate.shape.deepest if promise.speedup.value > 1 else 0
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The advice for a target.

    Attributes:
        recording: What it follows from.
        costs: Likewise.
        domains: By domain, in the recording's order.
        single: The fastest one setting for all domains; no speculation where none is faster.
        left_out: Domains with one prompt, on which nothing can be chosen and priced.
        single_chains: By draft model, the best length of a chain for all domains.
        drafters: What was considered.
        limits: Likewise.
        resampling: How intervals are made.
    """

    recording: Recording
    costs: CostModel
    domains: tuple[DomainAdvice, ...]
    single: Promise
    left_out: tuple[str, ...]
    single_chains: dict[str, int]
    drafters: tuple[str, ...]
    limits: Limits
    resampling: Resampling


def advise(
    recording: Recording,
    costs: CostModel,
    drafters: Sequence[str],
    *,
    limits: Limits | None = None,
    resampling: Resampling | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Advice:
    """Choose settings by domain, and price them on prompts that had no part in the choice.

    Args:
        recording: Of the target and every draft model among `drafters`.
        costs: Of the same models.
        drafters: Names of draft models, `LOOKUP` and `NONE`; `NONE` is always considered.
        limits: What is looked at.
        resampling: Number of resamples, level and seed.
        say: Told which domain is looked at.

    Raises:
        UsageError: A draft model was not recorded or has no costs, a tree needs more tokens of a
            position or wider passes than there are, or no domain has two prompts.
    """
    drafters = tuple(dict.fromkeys([*drafters, NONE]))
    limits, resampling = limits or Limits(), resampling or Resampling()
    _check(recording, costs, drafters)
    limits = _within(recording, costs, limits)
    whole = Sweep(recording, recording.cases, costs)
    part = np.zeros(len(whole), int)
    every = {domain: _rows(recording, domain) for domain in recording.domains}
    where = {domain: rows for domain, rows in every.items() if len(rows) > 1}
    _require_pairs(every)
    for rows in where.values():
        part[rows] = folds([recording.cases[row].case_id for row in rows])
    say("choosing one setting for all domains")
    pooled = cross_fit(whole, part, partial(_choose, whole, drafters, limits))
    overall = _promise(whole, pooled.best_chosen, pooled.best_held_out, "all", resampling)
    overall, overall_held_out = _unless_slower(overall, pooled.best_held_out, whole, resampling)
    found = []
    for domain, rows in where.items():
        say(f"choosing a setting for {domain}")
        sweep = Sweep(recording, [recording.cases[row] for row in rows], costs)
        fit = cross_fit(sweep, part[rows], partial(_choose, sweep, drafters, limits))
        single = overall, HeldOut(*(column[rows] for column in overall_held_out))
        found.append(
            _domain_advice(domain, sweep, fit, part[rows], single, drafters, limits, resampling)
        )
    return Advice(
        recording=recording,
        costs=costs,
        domains=tuple(found),
        single=overall,
        left_out=tuple(domain for domain in every if domain not in where),
        single_chains={
            draft: choice.candidate.shape.deepest if _is_faster(whole, pooled, draft) else 0
            for (draft, kind), choice in pooled.chosen.items()
            if kind == CHAIN
        },
        drafters=drafters,
        limits=limits,
        resampling=resampling,
    )


def _is_faster(sweep: Sweep, fit: CrossFit, draft: str) -> bool:
    """Whether chains with a draft model are faster than none on prompts that had no part in it."""
    return bool(fit.held_out[draft, CHAIN].seconds.sum() < sweep.plain.sum())


def _choose(
    sweep: Sweep, drafters: Sequence[str], limits: Limits, rows: np.ndarray
) -> dict[tuple[str, str], Choice]:
    return choose(sweep, rows, drafters, limits)


def _domain_advice(
    domain: str,
    sweep: Sweep,
    fit: CrossFit,
    part: np.ndarray,
    single: tuple[Promise, HeldOut],
    drafters: Sequence[str],
    limits: Limits,
    resampling: Resampling,
) -> DomainAdvice:
    compared = tuple(
        _promise(sweep, fit.chosen[key], fit.held_out[key], domain, resampling)
        for key in fit.chosen
    )
    best, held_out = fit.best_chosen, fit.best_held_out
    overall, overall_held_out = single
    is_single = bool(overall_held_out.seconds.sum() < held_out.seconds.sum())
    if is_single:
        best = Choice(kind=overall.kind, candidate=overall.candidate, speedup=1.0)
        held_out = overall_held_out
    advised = _promise(sweep, best, held_out, domain, resampling)
    advised, held_out = _unless_slower(advised, held_out, sweep, resampling, domain)
    loss = speedup_estimate(
        held_out.seconds, overall_held_out.seconds, sweep.workload.committed, domain, resampling
    )
    models = [drafter for drafter in drafters if drafter not in (LOOKUP, NONE)]
    own = advised.candidate.draft
    draft = own if own in models else (models[0] if models else None)
    shown = [choice.candidate for choice in fit.chosen.values()]
    shown += [overall.candidate, advised.candidate]
    points = sweep_points(sweep, models, shown, limits)
    return DomainAdvice(
        domain=domain,
        prompts=len(sweep),
        advised=advised,
        is_single=is_single and advised.candidate == overall.candidate,
        compared=compared,
        agreeing=fit.agreeing,
        folds=min(len(sweep), 5),
        default=_default(sweep, models, domain, resampling),
        single_loss=_loss(loss),
        early_gain=_gain(sweep, fit, draft, CHAIN, EARLY, domain, resampling),
        entropy_gain=_gain(sweep, fit, draft, EARLY, EARLY_ENTROPY, domain, resampling),
        break_even=_break_even(sweep, fit, part, draft, limits, advised),
        points=points,
    )


def _default(
    sweep: Sweep, models: Sequence[str], domain: str, resampling: Resampling
) -> Promise | None:
    """The default tree; None where the costs or the recorded ranks do not reach it."""
    candidate = Candidate(draft=models[0], shape=DEFAULT_SHAPE) if models else PLAIN
    widths = Widths.of_tree(tree_paths(candidate.shape) if models else ())
    info = sweep.recording.info
    has_ranks = not models or info.k >= min(DEFAULT_SHAPE.branching, info.vocabulary_size)
    if not has_ranks or not within_costs(widths, sweep.costs, models[0] if models else None):
        return None
    measured = sweep.measure([candidate])
    choice = Choice(kind="default", candidate=candidate, speedup=1.0)
    deepest = np.full(len(sweep), candidate.shape.deepest)
    held_out = HeldOut(measured.steps[0], measured.seconds[0], measured.draft_seconds[0], deepest)
    return _promise(sweep, choice, held_out, domain, resampling)


def _unless_slower(
    promise: Promise,
    held_out: HeldOut,
    sweep: Sweep,
    resampling: Resampling,
    stratum: str = "all",
) -> tuple[Promise, HeldOut]:
    """A setting with what it gave on held-out prompts; no speculation where that is not faster."""
    if promise.speedup.value > 1:
        return promise, held_out
    nothing = np.zeros(len(sweep))
    plain = HeldOut(sweep.committed.astype(float), sweep.plain, nothing, nothing)
    choice = Choice(kind=NONE, candidate=PLAIN, speedup=1.0)
    return _promise(sweep, choice, plain, stratum, resampling), plain


def _break_even(
    sweep: Sweep,
    fit: CrossFit,
    part: np.ndarray,
    draft: str | None,
    limits: Limits,
    advised: Promise,
) -> float:
    """`break_even_ratio`, on the side of the measured ratio where the advice puts it."""
    if draft is None:
        return float("nan")
    fitted = [held_out for (name, _), held_out in fit.held_out.items() if name == draft]
    simple = list(itertools.chain(*simple_candidates(sweep, draft, limits).values()))
    found = break_even_ratio(sweep, part, simple, fitted, draft)
    measured = sweep.cost_ratio(draft)
    if advised.candidate == PLAIN:
        return min(found, measured)
    return max(found, measured) if advised.candidate.draft == draft else found


def _gain(
    sweep: Sweep,
    fit: CrossFit,
    draft: str | None,
    without: str,
    with_it: str,
    domain: str,
    resampling: Resampling,
) -> Estimate | None:
    """By which share one kind of setting is faster than another, on held-out prompts."""
    kinds = [fit.held_out.get((draft or NONE, kind)) for kind in (without, with_it)]
    if kinds[0] is None or kinds[1] is None:
        return None
    seconds = kinds[0].seconds, kinds[1].seconds
    ratio = speedup_estimate(*seconds, sweep.workload.committed, domain, resampling)
    return replace(ratio, value=ratio.value - 1, low=ratio.low - 1, high=ratio.high - 1)


def _promise(
    sweep: Sweep, choice: Choice, held_out: HeldOut, stratum: str, resampling: Resampling
) -> Promise:
    return Promise(
        candidate=choice.candidate,
        kind=choice.kind,
        block_efficiency=efficiency_estimate(
            sweep.committed, held_out.steps, held_out.deepest.max(), stratum, resampling
        ),
        speedup=speedup_estimate(
            sweep.plain, held_out.seconds, sweep.workload.committed, stratum, resampling
        ),
    )


def _loss(ratio: Estimate) -> Estimate:
    """From seconds by domain ÷ seconds of the single setting to the share of speed lost."""
    return Estimate(
        value=1 - ratio.value,
        low=1 - ratio.high,
        high=1 - ratio.low,
        n=ratio.n,
        reason=ratio.reason,
    )


def _rows(recording: Recording, domain: str) -> np.ndarray:
    return np.array([i for i, case in enumerate(recording.cases) if case.domain == domain])


def _require_pairs(every: Mapping[str, np.ndarray]) -> None:
    """Verify that something can be chosen on one prompt of a domain and priced on another.

    Raises:
        UsageError: Every domain has one prompt.
    """
    if all(len(rows) < 2 for rows in every.values()):
        raise UsageError(
            "a setting is chosen on some prompts of a domain and priced on others, and there is 1 "
            f"prompt of {', '.join(every)}; record at least 2 of each domain, better 50"
        )


def _check(recording: Recording, costs: CostModel, drafters: Sequence[str]) -> None:
    recording.require_cases()
    require_domains(recording.domains)
    known = (*recording.info.drafts, LOOKUP, NONE)
    for drafter in drafters:
        if drafter not in known:
            raise unknown_value("--drafts", drafter, known)
        if drafter in recording.info.drafts:
            costs.of_draft(drafter)


def _within(recording: Recording, costs: CostModel, limits: Limits) -> Limits:
    """The limits that the recording and the costs reach; a chain is no longer than a tree is large.

    Raises:
        UsageError: The costs have no pass over two tokens.
    """
    nodes = min(limits.nodes, int(costs.target.widths[-1]) - 1)
    if nodes < 1:
        raise UsageError(
            "the costs have no forward pass of the target over more than one token, and a draft of "
            "one token takes two; give wider ones in the costs file"
        )
    return Limits(
        nodes=nodes,
        depth=min(limits.depth, nodes),
        ranks=min(limits.ranks, recording.info.k),
    )
