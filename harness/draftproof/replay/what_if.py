"""What if passes cost something else? Recorded sums from which any cost ratio is priced again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from draftproof.replay.candidates import Candidate, Sweep
from draftproof.replay.choosing import Limits, simple_candidates
from draftproof.replay.crossfit import HeldOut

_FACTORS = np.geomspace(1e-3, 1e4, 1401)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoints:
    """Settings of a domain, each with the sums that its speedup is a ratio of.

    Attributes:
        candidates: The settings.
        plain_seconds: Of all prompts.
        other_seconds: ``[candidates]`` what speculation takes but for the draft model's passes.
        draft_seconds: ``[candidates]`` the draft model's passes.
        block_efficiency: ``[candidates]``.
        cost_ratios: By draft model, its pass over one token ÷ the target's, as measured.
    """

    candidates: tuple[Candidate, ...]
    plain_seconds: float
    other_seconds: np.ndarray
    draft_seconds: np.ndarray
    block_efficiency: np.ndarray
    cost_ratios: dict[str, float]

    def speedups(self, factor: float = 1.0) -> np.ndarray:
        """``[candidates]`` speedups where draft passes cost so many times as much."""
        return np.asarray(self.plain_seconds / (self.other_seconds + factor * self.draft_seconds))

    def to_json(self) -> dict[str, Any]:
        """The points as JSON values, for the page."""
        return {
            "plain_seconds": self.plain_seconds,
            "cost_ratios": self.cost_ratios,
            "points": [
                {
                    "draft": candidate.draft,
                    "shape": str(candidate.shape),
                    "nodes": candidate.shape.most_nodes,
                    "depth": candidate.shape.deepest,
                    "chain": candidate.shape.is_chain,
                    "other": float(other),
                    "drafting": float(drafting),
                    "block_efficiency": float(efficiency),
                }
                for candidate, other, drafting, efficiency in zip(
                    self.candidates,
                    self.other_seconds,
                    self.draft_seconds,
                    self.block_efficiency,
                    strict=True,
                )
            ],
        }


def sweep_points(
    sweep: Sweep, models: Sequence[str], chosen: Sequence[Candidate], limits: Limits
) -> SweepPoints:
    """Chains and k-ary trees of every size, and what was chosen.

    Args:
        sweep: The prompts of a domain.
        models: Names of draft models.
        chosen: Settings to look at besides.
        limits: What is looked at.
    """
    simple = [simple_candidates(sweep, model, limits).values() for model in models]
    every = itertools.chain(*itertools.chain(*simple), chosen)
    candidates = tuple(dict.fromkeys(every))
    measured = sweep.measure(candidates)
    drafting = measured.draft_seconds.sum(axis=1)
    steps = measured.steps.sum(axis=1)
    return SweepPoints(
        candidates=candidates,
        plain_seconds=float(sweep.plain.sum()),
        other_seconds=measured.seconds.sum(axis=1) - drafting,
        draft_seconds=drafting,
        block_efficiency=sweep.committed.sum() / np.maximum(steps, 1e-300),
        cost_ratios={model: sweep.cost_ratio(model) for model in models},
    )


def break_even_ratio(
    sweep: Sweep,
    part: np.ndarray,
    candidates: Sequence[Candidate],
    held_out: Sequence[HeldOut],
    draft: str,
) -> float:
    """The cost ratio from which on no setting of a draft model is faster than plain decoding.

    At every ratio the fastest setting is chosen on all folds but one and priced on that one, with
    the draft model's passes made so much dearer; what the engine adds to each pass stays.

    Args:
        sweep: The prompts.
        part: ``[cases]`` the fold of each.
        candidates: Settings of the draft model that were not fitted to these prompts.
        held_out: What was fitted, each prompt under what was chosen without its fold.
        draft: Name of the draft model.

    Returns:
        The ratio; 0 where even passes for nothing would not pay, infinity where no ratio that was
        looked at is too dear, and NaN where there is nothing to price.
    """
    measured = sweep.measure(candidates)
    drafting = np.vstack([measured.draft_seconds, *(each.draft_seconds for each in held_out)])
    other = np.vstack([measured.seconds, *(each.seconds for each in held_out)]) - drafting
    plain = sweep.plain.sum()
    if not len(drafting) or not plain:
        return float("nan")
    is_part = np.equal.outer(part, np.unique(part)).astype(float)
    drafting, other = drafting @ is_part, other @ is_part
    fold = np.arange(is_part.shape[1])

    def pays(factor: float) -> bool:
        seconds = other + factor * drafting
        best = (seconds.sum(axis=1, keepdims=True) - seconds).argmin(axis=0)
        return bool(seconds[best, fold].sum() < plain)

    paying = [number for number, factor in enumerate(_FACTORS) if pays(factor)]
    if not paying:
        return 0.0
    if paying[-1] == len(_FACTORS) - 1:
        return float("inf")
    return float(_FACTORS[paying[-1] + 1]) * sweep.cost_ratio(draft)
