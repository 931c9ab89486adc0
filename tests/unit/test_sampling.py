"""What tokens are drawn from, under every setting and all of them together, against an oracle."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import next_token_law

from draftproof.config import Sampling
from draftproof.errors import NumericsError
from draftproof.models.table import TableLM
from draftproof.sampling import TokenLaw, argmax, measured_distributions

SIZE = 6
PROMPT = (0, 3)
STOP = 2

samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.4, 1.0, 1.7]),
    top_k=st.integers(0, 4),
    top_p=st.sampled_from([0.5, 0.8, 1.0]),
    min_p=st.sampled_from([0.0, 0.1, 0.4]),
    repetition_penalty=st.sampled_from([0.6, 1.0, 1.5]),
    min_new_tokens=st.integers(0, 3),
)


def laws(weights, sampling, output):
    """The law after a prompt and an output, and the oracle's."""
    probabilities = torch.tensor(weights, dtype=torch.float64)
    target = TableLM(lambda context: probabilities / probabilities.sum(), SIZE)
    context = (*PROMPT, *output)
    law = TokenLaw(sampling, len(PROMPT), frozenset({STOP}))
    [found] = law.distributions(target.recompute(context)[-1:], lambda: [context])
    return found.tolist(), next_token_law(target, context, sampling, len(output), STOP)


@given(
    st.lists(st.floats(0.01, 1), min_size=SIZE, max_size=SIZE, unique=True),
    samplings,
    st.lists(st.integers(0, SIZE - 1), max_size=4),
)
def test_all_settings_together_in_their_order(weights, sampling, output):
    found, expected = laws(weights, sampling, output)
    assert found == pytest.approx(expected, abs=1e-12)


@given(
    st.lists(st.integers(1, 3), min_size=SIZE, max_size=SIZE),
    st.sampled_from([1.0, 1.5]),
    st.lists(st.integers(0, SIZE - 1), max_size=4),
)
def test_at_temperature_0_the_first_of_equal_logits_is_certain(weights, penalty, output):
    sampling = Sampling(repetition_penalty=penalty, min_new_tokens=2)
    found, expected = laws(weights, sampling, output)
    assert found == expected


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=0.5, min_p=0.3), [1, 0, 0]),
        (Sampling(temperature=0.5, top_p=0.75), [1, 0, 0]),
        (Sampling(temperature=1.0, top_k=2, top_p=0.6), [1, 0, 0]),
        (Sampling(temperature=2.0, top_k=2), [2 - 2**0.5, 2**0.5 - 1, 0]),
    ],
)
def test_temperature_comes_before_filters_and_top_k_before_top_p(sampling, expected):
    """Weights 4, 2, 1; their squares at temperature 0.5, their roots at 2; without the last one
    2/3 and 1/3."""
    logits = torch.tensor([[4.0, 2.0, 1.0]], dtype=torch.float64).log()
    [found] = TokenLaw(sampling).distributions(logits, lambda: [()])
    assert found.tolist() == pytest.approx(expected)


def test_a_penalty_of_2_halves_what_is_above_0_and_doubles_what_is_below():
    logits = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    law = TokenLaw(Sampling(temperature=1.0, repetition_penalty=2.0))
    penalised = law.penalised(logits, lambda: [(0, 1)])
    assert penalised.tolist() == [[1.0, -2.0, 0.5]]


def test_stop_tokens_beyond_the_vocabulary_need_no_holding_back():
    """A checkpoint may name more stop tokens than its embedding has rows."""
    law = TokenLaw(Sampling(min_new_tokens=1), stop_token_ids=frozenset({0, 3}))
    [found] = law.penalised(torch.ones((1, 3)), lambda: [()])
    assert found.tolist() == [-torch.inf, 1.0, 1.0]


@pytest.mark.parametrize(
    ("given_in", "computed_in"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=1.0, top_k=2)])
def test_probabilities_are_computed_in_float32_at_least(given_in, computed_in, sampling):
    logits = torch.tensor([[1.0, 0.5, 0.25]], dtype=given_in)
    found = TokenLaw(sampling).distributions(logits, lambda: [()])
    assert found.dtype == measured_distributions(logits).dtype == computed_in


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "look",
    [
        argmax,
        measured_distributions,
        lambda logits: TokenLaw(Sampling(temperature=1.0)).distributions(logits, lambda: [(), ()]),
    ],
    ids=["argmax", "measured", "drawn from"],
)
def test_logits_that_are_no_numbers_are_refused(value, look):
    with pytest.raises(NumericsError) as caught:
        look(torch.tensor([[0.0, 1.0], [0.0, value]]))
    assert str(caught.value) == (
        "the model returned logits that are NaN or all infinite; "
        "try --spec-dtype float32, or check the checkpoint"
    )


def test_every_row_of_logits_has_its_context():
    law = TokenLaw(Sampling(repetition_penalty=2.0))
    with pytest.raises(ValueError, match="zip"):
        law.penalised(torch.ones((2, 3)), lambda: [(0,)])
