"""What speculation costs and saves: seconds per committed token, and the speedup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.statistics.batches import rows_by_domain, step_columns
from draftproof.statistics.bootstrap import ANY, Estimate
from draftproof.statistics.replicates import Replicates
from draftproof.statistics.resampling import Resampling, resampled_totals
from draftproof.trace import CaseRecord, Verdict

_NAN = float("nan")
_ABSENT = "no case has both outputs and the seconds they took"
_COLUMNS = 6
_CALL_SECONDS = 0.001
"""What a call may take beside decoding: handing over the request, reading the answer."""
_OTHER_SPAN = 0.01
"""By what share a speedup may be off because the two sides are not timed over the same span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The seconds of a domain, or of all prompts. Prefill is in both outputs' seconds.

    Attributes:
        prompts: Prompts that were decoded both ways and took time.
        plain: Seconds per committed token of plain decoding.
        speculative: The same of speculation.
        speedup: The first ÷ the second, both of the same resampled prompts; not estimable, with
            the reason, where the two sides were not measured alike (see `clock_problem`).
        draft_share: Share of speculation's seconds spent drafting; NaN where it took none.
        verify_share: Share spent verifying. The rest is prefill and all that is neither.
    """

    prompts: int
    plain: Estimate
    speculative: Estimate
    speedup: Estimate
    draft_share: float
    verify_share: float


def costs(
    cases: Sequence[CaseRecord], domains: Sequence[str], resampling: Resampling
) -> tuple[dict[str, Costs], Costs]:
    """The costs by domain, and over all prompts, resampled within domains.

    Args:
        cases: The records; those in error, or without both outputs, are left out.
        domains: The domains to tell apart.
        resampling: Number of resamples, level and seed.
    """
    problem = clock_problem(cases)
    measured = [case for case in cases if _is_timed(case)]
    sums = _sums(measured)
    strata = {domain: sums[rows] for domain, rows in rows_by_domain(measured, domains).items()}
    return cost_estimates(strata, resampling, problem)


def cost_estimates(
    strata: Mapping[str, np.ndarray], resampling: Resampling, problem: str = ""
) -> tuple[dict[str, Costs], Costs]:
    """The costs by stratum, and over all prompts.

    Args:
        strata: Of each, ``[prompts, 6]``: plain seconds and tokens, speculative seconds and tokens,
            seconds drafting and verifying.
        resampling: Number of resamples, level and seed.
        problem: Why no speedup follows from these seconds; see `clock_problem`.
    """
    drawn = {name: resampled_totals(sums, name, resampling) for name, sums in strata.items()}
    by_domain = {
        name: _costs({name: sums}, drawn[name], resampling, problem)
        for name, sums in strata.items()
    }
    pooled = sum(drawn.values(), np.zeros((resampling.resamples, _COLUMNS)))
    return by_domain, _costs(strata, pooled, resampling, problem)


def clock_problem(cases: Sequence[CaseRecord]) -> str:
    """Why the seconds of plain and of speculative outputs are not of one clock; empty if they are.

    A speedup is a ratio of two times that must be measured alike: on one engine, and over one span.
    An engine's own seconds are compared with the time of its calls as seen from outside, less what
    it says that it spent on watching. What is missing there (prefill, where a clock is started
    after it) would have changed the speedup by the ratio of both sides' missing shares; the median
    case decides, so that a pause of the machine does not.

    Args:
        cases: The records; those of older versions, which lack the time of calls, say nothing.
    """
    both = [
        (case.plain, case.speculative)
        for case in cases
        if case.verdict is not Verdict.ERROR and case.plain and case.speculative
    ]
    engines = {
        (plain.engine, speculative.engine)
        for plain, speculative in both
        if plain.engine and speculative.engine and plain.engine != speculative.engine
    }
    for plain_engine, engine in sorted(engines):
        return (
            f"the engine {engine} does not decode plainly: plain outputs are those of the engine "
            f"{plain_engine}, and the time of one engine says nothing on a speedup of the other"
        )
    sides = {
        "plain": [plain for plain, _ in both],
        "speculative": [speculative for _, speculative in both],
    }
    missing = {}
    for name, outputs in sides.items():
        seconds = np.array([output.seconds for output in outputs])
        untold = np.array(
            [
                np.nan if output.untold_seconds is None else output.untold_seconds
                for output in outputs
            ]
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            missing[name] = np.where(untold < 0, untold, np.maximum(untold - _CALL_SECONDS, 0)) / (
                seconds
            )
        more = _median(missing[name])
        if more < -_OTHER_SPAN and more * _median(seconds) < -_CALL_SECONDS:
            return (
                f"the engine says that {name} outputs took {_median(seconds):.3g} s, more than the "
                f"{_median(seconds + untold):.3g} s in which its calls returned them (medians)"
            )
    off = _median((1 + missing["plain"]) / (1 + missing["speculative"]) - 1)
    if abs(off) > _OTHER_SPAN:
        plain_share, share = (_median(missing[name]) for name in sides)
        return (
            "plain and speculative seconds are not of the same span: the engine's calls took "
            f"{plain_share:.1%} longer than it says of plain outputs, and {share:.1%} longer than "
            "it says of speculative ones (medians); is prefill in both?"
        )
    return ""


def _median(values: np.ndarray) -> float:
    """The median of what is known; 0 of nothing."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _is_timed(case: CaseRecord) -> bool:
    """Whether a case has both outputs, with a token each, and the seconds that they took."""
    plain, speculative = case.plain, case.speculative
    if case.verdict is Verdict.ERROR or plain is None or speculative is None:
        return False
    return all(output.token_ids and output.seconds > 0 for output in (plain, speculative))


