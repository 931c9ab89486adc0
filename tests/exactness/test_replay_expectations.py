"""Above temperature 0, replaying is without bias: expectations equal those of live decoding."""

import math
from functools import cache

import pytest
from recordings import info_of, live_counts, recorded_by, seeded_table

from draftproof.config import Sampling
from draftproof.enumeration import enumerate_branches
from draftproof.replay.alignment import align
from draftproof.replay.coupling import replay_chains
from draftproof.replay.matching import replay_trees
from draftproof.replay.trees import tree_paths
from draftproof.shapes import ChainShape, KAryShape, StaticShape
from draftproof.stopping import Stopping

STOPPING = Stopping(max_new_tokens=4, stop_token_ids=frozenset({2}))
SAMPLINGS = (Sampling(temperature=1.0), Sampling(temperature=0.7, top_k=2))


AMPLE = (1 << 30, 1 << 30)
"""Room in the contexts of the target and the draft model."""


def models(room=AMPLE):
    return (
        seeded_table(3, vocabulary=3, sharpness=1.5, max_length=room[0]),
        seeded_table(9, vocabulary=3, max_length=room[1]),
    )


@cache
def trajectories(sampling, overrun=3, room=AMPLE):
    """Every trajectory, recorded, with its probability."""
    target, draft = models(room)
    found = enumerate_branches(
        lambda randomness: recorded_by(
            randomness, [1, 0], target, {"draft": draft}, STOPPING, k=3, overrun=overrun,
            sampling=sampling,
        )
    )  # fmt: skip
    cases, weights = zip(*found, strict=True)
    return align(cases, "draft", info_of(target, {"draft": draft}, sampling=sampling)), weights


def live_means(shape, sampling, room=AMPLE):
    """Exact means of steps, drafted and accepted tokens of live decoding."""
    target, draft = models(room)
    found = list(
        enumerate_branches(
            lambda randomness: live_counts(
                randomness, [1, 0], target, draft, shape, STOPPING, sampling=sampling
            )
        )
    )
    return [
        math.fsum(counts[index] * weight for counts, weight in found)
        for index in range(len(found[0][0]))
    ]


@pytest.mark.parametrize(
    ("length", "sampling"),
    [(1, SAMPLINGS[0]), (2, SAMPLINGS[0]), (1, SAMPLINGS[1]), (3, SAMPLINGS[1])],
)
def test_chains_under_the_rejection_rule(length, sampling):
    alignment, weights = trajectories(sampling)
    sums = replay_chains(alignment, [length])
    means = [math.fsum(column[0] * weights) for column in (sums.steps, sums.drafted, sums.accepted)]
    # Probabilities are recorded in float32.
    assert means == pytest.approx(live_means(ChainShape(length), sampling), abs=1e-6)


@pytest.mark.parametrize("room", [(5, 9), (6, 4), (9, 3)], ids=str)
def test_chains_in_contexts_that_end(room):
    """Of the target or of the draft model: drafts are shallower there, and live ones are too."""
    alignment, weights = trajectories(SAMPLINGS[0], room=room)
    sums = replay_chains(alignment, [2])
    means = [math.fsum(column[0] * weights) for column in (sums.steps, sums.drafted, sums.accepted)]
    assert means == pytest.approx(live_means(ChainShape(2), SAMPLINGS[0], room), abs=1e-6)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=("plain", "filtered"))
@pytest.mark.parametrize(
    "shape", [KAryShape(2, 2), StaticShape(((0,), (1,), (2,), (0, 0), (2, 0)))], ids=str
)
def test_deterministic_trees_under_the_point_mass_rule(shape, sampling):
    alignment, weights = trajectories(sampling)
    sums = replay_trees(alignment, [tree_paths(shape)])
    means = [math.fsum(column[0] * weights) for column in (sums.steps, sums.drafted, sums.accepted)]
    assert means == pytest.approx(live_means(shape, sampling), abs=1e-9)
