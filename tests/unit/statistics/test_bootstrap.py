"""Intervals: against scipy, against known truth, and where there is honestly none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from draftproof.statistics import RatioSums, Resampling, stratified_estimates
from draftproof.statistics.bootstrap import SHARE
from draftproof.statistics.resampling import resampled_totals
from draftproof.statistics.small_samples import own_noise

ABSENT = ["nothing to divide by"]


def ratio_sums(numerators, denominators):
    return RatioSums(
        np.asarray(numerators, float).reshape(len(numerators), -1),
        np.asarray(denominators, float).reshape(len(denominators), -1),
    )


def simulated(prompts, seed, truth=0.5):
    """Clustered coins: each prompt has its own probability, and its own number of them."""
    generator = np.random.default_rng(seed)
    tosses = generator.integers(20, 200, prompts)
    probability = generator.beta(8 * truth, 8 * (1 - truth), prompts)
    return ratio_sums(generator.binomial(tosses, probability), tosses)


def studentized_by_loops(numerators, denominators, resamples, generator):
    """The bootstrap-t interval as a textbook has it, with standard errors from residuals.

    The prompts' own is the jackknife's, and Student's t widens it where they are of unequal length.
    """

    def ratio_and_error(a, b):
        ratio = a.sum() / b.sum()
        residuals = a - ratio * b
        n = len(a)
        return ratio, math.sqrt(n / (n - 1) * (residuals**2).sum()) / b.sum()

    value, _ = ratio_and_error(numerators, denominators)
    n = len(numerators)
    without = [np.delete(numerators, i).sum() / np.delete(denominators, i).sum() for i in range(n)]
    jackknife = math.sqrt((n - 1) * np.var(without))
    freedom = (denominators**2).sum() ** 2 / (denominators**4).sum() - 1
    jackknife *= scipy.stats.t.ppf(0.975, freedom) / scipy.stats.t.ppf(0.975, n - 1)
    t = []
    for _ in range(resamples):
        drawn = generator.integers(0, len(numerators), len(numerators))
        ratio, own_error = ratio_and_error(numerators[drawn], denominators[drawn])
        t.append((ratio - value) / own_error)
    return value - np.quantile(t, 0.975) * jackknife, value - np.quantile(t, 0.025) * jackknife


@pytest.mark.parametrize(("prompts", "seed"), [(50, 1), (12, 2)])
def test_the_interval_is_that_of_a_bootstrap_by_plain_loops(prompts, seed):
    sums = simulated(prompts, seed=seed)
    found = stratified_estimates({"code": sums}, ABSENT).by_stratum["code"][0]
    low, high = studentized_by_loops(
        sums.numerators[:, 0], sums.denominators[:, 0], 10_000, np.random.default_rng(2)
    )
    width = found.high - found.low
    # The ends of two such intervals differ by Monte Carlo error only: about 1% of the width.
    assert found.low == pytest.approx(low, abs=0.05 * width)
    assert found.high == pytest.approx(high, abs=0.05 * width)
    assert found.value == sums.numerators.sum() / sums.denominators.sum()
    assert found.n == sums.denominators.sum()


def test_the_standard_error_is_that_of_a_ratio_of_cluster_totals():
    # scipy's percentile interval is narrower, by about as much as the theory says.
    sums = simulated(50, seed=1)
    found = stratified_estimates({"code": sums}, ABSENT).by_stratum["code"][0]
    expected = scipy.stats.bootstrap(
        (sums.numerators[:, 0], sums.denominators[:, 0]),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert 1.0 < (found.high - found.low) / (expected.high - expected.low) < 1.12


@pytest.mark.parametrize("copies", [1, 9])
def test_the_design_effect_is_the_number_of_copies_of_each_independent_observation(copies):
    # 4,000 fair coins, a prompt of 10 each, every one counted `copies` times.
    coins = np.random.default_rng(5).integers(0, 2, (400, 10)).sum(axis=1)
    sums = ratio_sums(coins * copies, [10 * copies] * 400)
    sums = RatioSums(sums.numerators, sums.denominators, sums.numerators)
    found = stratified_estimates({"a": sums}, ABSENT).pooled[0]
    # Its own standard error is √(2/399) = 7%.
    assert found.design_effect == pytest.approx(copies, rel=0.25)
    assert found.effective_n == pytest.approx(found.n / found.design_effect)


def test_the_design_effect_is_statsmodels_ratio_of_variances():
    statsmodels = pytest.importorskip("statsmodels.api")
    sums = simulated(30, seed=4)
    coins = [
        np.repeat([1.0, 0.0], [int(a), int(b - a)])
        for a, b in zip(sums.numerators[:, 0], sums.denominators[:, 0], strict=True)
    ]
    y, groups = np.concatenate(coins), np.repeat(np.arange(30), [len(c) for c in coins])
    clustered = statsmodels.OLS(y, np.ones_like(y)).fit(
        cov_type="cluster", cov_kwds={"groups": groups}
    )
    iid = y.var() / len(y)
    sums = RatioSums(sums.numerators, sums.denominators, sums.numerators)
    found = stratified_estimates({"a": sums}, ABSENT).pooled[0]
    assert found.design_effect == pytest.approx(clustered.bse[0] ** 2 / iid, rel=1e-3)


def test_observations_that_do_not_vary_have_no_design_effect():
    sums = RatioSums(*(np.full((6, 1), 3.0) for _ in range(3)))
    found = stratified_estimates({"a": sums}, ABSENT, bounds=[SHARE]).pooled[0]
    assert (found.value, found.high) == (1.0, 1.0)
    assert math.isnan(found.design_effect)
    assert math.isnan(found.effective_n)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.0, 4.0), (-1.0, 2.0)])
def test_few_prompts_take_as_many_coins_as_have_their_variance(bounds):
    sums = ratio_sums([1.0, 2.0, 4.0], [8.0, 8.0, 8.0])
    few = Resampling(resamples=50)
    found = stratified_estimates({"a": sums}, ABSENT, few, [bounds]).pooled[0]
    least, width = bounds[0], bounds[1] - bounds[0]
    rates = (np.array([1.0, 2.0, 4.0]) / 8 - least) / width
    share, variance = rates.mean(), rates.var(ddof=1) / 3
    coins = share * (1 - share) / variance
    coins *= (scipy.stats.norm.ppf(0.975) / scipy.stats.t.ppf(0.975, 2)) ** 2
    heads = share * coins
    low = scipy.stats.beta.ppf(0.025, heads, coins - heads + 1)
    high = scipy.stats.beta.ppf(0.975, heads + 1, coins - heads)
    assert (found.low, found.high) == pytest.approx((least + width * low, least + width * high))


def test_the_standard_error_of_prompts_of_unequal_length_is_the_jackknifes():
    a, b = np.array([1.0, 6.0, 10.0, 3.0]), np.array([6.0, 8.0, 14.0, 11.0])
    few = Resampling(resamples=50)
    found = stratified_estimates({"a": ratio_sums(a, b)}, ABSENT, few, [SHARE]).pooled[0]
    without = [np.delete(a, i).sum() / np.delete(b, i).sum() for i in range(4)]
    share, variance = a.sum() / b.sum(), 3 * np.var(without)
    freedom = (b**2).sum() ** 2 / (b**4).sum() - 1
    coins = share * (1 - share) / variance
    coins *= (scipy.stats.norm.ppf(0.975) / scipy.stats.t.ppf(0.975, freedom)) ** 2
    low = scipy.stats.beta.ppf(0.025, share * coins, coins * (1 - share) + 1)
    high = scipy.stats.beta.ppf(0.975, share * coins + 1, coins * (1 - share))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


@pytest.mark.parametrize("seed", [17, 22])
def test_the_interval_of_unequal_prompts_is_that_of_plain_loops_too(seed):
    generator = np.random.default_rng(seed)
    # So unequal that the jackknife's standard error is 15 to 19% above the linearised one.
    lengths = np.round(60 * np.exp(generator.standard_normal(12))) + 5
    sums = ratio_sums(generator.binomial(lengths.astype(int), generator.beta(4, 4, 12)), lengths)
    found = stratified_estimates({"code": sums}, ABSENT, bounds=[(-9.0, 9.0)]).by_stratum["code"][0]
    low, high = studentized_by_loops(
        sums.numerators[:, 0], sums.denominators[:, 0], 10_000, np.random.default_rng(2)
    )
    width = found.high - found.low
    assert found.low == pytest.approx(low, abs=0.04 * width)
    assert found.high == pytest.approx(high, abs=0.04 * width)


def test_few_prompts_of_a_figure_without_a_largest_value_take_rare_events():
    sums = ratio_sums([8.0, 16.0, 40.0], [8.0, 8.0, 8.0])
    found = stratified_estimates({"a": sums}, ABSENT, Resampling(resamples=50)).pooled[0]
    values = np.array([1.0, 2.0, 5.0])
    events = values.mean() ** 2 / (values.var(ddof=1) / 3)
    events *= (scipy.stats.norm.ppf(0.975) / scipy.stats.t.ppf(0.975, 2)) ** 2
    ends = scipy.stats.gamma.ppf([0.025, 0.975], [events, events + 1]) * values.mean() / events
    assert (found.low, found.high) == pytest.approx(tuple(ends))


@pytest.mark.parametrize("prompts", [3, 8, 50])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_prompts_that_are_alike_leave_room_for_those_that_nobody_drew(prompts, value):
    sums = ratio_sums([8.0 * value] * prompts, [8.0] * prompts)
    found = stratified_estimates({"a": sums}, ABSENT, Resampling(resamples=50), [SHARE])
    # Were more than this share otherwise, a sample without any would have a chance below 2.5%.
    unseen = scipy.stats.beta.ppf(0.975, 1, prompts)
    for estimate in (found.pooled[0], found.by_stratum["a"][0]):
        assert estimate.low == pytest.approx(value - unseen * value)
        assert estimate.high == pytest.approx(value + unseen * (1 - value))
    # Nothing says how far others are from them where nothing bounds them.
    free = stratified_estimates({"a": sums}, ABSENT, Resampling(resamples=50)).pooled[0]
    assert math.isnan(free.high)
    assert "how far others may" in free.reason


def test_one_long_prompt_has_no_interval_of_its_own():
    sums = ratio_sums([5.0, 6.0, 5.0, 600.0], [10.0, 10.0, 10.0, 900.0])
    found = stratified_estimates({"a": sums}, ABSENT, Resampling(resamples=50), [SHARE]).pooled[0]
    assert math.isnan(found.low)
    assert found.reason.endswith("one has 97% of the 930 observations")


def test_no_end_is_beyond_what_a_ratio_can_be():
    # 2 of 50 prompts have any: 13% of resamples have none, and no spread to divide by.
    rare = ratio_sums([5.0, 5.0] + [0.0] * 48, [10.0] * 50)
    found = stratified_estimates({"a": rare}, ABSENT, bounds=[SHARE]).pooled[0]
    # What bounds it is how many prompts may be unlike those drawn, on the way from .02 to 1.
    unseen = scipy.stats.beta.ppf(0.975, 1, 50)
    assert 0.0 <= found.low < found.value < found.high
    assert found.high == pytest.approx(0.02 + unseen * 0.98)
    mirrored = ratio_sums([5.0, 5.0] + [10.0] * 48, [10.0] * 50)
    low = stratified_estimates({"a": mirrored}, ABSENT, bounds=[SHARE]).pooled[0].low
    assert low == pytest.approx(1 - found.high)
    # Beside a domain that lacks nothing, it is the way of this domain's half alone.
    even = ratio_sums([5.0, 6.0] * 25, [10.0] * 50)
    both = stratified_estimates({"a": rare, "b": even}, ABSENT, bounds=[SHARE]).pooled[0]
    assert both.high < 0.5
    unbounded = stratified_estimates({"a": rare}, ABSENT).pooled[0]
    assert math.isnan(unbounded.high)
    assert "too few of the prompts differ" in unbounded.reason


def test_a_floor_is_the_least_that_an_interval_names():
    # As block efficiency of prompts of which few keep anything.
    uneven = ratio_sums([13.0] * 6 + [14.0, 52.0, 50.0], [13.0] * 6 + [12.0, 13.0, 14.0])
    free = stratified_estimates({"a": uneven}, ABSENT).pooled[0]
    floored = stratified_estimates({"a": uneven}, ABSENT, bounds=[(1.0, math.inf)]).pooled[0]
    assert free.low < 1.0 == floored.low < floored.value
    assert (floored.value, floored.high) == (free.value, free.high)


@pytest.mark.parametrize("bounds", [(0.9, 1.0), (0.0, 0.1)])
def test_a_value_outside_its_bounds_is_in_its_own_interval(bounds):
    sums = ratio_sums([4.0, 5.0, 6.0, 5.0, 4.0, 6.0], [10.0] * 6)
    found = stratified_estimates({"a": sums}, ABSENT, bounds=[bounds]).pooled[0]
    assert found.low <= found.value <= found.high


def test_resampled_totals_are_sums_of_as_many_whole_prompts_as_there_are():
    # Prompt i contributes 10**i, so that the digits of a total count how often each was drawn.
    sums = np.array([[1.0, 1.0], [10.0, 1.0], [100.0, 1.0], [1000.0, 1.0]])
    totals = resampled_totals(sums, "code", Resampling(resamples=5000))
    assert totals.shape == (5000, 2)
    assert (totals[:, 1] == 4).all()
    drawn = np.array([[int(total) // 10**i % 10 for i in range(4)] for total in totals[:, 0]])
    assert (drawn.sum(axis=1) == 4).all()
    # Each prompt is drawn once on average, with variance 3/4; 6 standard errors.
    assert drawn.mean(axis=0) == pytest.approx(np.ones(4), abs=6 * math.sqrt(0.75 / 5000))
    assert drawn.var(axis=0) == pytest.approx(np.full(4, 0.75), rel=0.15)


def test_pooled_resamples_keep_every_stratums_size():
    # Within a stratum all prompts agree: only the mix could vary, and it must not.
    strata = {"a": ratio_sums([1.0] * 5, [1.0] * 5), "b": ratio_sums([0.0] * 15, [1.0] * 15)}
    pooled = stratified_estimates(strata, ABSENT, bounds=[SHARE]).pooled[0]
    assert (pooled.value, pooled.n) == (0.25, 20)
    # What is left open is what each stratum's unseen prompts may be, by its share of all.
    unseen = {size: scipy.stats.beta.ppf(0.975, 1, size) for size in (5, 15)}
    assert pooled.low == pytest.approx(0.25 - 0.25 * unseen[5])
    assert pooled.high == pytest.approx(0.25 + 0.75 * unseen[15])


def test_pooled_interval_agrees_with_the_variance_of_independent_strata():
    strata = {str(i): simulated(60, seed=i, truth=0.3 + 0.1 * i) for i in range(4)}
    pooled = stratified_estimates(strata, ABSENT).pooled[0]
    total = sum(sums.denominators.sum() for sums in strata.values())
    value = sum(sums.numerators.sum() for sums in strata.values()) / total
    variance = 0.0
    for sums in strata.values():
        residual = (sums.numerators - value * sums.denominators)[:, 0]
        variance += len(residual) * residual.var()
    half = 1.96 * math.sqrt(variance) / total
    assert pooled.value == pytest.approx(value)
    assert pooled.low == pytest.approx(value - half, abs=0.08 * half)
    assert pooled.high == pytest.approx(value + half, abs=0.08 * half)


def test_a_domains_interval_does_not_depend_on_which_others_were_run():
    one, other = simulated(20, seed=1), simulated(20, seed=2)
    alone = stratified_estimates({"math": one}, ABSENT).by_stratum["math"]
    beside = stratified_estimates({"code": other, "math": one}, ABSENT).by_stratum["math"]
    assert alone == beside


def test_strata_are_resampled_independently_and_by_seed():
    sums = np.arange(8.0)[:, None]
    few = Resampling(resamples=50)
    assert (resampled_totals(sums, "a", few) == resampled_totals(sums, "a", few)).all()
    assert (resampled_totals(sums, "a", few) != resampled_totals(sums, "b", few)).any()
    other_seed = Resampling(resamples=50, seed=1)
    assert (resampled_totals(sums, "a", few) != resampled_totals(sums, "a", other_seed)).any()


def test_many_ratios_in_blocks_are_as_one_by_one():
    generator = np.random.default_rng(3)
    sums = RatioSums(generator.random((9, 300)), generator.random((9, 300)))
    few = Resampling(resamples=50)
    together = stratified_estimates({"a": sums}, ABSENT * 300, few)
    for i in (0, 255, 256, 299):
        alone = RatioSums(sums.numerators[:, [i]], sums.denominators[:, [i]])
        single = stratified_estimates({"a": alone}, ABSENT, few)
        for found, expected in zip(
            (together.by_stratum["a"][i], together.pooled[i]),
            (single.by_stratum["a"][0], single.pooled[0]),
            strict=True,
        ):
            assert (found.value, found.n) == (expected.value, expected.n)
            assert found.low == pytest.approx(expected.low, rel=1e-12)
            assert found.high == pytest.approx(expected.high, rel=1e-12)


def test_coverage_on_simulated_prompts():
    # 400 runs of 95% intervals: the chance that a true coverage of .95 shows outside is under .001.
    truth, covered = 0.3, 0
    for seed in range(400):
        sums = simulated(40, seed, truth)
        found = stratified_estimates({"a": sums}, ABSENT, Resampling(resamples=1000)).pooled[0]
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / 400 <= 0.985


def test_one_prompt_has_a_value_and_no_interval():
    found = stratified_estimates({"a": ratio_sums([1.0], [4.0])}, ABSENT)
    for estimate in (found.by_stratum["a"][0], found.pooled[0]):
        assert (estimate.value, estimate.n) == (0.25, 4)
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)
        assert estimate.reason == "an interval needs 3 prompts with this figure, and 1 has it"


def test_a_domain_of_one_prompt_denies_the_pooled_interval():
    strata = {"a": simulated(10, seed=1), "b": ratio_sums([1.0], [4.0])}
    found = stratified_estimates(strata, ABSENT)
    assert not found.by_stratum["a"][0].reason
    assert math.isnan(found.pooled[0].low)
    assert found.pooled[0].reason.endswith("cannot be resampled: b")
    # A prompt that adds nothing to this figure does no harm.
    strata["b"] = ratio_sums([0.0], [0.0])
    assert not stratified_estimates(strata, ABSENT).pooled[0].reason


@pytest.mark.parametrize("strata", [{}, {"a": ratio_sums([0.0] * 3, [0.0] * 3)}])
def test_no_denominator_is_not_estimable_with_the_given_reason(strata):
    found = stratified_estimates(strata, ABSENT)
    for estimate in (*found.pooled, *(e for group in found.by_stratum.values() for e in group)):
        assert math.isnan(estimate.value)
        assert math.isnan(estimate.low)
        assert (estimate.n, estimate.reason) == (0, ABSENT[0])


def test_prompts_that_do_not_carry_a_figure_do_not_count():
    # 2 of 12 prompts carry it.
    rare = ratio_sums([1.0, 0.0] + [0.0] * 10, [1.0, 1.0] + [0.0] * 10)
    found = stratified_estimates({"a": rare}, ABSENT).pooled[0]
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert found.reason == "an interval needs 3 prompts with this figure, and 2 have it"
    # 8 of 12: (4/12)^12 = 2e-6 of the resamples have none; an odd one is set aside.
    common = ratio_sums([1.0, 0.0] * 4 + [0.0] * 4, [1.0] * 8 + [0.0] * 4)
    found = stratified_estimates({"a": common}, ABSENT, bounds=[SHARE]).pooled[0]
    assert not found.reason
    assert 0.0 <= found.low < 0.5 < found.high <= 1.0


def interval(kept, of=60):
    """The interval of prompts by how many of their nodes were kept."""
    kept = np.asarray(kept, float)
    below = np.full(len(kept), float(of))
    noise = own_noise(kept, below, kept)
    sums = RatioSums(kept[:, None], below[:, None], kept[:, None], noise[:, None])
    return stratified_estimates({"code": sums}, ABSENT, bounds=[SHARE]).pooled[0]


@pytest.mark.parametrize(
    ("alike", "nearly"),
    [([0] * 6, [0] * 5 + [1]), ([60] * 4, [60] * 3 + [59]), ([60] * 12, [60] * 6 + [59] * 6)],
)
def test_there_is_no_cliff_between_prompts_that_are_alike_and_nearly_so(alike, nearly):
    one, other = interval(alike), interval(nearly)
    assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.02)


def test_prompts_that_differ_by_more_than_chance_say_themselves_how_far_others_are():
    kept = [60, 20, 55, 31, 48, 12, 60, 44, 25, 58]
    noise_unknown = ratio_sums(kept, [60] * 10)
    (plain,) = stratified_estimates({"code": noise_unknown}, ABSENT, bounds=[SHARE]).pooled
    found = interval(kept)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.004)


def test_what_nothing_bounds_stays_estimable_where_prompts_nearly_look_alike():
    """As entropies are, whose largest value is not told: 50 prompts that differ by chance."""
    generator = np.random.default_rng(7)
    observed = generator.exponential(1.0, (50, 40))
    above, squares = observed.sum(axis=1), (observed**2).sum(axis=1)
    below = np.full(50, 40.0)
    noise = own_noise(above, below, squares)
    sums = RatioSums(above[:, None], below[:, None], squares[:, None], noise[:, None])
    (found,) = stratified_estimates({"code": sums}, ABSENT).pooled
    assert found.reason == ""
    assert 0.8 < found.low < found.value < found.high < 1.2


def test_of_many_prompts_no_common_kind_is_missing():
    kept = np.random.default_rng(3).binomial(60, 0.7, 60)
    sums = ratio_sums(kept, [60] * 60)
    (plain,) = stratified_estimates({"code": sums}, ABSENT, bounds=[SHARE]).pooled
    found = interval(kept)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-4)


@pytest.mark.parametrize("prompts", [3, 4, 6, 9, 12])
def test_intervals_cover_where_a_hard_kind_of_prompt_may_be_missing(prompts):
    """15% of prompts have the rate .3 and all others .99; 200 samples."""
    truth, covered = 0.15 * 0.3 + 0.85 * 0.99, 0
    for run in range(200):
        generator = np.random.default_rng([5, prompts, run])
        rate = np.where(generator.random(prompts) < 0.15, 0.3, 0.99)
        kept = generator.binomial(60, rate).astype(float)
        below = np.full(prompts, 60.0)
        noise = own_noise(kept, below, kept)
        sums = RatioSums(kept[:, None], below[:, None], kept[:, None], noise[:, None])
        few = Resampling(resamples=400, seed=run)
        (found,) = stratified_estimates({"code": sums}, ABSENT, few, [SHARE]).pooled
        covered += found.low <= truth <= found.high
    assert covered >= 0.9 * 200
