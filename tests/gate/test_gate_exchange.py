"""Paired tests against scipy and enumeration; their false alarms, counted."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, permutation_test

from draftproof.gate.exchange import (
    EXCHANGES,
    PairedSums,
    change_test,
    exchanges,
    measured_change,
    smallest_p,
)


def paired(a, b, c, d):
    return PairedSums(
        numerator_before=np.asarray(a, float),
        denominator_before=np.asarray(b, float),
        numerator_now=np.asarray(c, float),
        denominator_now=np.asarray(d, float),
    )


def drawn(seed, prompts, fall=0.0, spread=1.0):
    """Two runs of binomial counts, each prompt with its own rate, moved anew in each run."""
    generator = np.random.default_rng(seed)
    level = generator.normal(0, 1, prompts)
    sums = []
    for lost in (0.0, fall):
        below = generator.integers(5, 40, prompts)
        rate = 1 / (1 + np.exp(-level - generator.normal(0, spread, prompts)))
        sums += [generator.binomial(below, rate * (1 - lost)), below]
    return paired(*sums)


def differences(sums, change, relative):
    """Written anew: the later run moved back, minus the earlier, about their pooled ratio."""
    moved = (
        sums.numerator_now / (1 + change)
        if relative
        else sums.numerator_now - change * sums.denominator_now
    )
    pooled = (moved.sum() + sums.numerator_before.sum()) / (
        sums.denominator_now.sum() + sums.denominator_before.sum()
    )
    return (
        moved - pooled * sums.denominator_now,
        sums.numerator_before - pooled * sums.denominator_before,
    )


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("change", [0.0, -0.1, 0.07])
def test_p_values_are_scipys_where_every_exchange_is_taken(relative, change):
    sums = drawn(1, 10)
    found = change_test(sums, change, relative=relative)
    now, before = differences(sums, change, relative)
    for alternative, p in (("less", found.less), ("greater", found.greater)):
        expected = permutation_test(
            (now, before),
            lambda x, y, axis: (x - y).sum(axis=axis),
            permutation_type="samples",
            alternative=alternative,
            n_resamples=np.inf,
        ).pvalue
        assert p == pytest.approx(expected, abs=1e-12)


def test_exchanging_two_labels_keeps_the_pooled_ratio_so_the_test_is_exact():
    """The statistic of relabelled runs is that of the same differences with other signs."""
    sums = drawn(2, 6)
    now, before = differences(sums, 0.0, relative=False)
    for signs in itertools.product([1, -1], repeat=6):
        swapped = np.array(signs) < 0
        relabelled = paired(
            np.where(swapped, sums.numerator_now, sums.numerator_before),
            np.where(swapped, sums.denominator_now, sums.denominator_before),
            np.where(swapped, sums.numerator_before, sums.numerator_now),
            np.where(swapped, sums.denominator_before, sums.denominator_now),
        )
        again_now, again_before = differences(relabelled, 0.0, relative=False)
        assert np.allclose(again_now - again_before, np.array(signs) * (now - before))


def test_random_exchanges_agree_with_all_of_them():
    """14 prompts: just beyond what is enumerated; one in 10,000 random draws would differ more."""
    sums = drawn(3, 14)
    now, before = differences(sums, 0.0, relative=False)
    signs = np.array(list(itertools.product([1.0, -1.0], repeat=14)))
    everything = signs @ (now - before)
    exact = (everything <= (now - before).sum() + 1e-9).mean()
    found = change_test(sums, 0.0, relative=False).less
    assert abs(found - exact) < 4 * math.sqrt(exact * (1 - exact) / EXCHANGES)


def test_exchanges_are_all_of_them_once_where_there_are_few():
    signs, complete = exchanges(5)
    assert complete
    assert len({tuple(row) for row in signs}) == 32
    signs, complete = exchanges(40)
    assert not complete
    assert signs.shape == (EXCHANGES, 40)
    assert set(np.unique(signs)) == {-1.0, 1.0}


@pytest.mark.parametrize("prompts", [8, 25])
def test_false_alarms_where_nothing_changed_are_at_most_alpha(prompts):
    """1,500 comparisons at α = .05: a right test exceeds the bound once in 1,000 runs."""
    alarms = sum(
        change_test(drawn([7, run], prompts), 0.0, relative=bool(run % 2)).less <= 0.05
        for run in range(1500)
    )
    assert binomtest(alarms, 1500, 0.05, "greater").pvalue > 1e-3
    # And it is not so careful as to be useless.
    assert alarms > 1500 * (0.02 if prompts == 8 else 0.03)


@pytest.mark.parametrize("relative", [False, True])
def test_a_fall_of_exactly_the_margin_fails_no_more_often_than_alpha(relative):
    """Counts of one size, so that the truth is known: .6 → .48 is −.12, and −20%."""
    alarms = 0
    for run in range(1500):
        generator = np.random.default_rng([8, run])
        rate = generator.beta(6, 4, 25)
        n = np.full(25, 30)
        sums = paired(generator.binomial(n, rate), n, generator.binomial(n, 0.8 * rate), n)
        margin = -0.2 if relative else -0.12
        alarms += change_test(sums, margin, relative=relative).less <= 0.05
    assert binomtest(alarms, 1500, 0.05, "greater").pvalue > 1e-3
    assert alarms > 1500 * 0.02


@pytest.mark.parametrize("relative", [False, True])
def test_the_ends_of_an_interval_are_where_the_test_begins_to_reject(relative):
    sums = drawn(11, 30, fall=0.2)
    change = measured_change(sums, relative=relative, level=0.9)
    assert change.low < change.value < change.high
    width = change.high - change.low
    for end, inwards in ((change.low, 1), (change.high, -1)):
        inside = change_test(sums, end + inwards * 1e-3 * width, relative=relative)
        outside = change_test(sums, end - inwards * 1e-3 * width, relative=relative)
        assert min(inside) > 0.05 >= min(outside)


def test_intervals_hold_the_truth():
    """95% intervals of 600 runs: between 92.5% and 97.5% hold it (three standard errors)."""
    held = 0
    for run in range(600):
        generator = np.random.default_rng([12, run])
        rate = generator.beta(6, 4, 25)
        n = np.full(25, 30)
        sums = paired(generator.binomial(n, rate), n, generator.binomial(n, 0.8 * rate), n)
        change = measured_change(sums, relative=True, level=0.95)
        held += change.low <= -0.2 <= change.high
    assert 0.925 * 600 <= held <= 0.98 * 600


def test_the_standard_error_is_that_of_repeated_runs():
    changes = [
        measured_change(drawn([13, run], 60), relative=False, level=0.0) for run in range(400)
    ]
    spread = np.std([change.value for change in changes])
    assert np.mean([change.error for change in changes]) == pytest.approx(spread, rel=0.12)


def test_equal_runs_have_a_change_of_exactly_nothing():
    sums = drawn(14, 9)
    same = paired(
        sums.numerator_before,
        sums.denominator_before,
        sums.numerator_before,
        sums.denominator_before,
    )
    assert same.equal
    assert measured_change(same, relative=True, level=0.95) == (0.0, 0.0, 0.0, 0.0)
    assert change_test(same, 0.0, relative=False) == (1.0, 1.0)


def test_what_cannot_be_estimated_is_nan_and_what_cannot_be_bounded_is_infinite():
    nothing = paired([0, 0], [0, 0], [1, 1], [2, 2])
    assert math.isnan(measured_change(nothing, relative=False, level=0.95).value)
    zero_before = paired([0, 0], [3, 3], [1, 1], [2, 2])
    assert math.isnan(measured_change(zero_before, relative=True, level=0.95).value)
    three = paired([1, 2, 1], [4, 4, 4], [2, 2, 3], [4, 4, 4])
    change = measured_change(three, relative=False, level=0.95)
    assert (change.low, change.high) == (-math.inf, math.inf)
    assert smallest_p(3) == 0.125


counts = arrays(float, 7, elements=st.integers(0, 30).map(float))


@given(counts, counts, st.integers(1, 9))
def test_the_two_sides_mirror_each_other_and_scale_does_not_matter(a, c, scale):
    below = np.full(7, 30.0)
    there = change_test(paired(a, below, c, below), 0.0, relative=False)
    back = change_test(paired(c, below, a, below), 0.0, relative=False)
    assert there.less == pytest.approx(back.greater)
    larger = paired(a * scale, below * scale, c * scale, below * scale)
    assert change_test(larger, 0.0, relative=False) == pytest.approx(there)
