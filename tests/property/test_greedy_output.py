"""At temperature 0, speculation changes nothing: whatever is proposed, wherever it stops."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import VOCABULARY, ScriptedDrafter, table_models, tiny_lm, trees

from draftproof.acceptance import GreedyRule
from draftproof.config import Sampling
from draftproof.decoding import plain_decode, speculate
from draftproof.drafting import make_drafter
from draftproof.models.checked import CheckedLM
from draftproof.randomness import SeededRandomness
from draftproof.shapes import ChainShape, KAryShape
from draftproof.stopping import Stopping

GREEDY = Sampling(temperature=0.0)
PROMPTS = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=6)
STOPPINGS = st.builds(
    Stopping,
    max_new_tokens=st.integers(1, 14),
    stop_token_ids=st.frozensets(st.integers(0, VOCABULARY - 1), max_size=1),
)
SHAPES = st.one_of(
    st.builds(ChainShape, st.integers(1, 5)),
    st.builds(KAryShape, st.integers(1, 3), st.integers(1, 3)),
)
MODEL_SEEDS = st.integers(0, 11)


def plain(prompt, target, stopping):
    return plain_decode(
        prompt,
        target,
        sampling=GREEDY,
        stopping=stopping,
        randomness=SeededRandomness(0, "plain"),
    )


def speculative(prompt, target, drafter, stopping, seed=0):
    steps = []
    output = speculate(
        prompt,
        target,
        drafter,
        GreedyRule(),
        sampling=GREEDY,
        stopping=stopping,
        randomness=SeededRandomness(seed, "speculative"),
        observe=lambda step, committed: steps.append(step),
    )
    return output, steps


@given(MODEL_SEEDS, MODEL_SEEDS, SHAPES, PROMPTS, STOPPINGS)
def test_transformers_with_state_checks_at_every_step(
    target_seed, draft_seed, shape, prompt, stopping
):
    target = CheckedLM(tiny_lm(target_seed), "target")
    draft = CheckedLM(tiny_lm(draft_seed, layers=1), "draft model")
    expected = plain(prompt, target, stopping)
    output, _ = speculative(prompt, target, make_drafter(shape, draft), stopping)
    assert output == expected


@given(MODEL_SEEDS, st.lists(trees(), min_size=1, max_size=4), PROMPTS, STOPPINGS)
def test_any_tree_at_all(target_seed, script, prompt, stopping):
    target = CheckedLM(tiny_lm(target_seed), "target")
    expected = plain(prompt, target, stopping)
    output, _ = speculative(prompt, target, ScriptedDrafter(script), stopping)
    assert output == expected


@given(table_models(), table_models(), SHAPES, PROMPTS, STOPPINGS)
def test_table_models(target, draft, shape, prompt, stopping):
    expected = plain(prompt, target, stopping)
    output, _ = speculative(prompt, target, make_drafter(shape, draft), stopping)
    assert output == expected


@given(MODEL_SEEDS, MODEL_SEEDS, st.integers(1, 4), PROMPTS, STOPPINGS)
def test_a_tree_of_width_1_is_the_chain(target_seed, draft_seed, depth, prompt, stopping):
    outputs, traces = [], []
    for shape in (ChainShape(depth), KAryShape(depth, 1)):
        drafter = make_drafter(shape, tiny_lm(draft_seed))
        output, steps = speculative(prompt, tiny_lm(target_seed), drafter, stopping)
        outputs.append(output)
        traces.append([(s.draft.tree.token_ids, s.draft.tree.parents, s.acceptance) for s in steps])
    assert outputs[0] == outputs[1]
    assert traces[0] == traces[1]


@given(MODEL_SEEDS, SHAPES, PROMPTS, STOPPINGS)
def test_self_draft_keeps_a_path_to_the_last_level(seed, shape, prompt, stopping):
    drafter = make_drafter(shape, tiny_lm(seed))
    _, steps = speculative(prompt, tiny_lm(seed), drafter, stopping)
    assert all(len(step.acceptance.path) == step.draft.tree.depth for step in steps)


@given(MODEL_SEEDS, MODEL_SEEDS, SHAPES, PROMPTS, st.integers(0, 5))
@settings(max_examples=20)
def test_the_output_depends_on_no_seed_and_no_earlier_prompt(
    target_seed, draft_seed, shape, prompt, seed
):
    stopping = Stopping(max_new_tokens=8)
    target, draft = tiny_lm(target_seed), tiny_lm(draft_seed)
    drafter = make_drafter(shape, draft)
    fresh, fresh_steps = speculative(prompt, target, drafter, stopping)
    speculative([*prompt, *prompt, 1], target, drafter, stopping)
    again, again_steps = speculative(prompt, target, drafter, stopping, seed)
    assert again == fresh
    assert [s.acceptance for s in again_steps] == [s.acceptance for s in fresh_steps]


@given(MODEL_SEEDS, MODEL_SEEDS, PROMPTS)
@settings(max_examples=20)
def test_more_siblings_never_shorten_a_step_from_the_same_context(target_seed, draft_seed, prompt):
    lengths = []
    for branching in (1, 2, 3):
        drafter = make_drafter(KAryShape(3, branching), tiny_lm(draft_seed))
        _, steps = speculative(prompt, tiny_lm(target_seed), drafter, Stopping(max_new_tokens=2))
        lengths.append(len(steps[0].acceptance.path))
    assert lengths == sorted(lengths)


@pytest.mark.parametrize("shape", [ChainShape(4), KAryShape(3, 2)])
@pytest.mark.parametrize("new_tokens", range(1, 9))
def test_a_full_context_ends_both_ways_alike(shape, new_tokens):
    """The target, and then the draft model, have too few positions for a whole draft."""
    prompt = [1, 2, 3]
    stopping = Stopping(max_new_tokens=20)
    small = {"max_length": len(prompt) + new_tokens}
    for target_room, draft_room in ((small, {}), ({}, small)):
        target = CheckedLM(tiny_lm(0, **target_room), "target")
        draft = CheckedLM(tiny_lm(1, **draft_room), "draft model")
        expected = plain(prompt, target, stopping)
        output, _ = speculative(prompt, target, make_drafter(shape, draft), stopping)
        assert output == expected
        assert len(output.token_ids) == (new_tokens if target_room else 20)
