"""Hypothesis strategies: distributions, trees, table models, tiny transformers, drafters."""

import contextlib
import functools
import random

import torch
from hypothesis import strategies as st

from draftproof.drafting.protocol import Draft
from draftproof.laws import ProposalLaw
from draftproof.models.hugging_face import HuggingFaceLM
from draftproof.models.table import TableLM
from draftproof.tree import DraftTree

VOCABULARY = 5


@contextlib.contextmanager
def _unobserved():
    """Hide that beartype picks the elements it checks with the global generator."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


@st.composite
def distributions(draw, size, positive=1):
    """A probability vector, with zeros and spikes, and some positive entries; float64."""
    weight = st.one_of(st.floats(0.001, 1.0), st.sampled_from([1e-6, 50.0]))
    if positive < size:
        weight = st.one_of(st.just(0.0), weight)
    weights = draw(
        st.lists(weight, min_size=size, max_size=size).filter(
            lambda weights: sum(weight > 0 for weight in weights) >= positive
        )
    )
    vector = torch.tensor(weights, dtype=torch.float64)
    return vector / vector.sum()


@st.composite
def parents(draw, max_nodes=8):
    """Parents of a random tree, before their children."""
    count = draw(st.integers(0, max_nodes))
    return tuple(draw(st.integers(-1, node - 1)) for node in range(count))


@st.composite
def trees(draw, vocabulary=VOCABULARY, max_nodes=8):
    """A random deterministic tree: siblings have different tokens."""
    shape = draw(parents(max_nodes))
    left = {}
    kept_parents, tokens, index = [], [], {-1: -1}
    for node, parent in enumerate(shape):
        if parent not in index:
            continue
        free = left.setdefault(parent, list(range(vocabulary)))
        if not free:
            continue
        token = draw(st.sampled_from(free))
        free.remove(token)
        index[node] = len(tokens)
        tokens.append(token)
        kept_parents.append(index[parent])
    with _unobserved():
        return DraftTree(
            token_ids=tuple(tokens), parents=tuple(kept_parents), law=ProposalLaw.DETERMINISTIC
        )


@st.composite
def table_models(draw, vocabulary=VOCABULARY):
    """A table model whose law depends on the last two tokens."""
    rows = {
        (before, last): draw(distributions(vocabulary))
        for before in range(-1, 1)
        for last in range(vocabulary)
    }

    def law(context):
        before = context[-2] % 2 - 1 if len(context) > 1 else -1
        return rows[before, context[-1]]

    return TableLM(law, vocabulary)


@functools.lru_cache(maxsize=64)
def tiny_llama(seed, vocabulary=VOCABULARY, layers=2, max_length=256):
    """A random Llama in float64, in which near-ties do not happen by accident."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=16,
                intermediate_size=24,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=max_length,
                initializer_range=0.6,
                tie_word_embeddings=True,
            )
        )
    return model.double().eval()


def tiny_lm(seed, **arguments):
    """A fresh `HuggingFaceLM` over a `tiny_llama`."""
    return HuggingFaceLM(tiny_llama(seed, **arguments))


class ScriptedDrafter:
    """Proposes given trees in turn, whatever the context; a drafter without a model."""

    law = ProposalLaw.DETERMINISTIC

    def __init__(self, script):
        self._script = script
        self._next = 0
        self.started = []
        self.kept = []

    def start(self, prompt):
        self._next = 0
        self.started.append(tuple(prompt))

    def draft(self, sequence, room, law, randomness):
        tree = self._script[self._next % len(self._script)]
        self._next += 1
        if tree.depth > room:
            return Draft.empty(self.law)
        return Draft(tree=tree)

    def commit(self, path):
        self.kept.append(tuple(path))
