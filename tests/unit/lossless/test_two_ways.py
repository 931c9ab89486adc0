"""Two ways of decoding are told apart by pairs of outputs, and seldom where they are the same."""

import numpy as np
import pytest

from draftproof.lossless.two_ways import Drawn, difference

PAIRS = 64
TOKENS = 12
VOCABULARY = 30


def outputs(law, generator, pairs=PAIRS):
    """Outputs whose tokens are drawn from one law, which no model knows: nothing is expected."""
    tokens = generator.choice(VOCABULARY, size=(pairs, TOKENS), p=law)
    return [Drawn(tuple(row.tolist()), "length", {}, np.zeros(VOCABULARY)) for row in tokens]


def test_one_law_is_seldom_told_apart_from_itself():
    """At a level of 5%; the bound is far from what is reached, so that fewer are."""
    generator = np.random.default_rng(19)
    uniform = np.full(VOCABULARY, 1 / VOCABULARY)
    small = sum(
        difference(outputs(uniform, generator), outputs(uniform, generator)).p_value <= 0.05
        for _ in range(400)
    )
    assert small <= 20


def test_a_token_that_one_way_leaves_out_is_named():
    generator = np.random.default_rng(19)
    law = np.full(VOCABULARY, 0.9 / (VOCABULARY - 1))
    law[7] = 0.1
    without = np.where(np.arange(VOCABULARY) == 7, 0.0, law)
    found = difference(outputs(law, generator), outputs(without / without.sum(), generator))
    assert found.p_value <= 1e-4
    assert found.property.startswith("tokens 7,")
    assert found.first == pytest.approx(1.2, abs=0.4)
    assert found.second == 0.0


def test_what_is_expected_is_taken_off():
    """Both ways have what a model expects of them, and of another number of tokens."""
    expected = np.zeros(VOCABULARY)
    expected[[3, 4]] = 1.0
    ones = [Drawn((3,), "length", {"repeats": 0.5}, expected)] * PAIRS
    others = [Drawn((4,), "length", {"repeats": -0.5}, expected)] * PAIRS
    found = difference(ones, others)
    assert found.p_value < 1e-9
    assert difference(ones, ones).p_value == 1.0


def test_few_pairs_tell_nothing():
    one = [Drawn((3,), "length", {}, np.zeros(VOCABULARY))] * 10
    other = [Drawn((4,), "stop_token", {}, np.zeros(VOCABULARY))] * 10
    assert difference(one, other).p_value == 1.0


def test_outputs_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match="are no pairs"):
        difference([Drawn((3,), "length", {}, np.zeros(VOCABULARY))], [])
