"""Paired tests of a change against enumeration written anew; their false alarms, counted."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binomtest, bootstrap

from draftproof.gate.change import ChangeTest, smallest_p
from draftproof.gate.paired import DRAWS, PairedSums, moments, redrawn, relabelled


def paired(a, b, c, d):
    return PairedSums(
        numerator_before=np.asarray(a, float),
        denominator_before=np.asarray(b, float),
        numerator_now=np.asarray(c, float),
        denominator_now=np.asarray(d, float),
    )


def columns(sums):
    return (
        sums.numerator_before,
        sums.denominator_before,
        sums.numerator_now,
        sums.denominator_now,
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


def moved(sums, change, relative):
    a, b, c, d = columns(sums)
    return paired(a, b, c / (1 + change) if relative else c - change * d, d)


def statistic(sums, about=0.0):
    """Written anew: the change about a value ÷ the deviation of what each prompt adds to it."""
    a, b, c, d = columns(sums)
    n = len(a)
    before, now = a.sum() / b.sum(), c.sum() / d.sum()
    each = (c - now * d) / d.mean() - (a - before * b) / b.mean()
    return (now - before - about) / (each.std(ddof=1) / math.sqrt(n))


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("change", [0.0, -0.1, 0.07])
def test_the_exchange_is_of_whole_prompts_and_every_one_is_taken(relative, change):
    """Labels are exchanged in the sums themselves; no formula of the moments is used."""
    sums = moved(drawn(1, 8), change, relative)
    a, b, c, d = columns(sums)
    statistics = []
    for swapped in itertools.product([False, True], repeat=8):
        swap = np.array(swapped)
        statistics.append(
            statistic(
                paired(
                    np.where(swap, c, a), np.where(swap, d, b),
                    np.where(swap, a, c), np.where(swap, b, d),
                )
            )
        )  # fmt: skip
    statistics = np.array(statistics)
    observed = statistic(sums)
    part, complete = relabelled(drawn(1, 8))
    assert complete
    both = moments(drawn(1, 8)).moved(change, relative=relative)
    found = both.with_exchanged(part.moved(change, relative=relative))
    assert np.sort(found.change / found.error(8)) == pytest.approx(np.sort(statistics))
    p = ChangeTest(drawn(1, 8), relative=relative).p_values(change)
    assert p.less >= (statistics <= observed + 1e-9).mean()
    assert p.greater >= (statistics >= observed - 1e-9).mean()


def test_prompts_that_are_drawn_anew_are_those_of_scipys_bootstrap():
    """scipy's percentile ends of the studentised change, from draws of its own: within 0.15."""
    sums = drawn(2, 30)
    change = float(moments(sums).change)
    draws = redrawn(sums)
    found = (draws.change - change) / draws.error(30)
    data = columns(sums)

    def t(a, b, c, d):
        return statistic(paired(a, b, c, d), about=change)

    expected = bootstrap(
        data, t, paired=True, vectorized=False, n_resamples=4000, method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    low, high = np.quantile(found, [0.025, 0.975])
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.15)


def test_a_p_value_is_the_larger_of_the_two():
    """All but one fall a little, and one rises much: only drawing anew allows for it."""
    n = 40
    change = np.full(n, -1.0) + np.random.default_rng(3).normal(0, 0.1, n)
    change[0] = 9.0
    below = np.full(n, 100.0)
    sums = paired(np.full(n, 50.0), below, 50 + change, below)
    part, _ = relabelled(sums)
    exchanged = moments(sums).with_exchanged(part)
    observed = statistic(sums)
    by_exchange = (exchanged.change / exchanged.error(n) <= observed).mean()
    assert ChangeTest(sums, relative=False).p_values(0.0).less > 3 * by_exchange
    # Few prompts and no change: the exchange is the stricter one.
    five = drawn(4, 5, fall=0.9)
    assert ChangeTest(five, relative=False).p_values(0.0).less >= 1 / 32


def test_random_exchanges_are_half_of_all_labels_and_the_same_at_every_call():
    sums = drawn(5, 40)
    part, complete = relabelled(sums)
    assert not complete
    assert len(part.a) == DRAWS
    share = part.b / sums.denominator_before.sum()
    assert share.mean() == pytest.approx(0.5, abs=0.005)
    again, _ = relabelled(sums)
    assert np.array_equal(part.a, again.a)


def test_prompts_that_are_the_same_in_both_runs_leave_few_enough_exchanges_to_take_each():
    """200 prompts of which 6 fall: the exact p-value is that of six."""
    below = np.full(200, 50.0)
    before = np.random.default_rng(6).integers(20, 40, 200).astype(float)
    now = before.copy()
    now[:6] -= 3
    found = ChangeTest(paired(before, below, now, below), relative=False).p_values(0.0)
    assert found.less == 1 / 64


