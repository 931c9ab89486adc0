"""A probe of all positions has, at a live run's roots, that run's own nodes, reached or not."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import GREEDY, PROMPTS, SEEDS, SHAPES, live, seeded_table
from strategies import VOCABULARY, tiny_lm

from draftproof.config import Sampling
from draftproof.replay.probe import probe
from draftproof.replay.trees import tree_paths
from draftproof.sampling import TokenLaw
from draftproof.shapes import KAryShape
from draftproof.stopping import Stopping
from draftproof.trace import NODE_COLUMNS


def assert_equal_to_a_live_run(prompt, target, draft, shape, tokens, roots):
    output, steps, nodes = live(prompt, target, draft, shape, Stopping(max_new_tokens=tokens))
    law = TokenLaw(GREEDY, len(prompt))
    table = probe(prompt, output.token_ids, target, draft, tree_paths(shape), law, roots=roots)
    assert set(table["step"].tolist()) == set(range(tokens - 1))
    for step, position in zip(steps["step"], steps["root_position"], strict=True):
        root = position - len(prompt)
        own = nodes["step"] == step
        probed = table["step"] == root
        # What a step keeps beyond the end of an output is not part of the trajectory.
        inside = nodes["position"][own] < len(prompt) + tokens
        for name in set(NODE_COLUMNS) - {"step"}:
            seen, expected = table[name][probed], nodes[name][own]
            if name in ("reached", "accepted"):
                seen, expected = seen[inside], expected[inside]
            np.testing.assert_allclose(
                seen.astype(float), expected.astype(float), rtol=1e-6, atol=1e-6, err_msg=name
            )


@given(SEEDS, SEEDS, SHAPES, PROMPTS, st.integers(2, 12), st.integers(1, 5))
@settings(max_examples=30)
def test_table_models(target_seed, draft_seed, shape, prompt, tokens, roots):
    target, draft = seeded_table(target_seed), seeded_table(100 + draft_seed)
    assert_equal_to_a_live_run(prompt, target, draft, shape, tokens, roots)


@given(SEEDS, SHAPES, PROMPTS, st.integers(2, 10))
@settings(max_examples=10)
def test_transformers(seed, shape, prompt, tokens):
    target, draft = tiny_lm(seed % 8), tiny_lm(8 + seed % 4, layers=1)
    assert_equal_to_a_live_run(prompt, target, draft, shape, tokens, 4)


@given(SEEDS, SHAPES, st.sets(st.integers(0, 9), min_size=1), st.integers(1, 4))
@settings(max_examples=30)
def test_some_positions_alone_are_as_among_all(seed, shape, positions, roots):
    """Whatever the blocks: with several of them, or none, in a block, and blocks before them."""
    target, draft, law = seeded_table(seed), seeded_table(100 + seed), TokenLaw(GREEDY, 2)
    output, _, _ = live([1, 2], target, draft, shape, Stopping(max_new_tokens=10))
    words = [1, 2], output.token_ids, target, draft, tree_paths(shape), law
    every = probe(*words)
    some = probe(*words, at=sorted(positions), roots=roots)
    kept = np.isin(every["step"], sorted(positions))
    for name in NODE_COLUMNS:
        np.testing.assert_allclose(some[name], every[name][kept], rtol=1e-6, err_msg=name)


def test_every_position_is_probed_once():
    target, draft = seeded_table(1), seeded_table(2)
    law = TokenLaw(GREEDY, 2)
    table = probe([1, 2], [0, 1, 2, 3, 4], target, draft, ((0,), (1,), (0, 0)), law, roots=2)
    assert table["step"].tolist() == np.repeat(np.arange(4), 3).tolist()
    assert target.vocabulary_size == VOCABULARY


def test_a_tree_as_wide_as_the_vocabulary_has_every_token_once():
    target, draft = seeded_table(1), seeded_table(2)
    paths = tuple((rank,) for rank in range(VOCABULARY + 3))
    table = probe([1, 2], [0, 1, 2], target, draft, paths, TokenLaw(GREEDY, 2))
    assert sorted(table["token_id"][table["step"] == 1].tolist()) == list(range(VOCABULARY))


def test_without_a_tree_there_are_no_nodes():
    law = TokenLaw(GREEDY, 2)
    table = probe([1, 2], [0, 1, 2], seeded_table(1), seeded_table(2), (), law)
    assert len(table["node"]) == 0


def test_what_trees_have_in_common_is_scored_once():
    """A draft model that says what the trajectory says: only leaves branch off."""
    shape, law = KAryShape(3, 1), TokenLaw(GREEDY, 2)
    target, draft = seeded_table(1), seeded_table(1)
    output, _, _ = live([1, 2], target, draft, shape, Stopping(max_new_tokens=9))
    with patch.object(target, "score", wraps=target.score) as score:
        probe([1, 2], output.token_ids, target, draft, shape.paths, law)
    roots, beyond_the_last = 8, 2
    assert [len(call.args[0]) for call in score.mock_calls] == [roots + beyond_the_last]


@pytest.mark.parametrize("looks_back", [{"repetition_penalty": 1.2}, {"min_new_tokens": 3}])
def test_a_law_that_looks_back_is_refused(looks_back):
    law = TokenLaw(Sampling(temperature=0.0, **looks_back), 2)
    with pytest.raises(ValueError, match="leave them out"):
        probe([1, 2], [0, 1, 2], seeded_table(1), seeded_table(2), ((0,),), law)
