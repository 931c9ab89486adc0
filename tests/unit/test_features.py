"""Drafters that read the target's hidden states get those of every committed token, once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import VOCABULARY, ScriptedDrafter, parents, tiny_lm

from draftproof.acceptance import GreedyRule
from draftproof.config import RunConfig, Sampling
from draftproof.decoding import speculate
from draftproof.drafting.protocol import FeatureDrafter
from draftproof.engines.protocol import Request
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import UsageError
from draftproof.laws import ProposalLaw
from draftproof.models.loading import load_pair
from draftproof.models.table import TableLM
from draftproof.models.timed import TimedLM
from draftproof.randomness import SeededRandomness
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping
from draftproof.stopwatch import Clock, Stopwatch
from draftproof.tree import DraftTree

PROMPT = (1, 2, 3)
LAYERS = (0, 2)


class ReadingDrafter(ScriptedDrafter):
    """Proposes given trees, and keeps what it reads and when."""

    target_layers = LAYERS

    def start(self, prompt):
        super().start(prompt)
        self.features, self.read_before = [], []

    def read(self, features):
        self.features.extend(features)

    def draft(self, sequence, room, law, randomness):
        self.read_before.append((len(self.features), len(sequence)))
        return super().draft(sequence, room, law, randomness)


def hidden(context, layer):
    return torch.tensor([layer, len(context), context[-1], sum(context)], dtype=torch.float64)


def law(context):
    weights = torch.ones(VOCABULARY, dtype=torch.float64)
    weights[(3 * context[-1] + len(context)) % VOCABULARY] = 9
    return weights / weights.sum()


def decoded(target, drafter, tokens=9):
    return speculate(
        PROMPT, target, drafter, GreedyRule(), sampling=Sampling(),
        stopping=Stopping(max_new_tokens=tokens), randomness=SeededRandomness(0, "features"),
    )  # fmt: skip


drafts = st.lists(
    parents().flatmap(
        lambda shape: st.tuples(
            st.lists(st.integers(0, VOCABULARY - 1), min_size=len(shape), max_size=len(shape)),
            st.just(shape),
        )
    ),
    min_size=1,
    max_size=3,
)


def trees(script):
    return [
        DraftTree(token_ids=tuple(ids), parents=tuple(shape), law=ProposalLaw.DETERMINISTIC)
        for ids, shape in script
    ]


@settings(max_examples=40)
@given(drafts)
def test_every_committed_token_is_read_once_and_in_order(script):
    drafter = ReadingDrafter(trees(script))
    assert isinstance(drafter, FeatureDrafter)
    model = TableLM(law, VOCABULARY, hidden=hidden)
    output = decoded(TimedLM(model, Stopwatch(Clock())), drafter)
    sequence = (*PROMPT, *output.token_ids)
    # All but the root, which the target has not seen when a draft is asked for.
    assert all(features == length - 1 for features, length in drafter.read_before)
    for n, found in enumerate(drafter.features):
        expected = torch.stack([hidden(sequence[: n + 1], layer) for layer in LAYERS])
        assert torch.equal(found, expected)


@settings(max_examples=10, deadline=None)
@given(drafts)
def test_a_transformer_tells_what_it_computes_from_scratch(script):
    drafter, lm = ReadingDrafter(trees(script)), tiny_lm(0)
    output = decoded(lm, drafter)
    sequence = [*PROMPT, *output.token_ids]
    states = lm.model(input_ids=torch.tensor([sequence]), output_hidden_states=True).hidden_states
    found = torch.stack(drafter.features)
    expected = torch.stack([states[layer][0, : len(found)] for layer in LAYERS], 1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_nothing_is_kept_for_who_reads_nothing():
    lm = tiny_lm(0)
    decoded(lm, ReadingDrafter([EMPTY]))
    decoded(lm, ScriptedDrafter([EMPTY]))
    assert not len(lm.take_features())


EMPTY = DraftTree(token_ids=(), parents=(), law=ProposalLaw.DETERMINISTIC)


def test_a_target_that_tells_none_is_refused():
    with pytest.raises(UsageError, match="reads the target's hidden states, and TableLM does not"):
        decoded(TableLM(law, VOCABULARY), ReadingDrafter([EMPTY]))


def test_a_drafter_of_ones_own_reads_them_in_the_reference_engine():
    pair = load_pair(RunConfig(), lambda line: None)
    drafter = ReadingDrafter([EMPTY])
    config = RunConfig(tree=parse_tree("chain:2"))
    engine = ReferenceEngine(pair, config, drafter=drafter)
    engine.speculate(
        Request(
            request_id="one",
            prompt_token_ids=PROMPT,
            sampling=Sampling(),
            stopping=Stopping(max_new_tokens=4),
        )
    )
    assert len(drafter.features) == len(PROMPT) + 2