@pytest.mark.parametrize("prompts", [8, 25])
def test_false_alarms_where_nothing_changed_are_at_most_alpha(prompts):
    """600 comparisons at α = .05: a right test exceeds the bound once in 1,000 runs."""
    alarms = sum(
        ChangeTest(drawn([7, run], prompts), relative=bool(run % 2)).p_values(0.0).less <= 0.05
        for run in range(600)
    )
    assert binomtest(alarms, 600, 0.05, "greater").pvalue > 1e-3
    # And it is not so careful as to be useless.
    assert alarms > 600 * (0.01 if prompts == 8 else 0.02)


def unequal(seed, prompts, share=0.1, fall=0.04, nodes=400):
    """One prompt in ten rises as much as the others fall: nothing changed over all prompts."""
    generator = np.random.default_rng(seed)
    rate = np.clip(generator.beta(8, 8, prompts), 0.25, 0.6)
    rises = generator.random(prompts) < share
    later = rate + np.where(rises, fall * (1 - share) / share, -fall)
    below = np.full(prompts, nodes)
    return paired(generator.binomial(below, rate), below, generator.binomial(below, later), below)


@pytest.mark.parametrize("prompts", [50, 200])
def test_unequal_effects_that_cancel_are_no_change(prompts):
    """400 comparisons, both ways at α = .05: a right test exceeds the bound once in 1,000 runs."""
    alarms = 0
    for run in range(400):
        p = ChangeTest(unequal([8, run], prompts), relative=False).p_values(0.0)
        alarms += 2 * min(p) <= 0.05
    assert binomtest(alarms, 400, 0.05, "greater").pvalue > 1e-3


def test_unequal_effects_that_cancel_over_the_very_prompts_are_no_change_at_any_number():
    """150 comparisons of 8 prompts, one of which rises as much as the seven others fall."""
    alarms = 0
    for run in range(150):
        generator = np.random.default_rng([9, run])
        rate = np.clip(generator.beta(8, 8, 8), 0.3, 0.6)
        later = rate - 0.04
        later[0] += 0.32
        below = np.full(8, 400)
        sums = paired(
            generator.binomial(below, rate), below, generator.binomial(below, later), below
        )
        alarms += 2 * min(ChangeTest(sums, relative=False).p_values(0.0)) <= 0.05
    assert binomtest(alarms, 150, 0.05, "greater").pvalue > 1e-3


def test_a_later_run_that_drafts_less_is_no_change_of_the_rate():
    """Denominators fall to a third, unevenly; 400 comparisons, both ways at α = .05."""
    alarms = 0
    for run in range(400):
        generator = np.random.default_rng([10, run])
        rate = generator.beta(6, 6, 40)
        below = np.full(40, 80)
        fewer = np.maximum(1, 80 * np.exp(generator.normal(-1, 0.6, 40))).astype(int)
        sums = paired(
            generator.binomial(below, rate), below, generator.binomial(fewer, rate), fewer
        )
        alarms += 2 * min(ChangeTest(sums, relative=False).p_values(0.0)) <= 0.05
    assert binomtest(alarms, 400, 0.05, "greater").pvalue > 1e-3
    # With differences about the pooled ratio, as if denominators were equal, it is a third of this.
    assert alarms > 400 * 0.025


@pytest.mark.parametrize("relative", [False, True])
def test_a_fall_of_exactly_the_margin_fails_no_more_often_than_alpha(relative):
    """Counts of one size, so that the truth is known: .6 → .48 is −.12, and −20%."""
    alarms = 0
    for run in range(600):
        generator = np.random.default_rng([8, run])
        rate = generator.beta(6, 4, 25)
        n = np.full(25, 30)
        sums = paired(generator.binomial(n, rate), n, generator.binomial(n, 0.8 * rate), n)
        margin = -0.2 if relative else -0.12
        alarms += ChangeTest(sums, relative=relative).p_values(margin).less <= 0.05
    assert binomtest(alarms, 600, 0.05, "greater").pvalue > 1e-3
    assert alarms > 600 * 0.02


@pytest.mark.parametrize("relative", [False, True])
def test_the_ends_of_an_interval_are_where_the_test_begins_to_reject(relative):
    test = ChangeTest(drawn(11, 30, fall=0.2), relative=relative)
    change = test.measured(0.9)
    assert change.low < change.value < change.high
    width = change.high - change.low
    for end, inwards in ((change.low, 1), (change.high, -1)):
        inside = test.p_values(end + inwards * 1e-3 * width)
        outside = test.p_values(end - inwards * 1e-3 * width)
        assert min(inside) > 0.05 >= min(outside)


