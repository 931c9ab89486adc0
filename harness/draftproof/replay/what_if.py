"""What if passes cost something else? Recorded sums from which any cost ratio is priced again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from draftproof.replay.candidates import Candidate, Sweep
from draftproof.replay.choosing import Limits
from draftproof.shapes import ChainShape, KAryShape, TreeShape

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
    depths = range(1, limits.depth + 1)
    k_ary = [KAryShape(depth, k) for depth in depths for k in range(2, limits.ranks + 1)]
    shapes: list[TreeShape] = [ChainShape(depth) for depth in depths]
    shapes += [shape for shape in k_ary if shape.most_nodes <= limits.nodes]
    candidates = tuple(
        dict.fromkeys(
            [*(Candidate(draft=model, shape=s) for model in models for s in shapes), *chosen]
        )
    )
    measured = sweep.measure(candidates)
    drafting = measured.draft_seconds.sum(axis=1)
    steps = measured.steps.sum(axis=1)
    context = float(np.mean(sweep.workload.prompt_tokens + sweep.committed / 2))
    return SweepPoints(
        candidates=candidates,
        plain_seconds=float(sweep.plain.sum()),
        other_seconds=measured.seconds.sum(axis=1) - drafting,
        draft_seconds=drafting,
        block_efficiency=sweep.committed.sum() / np.maximum(steps, 1e-300),
        cost_ratios={model: sweep.costs.cost_ratio(model, context) for model in models},
    )


def break_even_ratio(points: SweepPoints, draft: str) -> float:
    """The cost ratio from which on no setting of a draft model is faster than plain decoding.

    Each setting is priced with the draft model's passes made dearer; what the engine adds to each
    pass stays.

    Returns:
        The ratio; 0 where even passes for nothing would not pay, and infinity where no ratio that
        was looked at is too dear.
    """
    own = np.array([candidate.draft == draft for candidate in points.candidates])
    if not own.any():
        return float("nan")
    best = np.array([points.speedups(factor)[own].max() for factor in _FACTORS])
    paying = np.flatnonzero(best > 1)
    if not len(paying):
        return 0.0
    if paying[-1] == len(_FACTORS) - 1:
        return float("inf")
    return float(_FACTORS[paying[-1] + 1]) * points.cost_ratios[draft]
