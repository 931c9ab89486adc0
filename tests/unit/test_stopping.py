import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import ScriptedDrafter

from draftproof.acceptance import GreedyRule
from draftproof.config import Sampling
from draftproof.decoding import plain_decode, speculate, within_context
from draftproof.errors import ModelError, UsageError
from draftproof.laws import ProposalLaw
from draftproof.models.table import TableLM
from draftproof.randomness import InjectedRandomness
from draftproof.stopping import Stopping, StopReason
from draftproof.tree import DraftTree

TOKENS = st.integers(0, 3)


@given(
    st.lists(TOKENS, min_size=1, max_size=12),
    st.lists(st.integers(1, 5), min_size=12, max_size=12),
    st.integers(1, 12),
    st.frozensets(TOKENS, max_size=2),
)
def test_blocks_are_cut_where_single_tokens_would_be(tokens, sizes, limit, stops):
    stopping = Stopping(max_new_tokens=limit, stop_token_ids=stops)

    def run(blocks):
        output = []
        for block in blocks:
            committed, reason = stopping.cut(output, block)
            output.extend(committed)
            if reason is not None:
                return output, reason
        return output, None

    blocks, rest = [], tokens
    for size in sizes:
        blocks.append(rest[:size])
        rest = rest[size:]
    assert run(blocks) == run([[token] for token in tokens])


@pytest.mark.parametrize("offset", range(5))
def test_a_stop_token_cuts_at_every_offset_of_a_block(offset):
    block = [1] * 5
    block[offset] = 9
    stopping = Stopping(max_new_tokens=100, stop_token_ids=frozenset({9}))
    assert stopping.cut((), block) == (tuple(block[: offset + 1]), StopReason.STOP_TOKEN)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(2, StopReason.LENGTH), (3, StopReason.STOP_TOKEN), (4, StopReason.STOP_TOKEN)],
)
def test_stop_and_length_limit_in_one_block(limit, expected):
    stopping = Stopping(max_new_tokens=limit, stop_token_ids=frozenset({9}))
    committed, reason = stopping.cut((), [1, 2, 9, 4, 5])
    assert (committed, reason) == ((1, 2, 9)[:limit], expected)


def test_a_stop_string_may_begin_in_an_earlier_block_and_end_inside_one():
    stopping = Stopping(
        max_new_tokens=9,
        stop_strings=("ba",),
        decode=lambda tokens: "".join("abc"[token] for token in tokens),
    )
    assert stopping.cut((2, 1), (0, 2)) == ((0,), StopReason.STOP_STRING)
    assert stopping.cut((0,), (1, 0, 2)) == ((1, 0), StopReason.STOP_STRING)
    assert stopping.cut((0, 1), (2, 0)) == ((2, 0), None)


@pytest.mark.parametrize("least", [0, 1, 3, 5])
def test_stop_tokens_are_held_back_with_drafts_and_without(least):
    """The likelier of two tokens is the stop token; blocks are as long as drafts of it allow."""
    target = TableLM(lambda context: torch.tensor([0.0, 0.6, 0.4], dtype=torch.float64), 3)
    options = {
        "sampling": Sampling(min_new_tokens=least),
        "stopping": Stopping(max_new_tokens=9, stop_token_ids=frozenset({1})),
        "randomness": InjectedRandomness(0.5),
    }
    script = [DraftTree(token_ids=(2, 2, 2), parents=(-1, 0, 1), law=ProposalLaw.DETERMINISTIC)]
    drafted = speculate((2,), target, ScriptedDrafter(script), GreedyRule(), **options)
    expected = (*(2,) * least, 1)
    assert drafted.token_ids == plain_decode((2,), target, **options).token_ids == expected


def test_an_output_ends_where_the_targets_context_does():
    target = TableLM(lambda context: torch.ones(3), 3, max_length=10)
    stopping = Stopping(max_new_tokens=4, stop_token_ids=frozenset({9}))
    for tokens, room in ((6, 4), (7, 3), (9, 1)):
        expected = Stopping(max_new_tokens=room, stop_token_ids=frozenset({9}))
        assert within_context(stopping, (1,) * tokens, target) == expected
    for tokens in (10, 11):
        message = f"the prompt has {tokens} tokens and the target's context holds 10; shorten"
        with pytest.raises(ModelError, match=f"^{message} the prompt$"):
            within_context(stopping, (1,) * tokens, target)
    message = "the prompt has no tokens; a model needs at least one to start from"
    with pytest.raises(UsageError, match=f"^{message}$"):
        within_context(stopping, (), target)


def test_drafters_are_told_how_many_positions_are_left():
    """Of ten positions four are the prompt's and one is prefill's token; three drafts are kept."""
    rooms = []

    class Listening(ScriptedDrafter):
        def draft(self, sequence, room, law, randomness):
            rooms.append(room)
            return super().draft(sequence, room, law, randomness)

    target = TableLM(lambda context: torch.tensor([0.1, 0.9]).double(), 2, max_length=10)
    chain = DraftTree(token_ids=(1, 1, 1), parents=(-1, 0, 1), law=ProposalLaw.DETERMINISTIC)
    output = speculate(
        (0,) * 4,
        target,
        Listening([chain]),
        GreedyRule(),
        sampling=Sampling(),
        stopping=Stopping(max_new_tokens=6),
        randomness=InjectedRandomness(0.5),
    )
    assert output.token_ids == (1,) * 6
    assert rooms == [5, 1]


def test_stop_strings_need_text_and_nothing_else_does():
    message = "^stop strings need the tokenizer that turns tokens into text$"
    with pytest.raises(UsageError, match=message):
        Stopping(max_new_tokens=1, stop_strings=("a",))

    def decode(token_ids):
        raise AssertionError(f"{token_ids} were decoded for no stop string")

    stopping = Stopping(max_new_tokens=2, decode=decode)
    assert stopping.cut((), [1, 2]) == ((1, 2), StopReason.LENGTH)