def _sums(cases: Sequence[CaseRecord]) -> np.ndarray:
    """``[cases, 6]``: seconds and tokens, plain and speculative; seconds drafting, verifying."""
    outputs = [
        (output.seconds, len(output.token_ids))
        for case in cases
        for output in (case.plain, case.speculative)
        if output is not None
    ]
    phases = [np.empty((0, 2))]
    for part in step_columns(cases, ("draft_seconds", "verify_seconds")):
        ends = np.cumsum(part.counts).tolist()
        seconds = [part.columns[name] for name in ("draft_seconds", "verify_seconds")]
        phases.append(
            np.array(
                [
                    [float(each[start:stop].sum(dtype=np.float64)) for each in seconds]
                    for start, stop in zip([0, *ends], ends, strict=False)
                ]
            )
        )
    return np.hstack([np.array(outputs, np.float64).reshape(-1, 4), np.concatenate(phases)])


def _costs(
    strata: Mapping[str, np.ndarray], drawn: np.ndarray, resampling: Resampling, problem: str
) -> Costs:
    prompts = [len(sums) for sums in strata.values() if len(sums)]
    whole = sum((sums.sum(axis=0) for sums in strata.values()), np.zeros(_COLUMNS))

    def estimate(figure: int) -> Estimate:
        return Replicates(
            value=float(_figures(whole[None])[figure, 0]),
            draws=_figures(drawn)[figure],
            n=sum(prompts),
            weights=[sums[:, 1] for sums in strata.values() if len(sums)],
            bounds=ANY,
            absent=_ABSENT,
        ).estimate(resampling.level)

    with np.errstate(divide="ignore", invalid="ignore"):
        shares = whole[4:] / whole[2]
    return Costs(
        prompts=sum(prompts),
        plain=estimate(0),
        speculative=estimate(1),
        speedup=Estimate(value=_NAN, low=_NAN, high=_NAN, n=0, reason=problem)
        if problem
        else estimate(2),
        draft_share=float(shares[0]),
        verify_share=float(shares[1]),
    )


def _figures(totals: np.ndarray) -> np.ndarray:
    """``[3, rows]``: both costs in seconds per committed token, and the speedup."""
    with np.errstate(divide="ignore", invalid="ignore"):
        plain, speculative = totals[:, 0] / totals[:, 1], totals[:, 2] / totals[:, 3]
        return np.stack([plain, speculative, plain / speculative])