def test_intervals_hold_the_truth():
    """95% intervals of 120 runs: between 89% and all hold it (three standard errors)."""
    held = 0
    for run in range(120):
        generator = np.random.default_rng([12, run])
        rate = generator.beta(6, 4, 25)
        n = np.full(25, 30)
        sums = paired(generator.binomial(n, rate), n, generator.binomial(n, 0.8 * rate), n)
        change = ChangeTest(sums, relative=True).measured(0.95)
        held += change.low <= -0.2 <= change.high
    assert 0.89 * 120 <= held < 120


@pytest.mark.parametrize("relative", [False, True])
def test_the_standard_error_is_that_of_repeated_runs(relative):
    changes = [
        ChangeTest(drawn([13, run], 60), relative=relative).measured(0.0) for run in range(400)
    ]
    spread = np.std([change.value for change in changes])
    assert np.mean([change.error for change in changes]) == pytest.approx(spread, rel=0.12)


def test_equal_runs_have_a_change_of_exactly_nothing():
    sums = drawn(14, 9)
    a, b = sums.numerator_before, sums.denominator_before
    same = paired(a, b, a, b)
    assert same.equal
    test = ChangeTest(same, relative=True)
    assert test.measured(0.95) == (0.0, 0.0, 0.0, 0.0)
    assert test.p_values(0.0) == (1.0, 1.0)


def test_what_cannot_be_estimated_is_nan_and_what_cannot_be_bounded_is_infinite():
    nothing = paired([0, 0], [0, 0], [1, 1], [2, 2])
    assert math.isnan(ChangeTest(nothing, relative=False).measured(0.95).value)
    zero_before = paired([0, 0], [3, 3], [1, 1], [2, 2])
    assert math.isnan(ChangeTest(zero_before, relative=True).measured(0.95).value)
    empty = paired([], [], [], [])
    assert math.isnan(ChangeTest(empty, relative=False).measured(0.95).value)
    three = paired([1, 2, 1], [4, 4, 4], [2, 2, 3], [4, 4, 4])
    change = ChangeTest(three, relative=False).measured(0.95)
    assert (change.low, change.high) == (-math.inf, math.inf)
    assert smallest_p(3) == 0.125
    gone = paired([1, 2] * 5, [4] * 10, [0] * 10, [4] * 10)
    change = ChangeTest(gone, relative=True).measured(0.95)
    assert (change.value, change.low, change.high) == (-1.0, -math.inf, math.inf)


@pytest.mark.parametrize("change", [0.0, -0.1])
def test_one_prompt_shows_nothing_and_is_no_error(change):
    one = paired([3], [10], [9], [10])
    assert ChangeTest(one, relative=False).p_values(change) == (1.0, 1.0)
    assert math.isnan(ChangeTest(one, relative=False).measured(0.95).error)


def test_prompts_that_one_run_lacks_are_no_error():
    """A prompt may have nothing below the line in one run: nothing was drafted there."""
    sums = paired([3, 0, 5, 2, 6, 4], [9, 0, 9, 9, 9, 9], [2, 4, 0, 1, 5, 3], [9, 9, 0, 9, 9, 9])
    found = ChangeTest(sums, relative=False)
    assert 0 < found.p_values(0.0).less < 1
    assert found.measured(0.95).error > 0


counts = arrays(float, 7, elements=st.integers(0, 30).map(float))


@given(counts, counts, st.integers(1, 9))
def test_the_two_sides_mirror_each_other_and_scale_does_not_matter(a, c, scale):
    below = np.full(7, 30.0)
    there = ChangeTest(paired(a, below, c, below), relative=False).p_values(0.0)
    back = ChangeTest(paired(c, below, a, below), relative=False).p_values(0.0)
    assert there.less == pytest.approx(back.greater)
    larger = paired(a * scale, below * scale, c * scale, below * scale)
    assert ChangeTest(larger, relative=False).p_values(0.0) == pytest.approx(there)


@pytest.mark.parametrize("unlike", [0, 1, 3])
@pytest.mark.parametrize("prompts", [6, 8, 20, 50, 200])
def test_prompts_that_are_alike_but_for_a_few_decide(prompts, unlike):
    """Every prompt fell to half, and draws without the few that fell less have no spread."""
    now, below = np.full(prompts, 11.0), np.full(prompts, 6.0)
    below_before = np.full(prompts, 3.0)
    below_before[:unlike] = 4.0
    test = ChangeTest(paired(now, below_before, now, below), relative=False)
    for margin in (0.0, 0.1, 0.5):
        assert test.p_values(-margin).less <= 0.02
        assert test.p_values(-margin).greater > 0.9
    found = test.measured(0.95)
    assert found.low < found.value < found.high < -0.5
    if unlike < 2 and prompts <= 20:
        # What so few prompts leave open, they do not claim: of 50 prompts, 3 fell less.
        assert found.low < -1.768 < found.high
    assert test.p_values(found.value - 0.02).less > 0.3
