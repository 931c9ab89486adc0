"""Replays drawn chains above temperature 0: what they would have kept, in expectation.

Given the trajectory, the chance that an emitted token came from an accepted draft is min(1, q/p),
independently for each position (`draftproof.replay.recorded.RecordedCase.coupling_probability`). So
the expected counts of a chain of any length follow from one trajectory by adding up over where
steps may begin; averaged over trajectories they are the live run's own, without bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from draftproof.replay.alignment import Alignment
from draftproof.replay.sums import ReplaySums


def replay_chains(alignment: Alignment, lengths: Sequence[int]) -> ReplaySums:
    """The expected counts of drawn chains under the rejection rule.

    Args:
        alignment: The cases, recorded above temperature 0 with a draft model's probabilities.
        lengths: Of the chains, each at least 0.

    Returns:
        Expectations given each trajectory, ``[lengths, cases]``.
    """
    cases, tokens = alignment.coupling.shape
    chains, deepest = len(lengths), max(lengths, default=0)
    shape = (chains, cases)
    limits = np.array(lengths).reshape(-1, 1, 1)
    # How probable it is that a step at each root keeps d tokens or more, [cases, tokens, deepest].
    padded = np.zeros((cases, tokens + deepest))
    padded[:, :tokens] = alignment.coupling
    reached = np.stack(
        [padded[:, depth : depth + tokens] for depth in range(1, deepest + 1)] or
        [np.zeros((cases, tokens))], -1
    ).cumprod(-1)  # fmt: skip
    depths = np.arange(1, reached.shape[-1] + 1)
    last = alignment.committed - 1
    is_root = np.zeros((chains, cases, tokens + deepest + 2))
    is_root[:, :, 0] = 1
    steps, drafted, accepted, positions = (np.zeros(shape) for _ in range(4))
    by_depth = np.zeros((*shape, deepest + 1))
    every_chain, every_case = np.arange(chains)[:, None], np.arange(cases)
    for root in range(tokens):
        chance = is_root[:, :, root] * (root < last)
        allowed = np.minimum(limits, alignment.room[:, root, None])
        kept = np.where(depths <= allowed, reached[:, root], 0.0)
        steps += chance
        by_depth[every_chain, every_case, allowed[:, :, 0]] += chance
        drafted += chance * allowed[:, :, 0]
        accepted += chance * kept.sum(-1)
        positions += chance * (alignment.prompt_tokens + root)
        exactly = np.concatenate([np.ones((*shape, 1)), kept], -1)
        exactly[:, :, :-1] -= exactly[:, :, 1:].copy()
        is_root[:, :, root + 1 : root + 2 + len(depths)] += chance[:, :, None] * exactly
    return ReplaySums(
        steps=steps,
        drafted=drafted,
        accepted=accepted,
        root_positions=positions,
        committed=last,
        steps_by_depth=by_depth if (alignment.room < deepest).any() else None,
    )
