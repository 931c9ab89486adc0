"""A probe of all positions has, at a live run's roots, that run's own nodes, reached or not."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import GREEDY, PROMPTS, SEEDS, SHAPES, live, seeded_table
from strategies import VOCABULARY, tiny_lm

from draftproof.replay.probe import probe
from draftproof.replay.trees import tree_paths
from draftproof.sampling import TokenLaw
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


def test_every_position_is_probed_once():
    target, draft = seeded_table(1), seeded_table(2)
    law = TokenLaw(GREEDY, 2)
    table = probe([1, 2], [0, 1, 2, 3, 4], target, draft, ((0,), (1,), (0, 0)), law, roots=2)
    assert table["step"].tolist() == np.repeat(np.arange(4), 3).tolist()
    assert target.vocabulary_size == VOCABULARY
