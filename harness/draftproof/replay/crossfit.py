"""Promises that are not made on the prompts they were fitted to: cross-fitting over prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from draftproof.errors import UsageError
from draftproof.replay.candidates import Candidate, Sweep
from draftproof.replay.choosing import Choice
from draftproof.shapes import ChainShape
from draftproof.statistics.bootstrap import Estimate, RatioSums, stratified_estimates
from draftproof.statistics.replicates import Replicates
from draftproof.statistics.resampling import Resampling, resampled_totals

FOLDS = 5
"""Parts of the prompts; each is priced under what was chosen on the others."""

_NO_TIME = "no prompt has a second token, so that no step can be priced"

Chooser = Callable[[np.ndarray], Mapping[tuple[str, str], Choice]]
"""From the rows of some prompts to the fastest setting of each drafter and kind on them."""


class HeldOut(NamedTuple):
    """What choosing on other prompts gave on each prompt; each ``[cases]``.

    Attributes:
        steps: Target forward passes after prefill.
        seconds: Prefill included.
        draft_seconds: Of these, the draft model's forward passes while decoding.
        deepest: The most tokens that a step could keep.
    """

    steps: np.ndarray
    seconds: np.ndarray
    draft_seconds: np.ndarray
    deepest: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFit:
    """Settings chosen on all prompts, and priced on prompts that had no part in the choice.

    Attributes:
        chosen: By drafter and kind, on all prompts.
        held_out: Likewise, each prompt under what was chosen without its fold.
        best_chosen: The fastest of all of them.
        best_held_out: Each prompt under the fastest setting on the other folds.
        agreeing: Of how many folds the fastest setting was `best_chosen`'s.
    """

    chosen: Mapping[tuple[str, str], Choice]
    held_out: Mapping[tuple[str, str], HeldOut]
    best_chosen: Choice
    best_held_out: HeldOut
    agreeing: int


def fold_of(case_id: str) -> int:
    """Which part of the prompts a case belongs to, by its id alone."""
    digest = hashlib.sha256(f"fold\0{case_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (1 << 32)


def folds(case_ids: Sequence[str], count: int = FOLDS) -> np.ndarray:
    """The part of each case, of nearly equal size.

    Raises:
        UsageError: There are fewer than two cases.
    """
    if len(case_ids) < 2:
        raise UsageError(
            f"a setting is chosen on some prompts and priced on others, and there is "
            f"{len(case_ids)}; record at least 2 prompts of each domain, better 50"
        )
    order = sorted(range(len(case_ids)), key=lambda row: (fold_of(case_ids[row]), case_ids[row]))
    part = np.empty(len(case_ids), int)
    part[order] = np.arange(len(case_ids)) % min(count, len(case_ids))
    return part


def cross_fit(sweep: Sweep, part: np.ndarray, choose: Chooser) -> CrossFit:
    """Choose on all prompts, and price the choosing on held-out ones.

    Args:
        sweep: The prompts.
        part: ``[cases]`` the fold of each.
        choose: The way of choosing.
    """
    everything = np.arange(len(sweep))
    chosen = dict(choose(everything))
    best = fastest(chosen.values())
    held_out = {key: HeldOut(*np.zeros((4, len(sweep)))) for key in chosen}
    best_held_out = HeldOut(*np.zeros((4, len(sweep))))
    agreeing = 0
    for fold in np.unique(part):
        rows = everything[part == fold]
        found = choose(everything[part != fold])
        fold_best = fastest(found.values())
        agreeing += _alike(fold_best.candidate, best.candidate)
        for key, choice in found.items():
            _fill(held_out[key], sweep, rows, choice.candidate)
        _fill(best_held_out, sweep, rows, fold_best.candidate)
    return CrossFit(
        chosen=chosen,
        held_out=held_out,
        best_chosen=best,
        best_held_out=best_held_out,
        agreeing=agreeing,
    )


def fastest(choices: Iterable[Choice]) -> Choice:
    """The choice of largest speedup; of equal ones the one with fewer nodes."""
    return max(choices, key=lambda each: (each.speedup, -each.candidate.shape.most_nodes))


def _alike(first: Candidate, second: Candidate) -> bool:
    """Whether two settings are one but for a chain's `keep`, which every prompt moves a little."""
    one, other = (
        ChainShape(each.shape.length, each.shape.stop_below, each.shape.gain_below)
        if isinstance(each.shape, ChainShape)
        else each.shape
        for each in (first, second)
    )
    return first.draft == second.draft and one == other


def _fill(into: HeldOut, sweep: Sweep, rows: np.ndarray, candidate: Candidate) -> None:
    """Mutates: `into`, at `rows`."""
    measured = sweep.measure([candidate])
    into.steps[rows] = measured.steps[0, rows]
    into.seconds[rows] = measured.seconds[0, rows]
    into.draft_seconds[rows] = measured.draft_seconds[0, rows]
    into.deepest[rows] = candidate.shape.deepest


def speedup_estimate(
    plain: np.ndarray,
    seconds: np.ndarray,
    committed: np.ndarray,
    stratum: str,
    resampling: Resampling,
) -> Estimate:
    """Plain ÷ other seconds with an interval over prompts.

    Args:
        plain: ``[prompts]`` seconds.
        seconds: ``[prompts]`` the other way of decoding.
        committed: ``[prompts]`` tokens, the prompts' weights.
        stratum: Name of the domain, which seeds its resamples.
        resampling: Number of resamples, level and seed.
    """
    sums = np.stack([plain, seconds], 1)
    drawn = resampled_totals(sums, stratum, resampling)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.divide(*sums.sum(axis=0)))
        draws = drawn[:, 0] / drawn[:, 1]
    if np.allclose(plain, seconds, rtol=1e-12, atol=0):
        return Estimate(value=1.0, low=1.0, high=1.0, n=len(plain))
    return Replicates(
        value=value,
        draws=draws,
        n=len(plain),
        weights=[committed.astype(float)],
        bounds=(0.0, float("inf")),
        absent=_NO_TIME,
    ).estimate(resampling.level)


def efficiency_estimate(
    committed: np.ndarray, steps: np.ndarray, deepest: float, stratum: str, resampling: Resampling
) -> Estimate:
    """Committed tokens ÷ steps with an interval over prompts, at most the deepest draft and one."""
    sums = RatioSums(committed[:, None].astype(float), steps[:, None])
    found = stratified_estimates(
        {stratum: sums}, ["no prompt has a step"], resampling, [(1.0, deepest + 1)]
    )
    return found.by_stratum[stratum][0]
