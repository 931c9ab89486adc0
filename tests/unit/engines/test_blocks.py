"""Accepted tokens, from what was proposed and what was emitted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.engines.blocks import Block, Watched
from draftproof.errors import EngineError


@pytest.mark.parametrize(
    ("proposed", "emitted", "accepted", "judged"),
    [
        ((5, 6, 7), (9,), 0, 3),
        ((5, 6, 7), (5, 9), 1, 3),
        ((5, 6, 7), (5, 6, 7, 8), 3, 3),
        ((5, 6, 7), (5, 6, 7), 3, 3),
        ((5, 6, 7), (5,), 1, 1),
        ((), (4,), 0, 0),
    ],
)
def test_a_block(proposed, emitted, accepted, judged):
    block = Block(proposed=proposed, emitted=emitted)
    assert (block.accepted, block.judged) == (accepted, judged)


@st.composite
def decoded(draw):
    """Blocks of an output, made from what was kept, and that output."""
    output, blocks, truth = draw(st.lists(st.integers(0, 3), max_size=1)), [], []
    truth += [False] * len(output)
    prefill = tuple(output)
    for _ in range(draw(st.integers(1, 5))):
        proposed = draw(st.lists(st.integers(0, 3), max_size=4))
        kept = draw(st.integers(0, len(proposed)))
        refused = proposed[kept : kept + 1]
        extra = draw(st.sampled_from([token for token in range(4) if token not in refused]))
        emitted = (*proposed[:kept], extra)
        blocks.append(Block(proposed=tuple(proposed), emitted=emitted))
        truth += [True] * kept + [False]
        output += emitted
    return Watched(prompt_tokens=3, prefill=prefill, blocks=tuple(blocks)), output, truth


@given(decoded())
def test_what_was_kept_is_what_is_told(case):
    watched, output, truth = case
    watched.require(output)
    assert list(watched.accepted) == truth
    assert watched.counts.accepted == sum(truth) == watched.steps["accepted_length"].sum()
    assert watched.counts.drafted == watched.steps["nodes"].sum()
    assert len(output) == len(watched.prefill) + watched.steps["committed_tokens"].sum()
    assert watched.steps["root_position"][0] == 2 + len(watched.prefill)


@pytest.mark.parametrize("output", [[1, 2], [1, 2, 4], [1, 2, 3, 3]])
def test_steps_that_are_not_the_output(output):
    watched = Watched(prompt_tokens=1, prefill=(1,), blocks=(Block(proposed=(2,), emitted=(2, 3)),))
    watched.require([1, 2, 3])
    with pytest.raises(EngineError, match="not its output"):
        watched.require(output)


def test_a_block_that_emits_more_than_it_can():
    watched = Watched(
        prompt_tokens=1, prefill=(), blocks=(Block(proposed=(2, 5), emitted=(2, 3, 4)),)
    )
    with pytest.raises(EngineError, match="emitted 3 tokens, although only 1 of its 2"):
        watched.require([2, 3, 4])
