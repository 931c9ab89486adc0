"""What speculation costs and saves: seconds per committed token, and the speedup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.statistics.bootstrap import ANY, Estimate, Resampling, resampled_totals
from draftproof.statistics.replicates import Replicates
from draftproof.trace import CaseRecord, Verdict

_ABSENT = "no case has both outputs and the seconds they took"
_COLUMNS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """The seconds of a domain, or of all prompts. Prefill is in both outputs' seconds.

    Attributes:
        prompts: Prompts that were decoded both ways.
        plain: Seconds per committed token of plain decoding.
        speculative: The same of speculation.
        speedup: The first ÷ the second, both of the same resampled prompts.
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
    strata = {}
    for domain in domains:
        measured = [
            sums
            for case in sorted(cases, key=lambda case: case.case_id)
            if case.domain == domain and (sums := _case_sums(case)) is not None
        ]
        strata[domain] = np.array(measured).reshape(-1, _COLUMNS)
    return cost_estimates(strata, resampling)


def cost_estimates(
    strata: Mapping[str, np.ndarray], resampling: Resampling
) -> tuple[dict[str, Costs], Costs]:
    """The costs by stratum, and over all prompts.

    Args:
        strata: Of each, ``[prompts, 6]``: plain seconds and tokens, speculative seconds and tokens,
            seconds drafting and verifying.
        resampling: Number of resamples, level and seed.
    """
    drawn = {name: resampled_totals(sums, name, resampling) for name, sums in strata.items()}
    by_domain = {
        name: _costs({name: sums}, drawn[name], resampling) for name, sums in strata.items()
    }
    pooled = sum(drawn.values(), np.zeros((resampling.resamples, _COLUMNS)))
    return by_domain, _costs(strata, pooled, resampling)


def _case_sums(case: CaseRecord) -> tuple[float, ...] | None:
    """Plain seconds and tokens, speculative seconds and tokens, seconds drafting and verifying."""
    plain, speculative = case.plain, case.speculative
    if case.verdict is Verdict.ERROR or plain is None or speculative is None:
        return None
    if not all(output.token_ids and output.seconds > 0 for output in (plain, speculative)):
        return None
    return (
        plain.seconds,
        len(plain.token_ids),
        speculative.seconds,
        len(speculative.token_ids),
        float(case.steps["draft_seconds"].sum(dtype=np.float64)),
        float(case.steps["verify_seconds"].sum(dtype=np.float64)),
    )


def _costs(strata: Mapping[str, np.ndarray], drawn: np.ndarray, resampling: Resampling) -> Costs:
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
        speedup=estimate(2),
        draft_share=float(shares[0]),
        verify_share=float(shares[1]),
    )


def _figures(totals: np.ndarray) -> np.ndarray:
    """``[3, rows]``: both costs in seconds per committed token, and the speedup."""
    with np.errstate(divide="ignore", invalid="ignore"):
        plain, speculative = totals[:, 0] / totals[:, 1], totals[:, 2] / totals[:, 3]
        return np.stack([plain, speculative, plain / speculative])
