"""The cache, the positions and the mask, each broken on purpose and found by the state checks."""

import gc
import weakref

import pytest
import torch
from broken_models import WRONG_ANYWHERE
from hypothesis import given
from hypothesis import strategies as st
from strategies import VOCABULARY, parents, tiny_lm

from draftproof.batch.hugging_face import HuggingFaceRows
from draftproof.batch.models import OneRow
from draftproof.errors import ModelError, StateError
from draftproof.models.checked import CheckedLM
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.protocol import CausalLM
from draftproof.models.table import TableLM
from draftproof.tree import children, path_to

PREFIX = [1, 2, 3, 4]
SHAPE = (-1, -1, 0, 0, 1, 2, 5)
TOKENS = (0, 1, 2, 3, 4, 1, 2)


def exercise(model):
    """Score a tree, commit its second branch, and go on from there."""
    model.reset()
    model.advance(PREFIX)
    model.score(TOKENS, SHAPE)
    model.commit((1, 4))
    model.score((2, 3), (-1, 0))
    model.commit((0,))
    return model.advance([1])


def test_an_unbroken_model_passes():
    assert isinstance(tiny_lm(0), CausalLM)
    exercise(CheckedLM(tiny_lm(0), "target"))
    exercise(CheckedLM(a_row(0), "target"))
    exercise(CheckedLM(a_row(0, static=True), "target"))


def test_shapes_are_the_same_whatever_the_rows_hold():
    """Rows of other lengths, paths of other lengths, rows that leave: one shape for each width."""
    lm = tiny_lm(0)
    dynamic, static = HuggingFaceRows(lm.model), HuggingFaceRows(lm.model, static=True)
    masks = {dynamic: [], static: []}
    scoring = []
    forward = lm.model.model.layers[0].self_attn.forward

    def seen(*arguments, **options):
        if scoring and options["attention_mask"] is not None:
            masks[scoring[-1]].append(tuple(options["attention_mask"].shape))
        return forward(*arguments, **options)

    lm.model.model.layers[0].self_attn.forward = seen
    tokens = torch.tensor([[1, 2, 3], [2, 3, 1], [3, 1, 2]])
    frames = [(-1, 0, 1), (-1, -1, 0), torch.tensor([[-1, 0, 0], [-1, 0, 1], [-1, -1, 1]])]
    for rows in (dynamic, static):
        rows.start([0, 1, 2], [[1], [1, 2, 3, 4], [2, 1]])
    for frame in frames:
        found = []
        for rows in (dynamic, static):
            scoring.append(rows)
            found.append(rows.score(tokens, frame))
            rows.commit([[0], [], [0]])
            found[-1] = torch.cat([found[-1], rows.score(tokens[:, :1], (-1,))], 1)
            rows.commit([[0], [0], []])
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
    assert {shape[2] for shape in masks[static]} == {1, 3}
    assert len(set(masks[static])) == 2 < len(set(masks[dynamic]))


def a_row(seed, *, static=False):
    """The same model as a row of a batch."""
    lm = tiny_lm(seed)
    return OneRow(HuggingFaceRows(lm.model, static=static), lm.recompute)


@given(parents())
def test_a_tree_that_is_scored_node_by_node_is_scored_as_at_once(shape):
    """A node alone may do without a mask only where it sees all that is cached."""
    if not shape:
        return
    tokens = [node % VOCABULARY for node in range(len(shape))]
    expected = tiny_lm(0)
    expected.advance(PREFIX)
    row = a_row(0)
    row.advance(PREFIX)
    found = [row.score([token], [parent]) for token, parent in zip(tokens, shape, strict=True)]
    torch.testing.assert_close(
        torch.cat(found), expected.score(tokens, shape), rtol=1e-9, atol=1e-9
    )


@given(parents(), st.data())
def test_scoring_in_two_calls_equals_scoring_in_one(shape, data):
    if not shape:
        return
    tokens = data.draw(
        st.lists(st.integers(0, VOCABULARY - 1), min_size=len(shape), max_size=len(shape))
    )
    split = data.draw(st.integers(0, len(shape)))
    at_once, in_two = tiny_lm(0), tiny_lm(0)
    at_once.advance(PREFIX)
    in_two.advance(PREFIX)
    expected = at_once.score(tokens, shape)
    parts = [
        in_two.score(tokens[a:b], shape[a:b]) for a, b in ((0, split), (split, len(shape))) if a < b
    ]
    torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-9, atol=1e-9)


@given(parents(), st.data())
def test_any_committed_path_leaves_the_state_of_a_recompute(shape, data):
    model = CheckedLM(tiny_lm(0), "target")
    model.reset()
    model.advance(PREFIX)
    if shape:
        model.score([node % VOCABULARY for node in range(len(shape))], shape)
    node = data.draw(st.integers(-1, len(shape) - 1))
    model.commit(path_to(shape, node))
    model.advance([1])


def test_a_path_that_skips_a_node_is_refused():
    model = tiny_lm(0)
    model.advance(PREFIX)
    model.score(TOKENS, SHAPE)
    with pytest.raises(ValueError, match="node 2 is not a child of -1"):
        model.commit((2,))


def test_more_tokens_than_the_context_holds_are_refused():
    model = tiny_lm(0, max_length=8)
    model.advance([1] * 7)
    model.score([1], [-1])
    with pytest.raises(ModelError, match=r"7 committed tokens and 2 more exceed .* 8"):
        model.score([1], [0])


@pytest.mark.parametrize("broken", WRONG_ANYWHERE)
def test_state_checks_find_a_broken_cache_position_or_mask(broken):
    with torch.inference_mode(), pytest.raises(StateError):
        exercise(CheckedLM(broken(tiny_lm(0).model), "target"))


class ForgetsToReset(TableLM):
    """State of one prompt survives into the next."""

    def reset(self):
        if not hasattr(self, "_committed"):
            super().reset()


def test_state_checks_find_a_model_that_is_not_reset():
    model = CheckedLM(ForgetsToReset(lambda context: torch.full((2,), 0.5), 2), "draft model")
    model.advance([0])
    with pytest.raises(StateError, match="counts 1 committed tokens where 0 were"):
        model.reset()


def test_every_pending_leaf_is_compared():
    """The check must not stop at the first branch: only the last leaf's logits are wrong here."""

    class WrongLastRow(HuggingFaceLM):
        def score(self, token_ids, parents):
            logits = super().score(token_ids, parents).clone()
            logits[-1] += torch.arange(logits.shape[1])
            return logits

    assert children(SHAPE)[5] == (6,)
    model = CheckedLM(WrongLastRow(tiny_lm(0).model), "target")
    model.advance(PREFIX)
    with pytest.raises(StateError, match="pending node 6"):
        model.score(TOKENS, SHAPE)


def test_a_model_is_freed_with_what_holds_it():
    """Without the garbage collector, which comes when it likes: weights are large."""
    lm = HuggingFaceLM(tiny_lm(0).model)
    lm.advance([1])
    lm.score((1, 2, 3), (-1, 0, 0))
    gone = weakref.ref(lm)
    gc.disable()
    try:
        del lm
        assert gone() is None
    finally:
        gc.enable()
