import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import distributions

from draftproof.enumeration import EnumerationBudgetError, enumerate_branches, exact_law
from draftproof.errors import NumericsError
from draftproof.randomness import Purpose, Randomness


@given(st.lists(st.integers(1, 3).flatmap(distributions), min_size=1, max_size=4))
def test_independent_draws_have_the_product_law(laws):
    law = exact_law(
        lambda randomness: tuple(randomness.categorical(each, Purpose.DRAFT) for each in laws)
    )
    expected = {}
    for outcome in itertools.product(*(range(len(each)) for each in laws)):
        probability = 1.0
        for each, index in zip(laws, outcome, strict=True):
            probability *= float(each[index])
        if probability > 0:
            expected[outcome] = probability
    assert law == pytest.approx(expected)


def test_later_draws_may_depend_on_earlier_ones():
    def run(randomness):
        if randomness.bernoulli(0.25, Purpose.ACCEPT):
            return "kept"
        return randomness.categorical(torch.tensor([0.5, 0.0, 0.5]), Purpose.CORRECTION)

    assert exact_law(run) == {"kept": 0.25, 0: 0.375, 2: 0.375}


def test_certain_draws_do_not_branch():
    branches = list(
        enumerate_branches(
            lambda r: (
                r.bernoulli(1, Purpose.ACCEPT),
                r.bernoulli(0, Purpose.ACCEPT),
                r.categorical(torch.tensor([0.0, 3.0]), Purpose.DRAFT),
            )
        )
    )
    assert branches == [((True, False, 1), 1.0)]


def test_every_branch_is_followed_once():
    seen = []

    def run(randomness):
        bits = tuple(randomness.bernoulli(0.5, Purpose.ACCEPT) for _ in range(4))
        seen.append(bits)
        return bits

    law = exact_law(run)
    assert len(seen) == len(set(seen)) == len(law) == 16


def test_the_budget_is_kept():
    def run(randomness):
        return sum(randomness.bernoulli(0.5, Purpose.ACCEPT) for _ in range(4))

    with pytest.raises(EnumerationBudgetError, match="more than 15 branches"):
        exact_law(run, budget=15)
    assert len(exact_law(run, budget=16)) == 5


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_coin_outside_0_to_1_is_refused(probability):
    with pytest.raises(NumericsError, match="a coin"):
        exact_law(lambda r: r.bernoulli(probability, Purpose.ACCEPT))


def test_weights_that_are_no_law_are_refused():
    with pytest.raises(NumericsError, match="cannot draw"):
        exact_law(lambda r: r.categorical(torch.tensor([0.0, 0.0]), Purpose.DRAFT))


def test_it_is_a_source_of_randomness():
    def run(randomness):
        assert isinstance(randomness, Randomness)
        return 0

    assert exact_law(run) == {0: 1.0}
