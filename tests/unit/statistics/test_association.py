"""Spearman's ρ: scipy's value, a bootstrap that ranks every resample anew, and the odd cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from study_traces import study_run

from draftproof.statistics import Resampling
from draftproof.statistics.association import (
    NodePairs,
    average_ranks,
    entropy_and_acceptance,
    prompt_tables,
    spearman,
    table_spearman,
)
from draftproof.statistics.replicates import expanded_tail
from draftproof.statistics.resampling import resample_weights
from draftproof.trace import CaseRecord, Verdict


def clustered(prompts=30, seed=0):
    """Nodes whose prompts shift both variables; a third of the acceptance probabilities are 1."""
    generator = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(prompts), generator.integers(40, 160, prompts))
    shift = generator.normal(0, 0.6, (2, prompts))
    x = generator.gamma(2, np.exp(0.4 * shift[0][prompt]))
    noise = generator.normal(0, 1.5, len(prompt))
    y = np.minimum(1.0, 1.6 / (1 + np.exp(0.4 * x - shift[1][prompt] + noise - 0.5)))
    return NodePairs(prompt, prompts, x, y)


@pytest.mark.parametrize("seed", range(3))
def test_the_value_is_scipys(seed):
    pairs = clustered(seed=seed)
    found = spearman(pairs, "code", Resampling(resamples=100)).estimate(0.95)
    assert found.value == pytest.approx(
        scipy.stats.spearmanr(pairs.x, pairs.y).statistic, abs=1e-12
    )
    assert found.n == len(pairs.x)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_average_ranks_are_scipys(values):
    array = np.array(values, float)
    assert average_ranks(array).tolist() == scipy.stats.rankdata(array).tolist()


def test_the_interval_is_that_of_a_bootstrap_that_ranks_every_resample_anew():
    pairs, resampling = clustered(), Resampling(resamples=200)
    rows = [np.flatnonzero(pairs.prompt == p) for p in range(pairs.prompts)]
    values = []
    for _, weights in resample_weights(pairs.prompts, "code", resampling):
        for drawn in weights.astype(int):
            nodes = np.concatenate([np.tile(rows[p], drawn[p]) for p in range(pairs.prompts)])
            values.append(scipy.stats.spearmanr(pairs.x[nodes], pairs.y[nodes]).statistic)
    weights = np.array([float(len(nodes)) for nodes in rows])
    freedom = (weights**2).sum() ** 2 / (weights**4).sum() - 1
    half = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(pairs.prompts / (pairs.prompts - 1))
    tail = expanded_tail([pairs.prompts], 0.95, freedom)
    assert tail == pytest.approx(scipy.stats.norm.cdf(-half))
    low, high = np.quantile(values, [tail, 1 - tail])
    found = spearman(pairs, "code", resampling).estimate(0.95)
    half *= np.std(values)
    low, high = min(low, found.value - half), max(high, found.value + half)
    # The same resamples, but for bins in place of ranks.
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02 * (high - low))


def test_tables_have_the_ranks_of_their_bins():
    pairs = clustered()
    tables = prompt_tables(pairs, np.arange(pairs.prompts))
    assert tables.sum() == len(pairs.x)
    assert tables.shape[0] == pairs.prompts
    # The third that are 1 share one bin, with nothing else in it.
    assert tables.sum(axis=(0, 1))[-1] == (pairs.y == 1).sum()
    table = np.array([[[3, 1], [0, 2]]], float)
    x, y = [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]
    assert table_spearman(table)[0] == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def test_resamples_use_the_weights_of_whole_prompts():
    pairs = clustered(prompts=8)
    more = Resampling(resamples=4000)
    found = spearman(pairs, "a", more).estimate(0.95)
    assert found.low < found.value < found.high
    assert spearman(pairs, "a", more).estimate(0.95) == found
    assert spearman(pairs, "b", more).estimate(0.95) != found


def test_what_does_not_vary_or_is_not_there_has_no_correlation():
    pairs = clustered(prompts=8)
    constant = pairs._replace(y=np.ones_like(pairs.y))
    found = spearman(constant, "a", Resampling(resamples=50)).estimate(0.95)
    assert math.isnan(found.value)
    assert "vary" in found.reason
    none = NodePairs(np.zeros(0, int), 0, np.zeros(0), np.zeros(0))
    assert math.isnan(spearman(none, "a", Resampling(resamples=50)).value)
    few = spearman(clustered(prompts=3), "a", Resampling(resamples=50)).estimate(0.95)
    assert not math.isnan(few.value)
    assert math.isnan(few.low)
    assert "needs 5 prompts" in few.reason


def test_nodes_without_a_draft_model_and_cases_in_error_are_left_out():
    cases = study_run(prompts=2, steps=2)
    nodes = dict(cases[0].nodes)
    nodes["draft_entropy"] = nodes["draft_entropy"].copy()
    nodes["draft_entropy"][:3] = np.nan
    broken = CaseRecord(
        case_id="z", domain="chat", prompt_tokens=1, verdict=Verdict.ERROR, nodes=cases[1].nodes
    )
    cases[0] = CaseRecord(
        case_id="a", domain="chat", prompt_tokens=1, verdict=Verdict.IDENTICAL, nodes=nodes
    )
    pairs = entropy_and_acceptance([cases[0], broken])
    assert (len(pairs.x), pairs.prompts) == (2 * 14 - 3, 1)
