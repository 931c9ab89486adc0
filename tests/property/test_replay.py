"""A recording decides what any static tree keeps: equal to a live run, step for step."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import PROMPTS, SEEDS, SHAPES, info_of, live, recorded, seeded_table
from strategies import VOCABULARY, tiny_lm

from draftproof.replay.adaptive import replay_early_chains
from draftproof.replay.alignment import align
from draftproof.replay.lookup import replay_lookup
from draftproof.replay.matching import replay_trees
from draftproof.replay.steps import replay_steps
from draftproof.replay.trees import tree_paths
from draftproof.shapes import ChainShape, LookupShape
from draftproof.stopping import Stopping

STOPPINGS = st.builds(
    Stopping,
    max_new_tokens=st.integers(1, 16),
    stop_token_ids=st.frozensets(st.integers(0, VOCABULARY - 1), max_size=1),
)
EXACT = (
    "step",
    "node",
    "parent",
    "depth",
    "sibling_rank",
    "position",
    "token_id",
    "target_rank",
    "draft_rank",
    "reached",
    "accepted",
)
CLOSE = (
    "target_probability",
    "draft_probability",
    "acceptance_probability",
    "overlap",
    "target_entropy",
    "draft_entropy",
)


class Counting:
    """A model that counts its forward passes."""

    def __init__(self, model):
        self._model = model
        self.passes = 0

    def __getattr__(self, name):
        return getattr(self._model, name)

    def advance(self, token_ids):
        self.passes += 1
        return self._model.advance(token_ids)

    def score(self, token_ids, parents):
        self.passes += 1
        return self._model.score(token_ids, parents)


def assert_equal_to_a_live_run(prompt, target, draft, shape, stopping):
    case = recorded(prompt, target, {"draft": draft}, stopping)
    info = info_of(target, {"draft": draft})
    output, steps, nodes = live(prompt, target, draft, shape, stopping)
    assert output.token_ids == tuple(case.token_ids[: case.committed])
    replayed = replay_steps(case, "draft", tree_paths(shape), info)
    for name, column in replayed.steps.items():
        assert column.tolist() == steps[name].tolist(), name
    reached = nodes["reached"]
    for name in EXACT:
        assert replayed.reached[name].tolist() == nodes[name][reached].tolist(), name
    for name in CLOSE:
        np.testing.assert_allclose(
            replayed.reached[name], nodes[name][reached], rtol=2e-6, atol=1e-6, err_msg=name
        )
    sums = replay_trees(align([case], "draft", info), [tree_paths(shape)])
    assert sums.steps[0, 0] == len(steps["step"])
    assert sums.drafted[0, 0] == steps["nodes"].sum()
    assert sums.accepted[0, 0] == steps["accepted_length"].sum()
    assert sums.root_positions[0, 0] == steps["root_position"].sum()
    assert sums.committed[0] == steps["committed_tokens"].sum()


@given(SEEDS, SEEDS, SHAPES, PROMPTS, STOPPINGS)
@settings(max_examples=60)
def test_table_models(target_seed, draft_seed, shape, prompt, stopping):
    target, draft = seeded_table(target_seed), seeded_table(100 + draft_seed)
    assert_equal_to_a_live_run(prompt, target, draft, shape, stopping)


@given(SEEDS, SEEDS, SHAPES, PROMPTS, STOPPINGS)
@settings(max_examples=15)
def test_transformers(target_seed, draft_seed, shape, prompt, stopping):
    target, draft = tiny_lm(target_seed % 12), tiny_lm(12 + draft_seed % 4, layers=1)
    assert_equal_to_a_live_run(prompt, target, draft, shape, stopping)


@given(SEEDS, SHAPES, st.integers(4, 9), st.integers(4, 9))
@settings(max_examples=30)
def test_contexts_that_end(seed, shape, target_room, draft_room):
    """Where a model has few positions left, drafts are shallower, and live ones are too."""
    target = seeded_table(seed, max_length=target_room)
    draft = seeded_table(100 + seed // 2, max_length=draft_room)
    assert_equal_to_a_live_run([1, 2, 3], target, draft, shape, Stopping(max_new_tokens=20))


@given(SEEDS, st.integers(1, 5), st.integers(1, 3), st.integers(6, 40))
@settings(max_examples=40)
def test_lookup(seed, length, ngram, room):
    """Few tokens and long outputs, so that much is found; also where the target's context ends."""
    target = seeded_table(seed, vocabulary=3, sharpness=3.0, max_length=room)
    draft, shape = seeded_table(seed, vocabulary=3), LookupShape(length, ngram)
    stopping = Stopping(max_new_tokens=24)
    case = recorded([1, 2, 0, 1], target, {"draft": draft}, stopping, k=3)
    info = info_of(target, {"draft": draft}, k=3)
    _, steps, _ = live([1, 2, 0, 1], target, draft, shape, stopping)
    found = replay_lookup([case], [length], ngram, info)
    assert found.sums.steps[0, 0] == len(steps["step"])
    assert found.sums.drafted[0, 0] == steps["nodes"].sum()
    assert found.sums.accepted[0, 0] == steps["accepted_length"].sum()
    assert found.sums.root_positions[0, 0] == steps["root_position"].sum()
    by_nodes = np.bincount(steps["nodes"], minlength=length + 1)
    assert found.steps_by_nodes[0, 0].tolist() == by_nodes.tolist()


def test_a_draft_may_reach_beyond_what_was_recorded():
    """Steps and committed tokens are still those of a live run; tokens kept there are fewer."""
    target, draft = seeded_table(0), seeded_table(0)
    stopping = Stopping(max_new_tokens=8)
    case = recorded([1], target, {"draft": draft}, stopping, overrun=0)
    info = info_of(target, {"draft": draft}, overrun=0)
    _, steps, _ = live([1], target, draft, ChainShape(4), stopping)
    replayed = replay_steps(case, "draft", tree_paths(ChainShape(4)), info)
    assert steps["accepted_length"].tolist() == [4, 4]
    assert replayed.steps["accepted_length"].tolist() == [4, 2]
    assert replayed.steps["committed_tokens"].tolist() == steps["committed_tokens"].tolist()


@given(
    SEEDS,
    SEEDS,
    st.integers(1, 6),
    st.floats(0.05, 0.9),
    st.floats(-1, 0.5),
    PROMPTS,
    STOPPINGS,
)
@settings(max_examples=40)
def test_chains_that_end_early(target_seed, draft_seed, length, gain, entropy, prompt, stopping):
    """Also what they draft where they have left the trajectory, of which their cost depends."""
    shape = ChainShape(length, 0.0, gain, (0.2, 0.9, entropy))
    for room in (1 << 30, len(prompt) + 5):
        target = seeded_table(target_seed)
        draft = seeded_table(100 + draft_seed, sharpness=2.0, max_length=room)
        case = recorded(prompt, target, {"draft": draft}, stopping, rollout=6)
        info = info_of(target, {"draft": draft})
        counted = Counting(draft)
        _, steps, _ = live(prompt, target, counted, shape, stopping)
        found = replay_early_chains([case], "draft", [shape], info)
        assert found.sums.steps[0, 0] == len(steps["step"])
        assert found.sums.drafted[0, 0] == steps["nodes"].sum()
        assert found.sums.accepted[0, 0] == steps["accepted_length"].sum()
        # One pass takes in the prompt, before any step.
        assert found.passes[0, 0] == counted.passes - (len(prompt) <= room)
        by_nodes = np.bincount(steps["nodes"], minlength=length + 1)
        assert found.steps_by_nodes[0, 0].tolist() == by_nodes.tolist()
