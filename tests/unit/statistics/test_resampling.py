"""Prompts drawn anew in groups: the groups themselves, and that intervals stay what they were."""

from __future__ import annotations

import numpy as np
import pytest

from draftproof.gate import paired
from draftproof.gate.change import ChangeTest
from draftproof.gate.paired import PairedSums
from draftproof.statistics import RatioSums, stratified_estimates
from draftproof.statistics import resampling as resampling_module
from draftproof.statistics.association import NodePairs, spearman
from draftproof.statistics.resampling import (
    Resampling,
    resample_weights,
    resampled_totals,
    unit_sums,
    units_of,
)


@pytest.fixture
def in_groups(monkeypatch):
    """Sets from how many prompts on they are grouped."""

    def limited(most):
        monkeypatch.setattr(resampling_module, "MOST_UNITS", most)
        resampling_module._units.cache_clear()

    yield limited
    resampling_module._units.cache_clear()


def test_up_to_the_limit_each_prompt_is_drawn_alone():
    units = units_of(resampling_module.MOST_UNITS, "code", Resampling())
    np.testing.assert_array_equal(units, np.arange(resampling_module.MOST_UNITS))


def test_groups_are_of_equal_size_random_and_the_same_for_every_figure():
    most = resampling_module.MOST_UNITS
    units = units_of(2 * most + 1, "code", Resampling())
    assert sorted(set(np.bincount(units).tolist())) == [2, 3]
    assert len(np.bincount(units)) == most
    np.testing.assert_array_equal(units, units_of(2 * most + 1, "code", Resampling()))
    assert (units != units_of(2 * most + 1, "math", Resampling())).any()
    # Neighbours (prompts of one source, say) are not put together.
    assert np.mean(np.diff(units) == 0) < 0.01


def test_sums_of_groups_are_those_of_their_prompts():
    generator = np.random.default_rng(0)
    sums, units = generator.random((57, 3)), generator.permutation(57) % 10
    expected = np.stack([sums[units == unit].sum(axis=0) for unit in range(10)])
    np.testing.assert_allclose(unit_sums(sums, units), expected, rtol=1e-13)


def test_kept_draws_are_those_drawn_anew(monkeypatch):
    once = list(resample_weights(40, "code", Resampling(resamples=300)))
    monkeypatch.setattr(resampling_module, "_KEPT_CELLS", 0)
    for (rows, weights), (again, others) in zip(
        once, resample_weights(40, "code", Resampling(resamples=300)), strict=True
    ):
        assert rows == again
        np.testing.assert_array_equal(weights, others)
        assert (weights.sum(axis=1) == 40).all()


@pytest.mark.parametrize("prompts", [600, 899])
def test_resampled_spread_is_that_of_the_prompts(in_groups, prompts):
    in_groups(300)
    generator = np.random.default_rng(1)
    # A skewed sum and a size that goes with it, as long outputs have.
    size = generator.gamma(2, 20, prompts) + 1
    sums = np.stack([size * generator.beta(2, 2, prompts), size], axis=1)
    totals = resampled_totals(sums, "code", Resampling(resamples=4000))
    ratio = sums[:, 0].sum() / sums[:, 1].sum()
    residual = sums[:, 0] - ratio * sums[:, 1]
    expected = np.sqrt((residual**2).sum()) / sums[:, 1].sum()
    # 300 groups: 4.1% of a standard error; 4 of these.
    assert (totals[:, 0] / totals[:, 1]).std() == pytest.approx(expected, rel=0.17)


def test_intervals_in_groups_are_those_of_prompts(in_groups):
    generator = np.random.default_rng(2)
    count = generator.integers(20, 80, 900).astype(float)
    hits = generator.binomial(count.astype(int), generator.beta(4, 4, 900)).astype(float)
    strata = {"code": RatioSums(hits[:, None], count[:, None])}
    [alone] = stratified_estimates(strata, [""], Resampling(resamples=4000)).pooled
    in_groups(300)
    [grouped] = stratified_estimates(strata, [""], Resampling(resamples=4000)).pooled
    assert grouped.value == alone.value
    assert grouped != alone
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.2)


def test_rank_correlation_in_groups(in_groups):
    generator = np.random.default_rng(3)
    prompt = np.repeat(np.arange(600), 10)
    level = generator.normal(0, 1, 600)[prompt]
    x = level + generator.normal(0, 1, 6000)
    y = -0.3 * x + generator.normal(0, 1, 6000)
    pairs = NodePairs(prompt, 600, x, y)
    alone = spearman(pairs, "code", Resampling(resamples=1000))
    in_groups(200)
    grouped = spearman(pairs, "code", Resampling(resamples=1000))
    assert grouped.value == alone.value
    assert grouped.draws.std() == pytest.approx(alone.draws.std(), rel=0.25)


def test_the_gate_is_as_exact_in_groups(in_groups, monkeypatch):
    monkeypatch.setattr(paired, "DRAWS", 400)
    paired._exchanges.cache_clear()
    paired._resamples.cache_clear()
    in_groups(50)
    generator = np.random.default_rng(4)
    rejected = 0
    for _ in range(200):
        count = generator.integers(10, 50, 160)
        rate = generator.beta(4, 4, 160)
        before, now = generator.binomial(count, rate), generator.binomial(count, rate)
        sums = PairedSums(
            numerator_before=before.astype(float),
            denominator_before=count.astype(float),
            numerator_now=now.astype(float),
            denominator_now=count.astype(float),
        )
        rejected += min(ChangeTest(sums, relative=False).p_values(0.0)) <= 0.05
    paired._exchanges.cache_clear()
    paired._resamples.cache_clear()
    # Two sides at .05 each: 20 of 200 expected at most; 33 or more by chance: 0.2%.
    assert 4 <= rejected <= 33
