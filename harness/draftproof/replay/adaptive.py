"""Chains that end where the expected gain falls below the cost: fitted, and replayed.

At temperature 0 a draft model's own chain from every position was recorded with how sure it was, so
that where such a chain ends, and what it costs until then, is known also where it has left the
trajectory. The chance that a token is kept is estimated from the largest probability, and from the
entropy beside it, by logistic regression on the positions of some prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from draftproof.replay.alignment import rooms
from draftproof.replay.recorded import RecordedCase, RecordingInfo
from draftproof.replay.variable import VariableSums, walk
from draftproof.shapes import ChainShape

_SMALLEST = 1e-6
_RIDGE = 1e-3
_DIGITS = 4

Keep = tuple[float, float, float]
"""Coefficients of `draftproof.shapes.ChainShape.keep`."""


def fit_keep(cases: Sequence[RecordedCase], draft: str, *, with_entropy: bool) -> Keep:
    """The chance that a drafted token is kept, given that all before it were, as coefficients.

    Args:
        cases: Whose positions are looked at.
        draft: Name of a draft model.
        with_entropy: Whether the entropy may count beside the largest probability.

    Returns:
        a, b and c of σ(a + b·logit(m) + c·H), rounded so that a shape's text has them in full;
        (0, 1, 0) where there is nothing to fit.
    """
    kept, largest, entropy = [], [], []
    for case in cases:
        drafted = slice(1, case.committed)
        recorded = case.drafts[draft]
        kept.append(recorded.columns["rank"][drafted] == 0)
        largest.append(np.exp(recorded.top["top_log_probability"][drafted, 0].astype(float)))
        entropy.append(recorded.columns["entropy"][drafted].astype(float))
    y, m, h = (np.concatenate(part) if part else np.empty(0) for part in (kept, largest, entropy))
    known = np.isfinite(m) & np.isfinite(h)
    y, m, h = y[known].astype(float), m[known], h[known]
    if len(y) < 2 or y.min() == y.max():
        return 0.0, 1.0, 0.0
    features = np.stack([np.ones(len(m)), _logit(m), h if with_entropy else np.zeros(len(m))], 1)
    usual = np.array([0.0, 1.0, 0.0])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        score = features @ weights
        away = weights - usual
        value = np.logaddexp(0, score).sum() - y @ score + _RIDGE * len(y) * (away @ away) / 2
        gradient = features.T @ (_sigmoid(score) - y) + _RIDGE * len(y) * away
        return float(value), gradient

    from scipy.optimize import minimize  # takes half a second to import

    found = minimize(loss, usual, jac=True, method="L-BFGS-B").x
    a, b, c = (float(f"{value:.{_DIGITS}g}") for value in found)
    return a, b, c if with_entropy else 0.0


def replay_early_chains(
    cases: Sequence[RecordedCase], draft: str, shapes: Sequence[ChainShape], info: RecordingInfo
) -> VariableSums:
    """What chains that end early would have drafted and kept; at temperature 0.

    A draft model scores one token more than are drafted where the chain ends before its length:
    that one says that it is not sure enough.

    Args:
        cases: Recorded with as many tokens of own chains as the longest shape has.
        draft: Name of the draft model.
        shapes: The chains.
        info: Of the recording.
    """
    longest = max((shape.length for shape in shapes), default=0)
    proposed, kept, passes = [], [], []
    for case in cases:
        largest, entropy = (
            _following(case.drafts[draft].chain[name].astype(float), longest)
            for name in ("chain_probability", "chain_entropy")
        )
        tokens = len(case.token_ids)
        run = _run_length(case.drafts[draft].columns["rank"] == 0)
        prompt = np.array([len(case.prompt_token_ids)])
        [room] = rooms(prompt, tokens, info.max_lengths["target"], info.max_lengths[draft])
        drafts = np.stack([_lengths(shape, largest, entropy) for shape in shapes])
        limit = np.minimum(np.array([shape.length for shape in shapes])[:, None], room)
        drafts = np.minimum(drafts, limit)
        proposed.append(drafts)
        kept.append(np.minimum(drafts, run))
        passes.append(np.where(drafts < limit, drafts + 1, drafts))
    return walk(cases, proposed, kept, longest, passes)


def _lengths(shape: ChainShape, largest: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """``[tokens]`` how long a chain from each root becomes, if there is room."""
    base, sure, uneasy = shape.keep
    going = largest[:, : shape.length] >= shape.stop_below
    if shape.gain_below:
        score = base + sure * _logit(largest) + uneasy * entropy
        chance = np.cumprod(_sigmoid(score), 1)[:, : shape.length]
        going &= chance >= shape.gain_below
    return np.asarray(np.cumprod(going, 1).sum(1))


def _following(column: np.ndarray, depth: int) -> np.ndarray:
    """Rows by the root, in place of rows by the first drafted position."""
    after = np.full((len(column), depth), np.nan)
    after[:-1] = column[1:, :depth]
    return after


def _run_length(matches: np.ndarray) -> np.ndarray:
    """At each root, how many positions after it match in a row."""
    runs = np.zeros(len(matches), int)
    for root in range(len(matches) - 2, -1, -1):
        runs[root] = runs[root + 1] + 1 if matches[root + 1] else 0
    return runs


def _logit(probability: np.ndarray) -> np.ndarray:
    inside = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _sigmoid(score: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-score)))
