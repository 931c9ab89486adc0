"""The whole test on simulated engines: no more false alarms than α, and every fault is found.

A small part of `benchmarks/anytime_valid.py`, with the same code. Seeds are fixed. Were they not, a
test of false alarms would fail with probability below 10⁻³, as its bound is the binomial quantile.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, chi2

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import anytime_valid as benchmark
import simulated_engines as engines

from draftproof.lossless.evidence import (
    DeclaredRule,
    EvidenceMeter,
    Observation,
    Reading,
    Site,
    log_e_value,
)
from draftproof.lossless.evidence.verdict import judge


@pytest.fixture(scope="module")
def tables():
    return engines.random_tables(3, 8, contexts=12)


@pytest.mark.parametrize("label", benchmark.lossless_engines(engines.random_tables(0, 8)))
@pytest.mark.parametrize("which", ["random", "adversarial"])
def test_lossless_engines_are_rejected_no_more_often_than_alpha(tables, which, label):
    tables = tables if which == "random" else engines.adversarial_tables()
    engine, rule, proposals, told = benchmark.lossless_engines(tables)[label]
    ratios = benchmark.ratio_tables(tables, rule, told=told, proposals=proposals)
    found = benchmark.first_passages(
        engine, ratios, seed=5, runs=200, tokens=150, alphas=(0.2, 0.05)
    )
    for alpha, alarms in zip((0.2, 0.05), (found > 0).sum(axis=1), strict=True):
        assert alarms <= binom.isf(1e-3, 200, alpha)


@pytest.mark.parametrize(
    ("fault", "told", "untold"),
    [
        ("ratio inverted", 120, 120),
        ("no residual", 50, 1000),
        ("residual of the wrong sign", 20, 100),
        ("softmax of the residual", 50, 220),
        ("partial residual", 100, 1900),
        ("argmax correction", 210, 480),
        ("greedy draft verified as sampled", 45, 75),
        ("drawn at T = 0.7, scored at 1", 570, 1100),
        ("one draw for coin and correction", 260, 720),
        ("draft tokens below 0.1 dropped", 210, 660),
        ("bonus is the argmax", 45, 45),
        ("stored draft law divided by noise", 60, 570),
    ],
)
def test_faults_are_found(tables, fault, told, untold):
    """Bounds are one and a half times the 90% quantiles that were found at α = 10⁻⁴."""
    engine = engines.faulty(fault, tables)
    for rule, is_told, bound in (
        (DeclaredRule.REJECTION, True, told),
        (DeclaredRule.OTHER, False, untold),
    ):
        ratios = benchmark.ratio_tables(tables, rule, told=is_told)
        found = benchmark.first_passages(
            engine, ratios, seed=1, runs=20, tokens=bound, alphas=(1e-4,)
        )[0]
        assert (found > 0).mean() >= 0.9, f"told: {is_told}"


def share_found(engine, ratios, tokens, **settings):
    found = benchmark.first_passages(
        engine, ratios, seed=1, runs=20, tokens=tokens, alphas=(1e-4,), **settings
    )[0]
    return (found > 0).mean()


@pytest.mark.parametrize(
    ("fault", "told", "untold"),
    [
        ("no residual", 56, 1850),
        ("greedy draft, coin p(x), residual of q", 165, 350),
        ("sampled draft, coin p(x), residual of q", 135, 365),
        ("greedy draft, coin of q, no residual", 75, 105),
        ("two likeliest exchanged in a quarter of contexts", 1800, 2700),
    ],
)
def test_faults_are_found_by_what_is_learned_alone(tables, fault, told, untold):
    """As if nothing had a name: every named alternative has weight 0.

    Bounds are one and a half times the 90% quantiles that were found.
    """
    engine = engines.faulty(fault, tables)
    nameless = 0 * benchmark.prior()
    for rule, is_told, bound in (
        (DeclaredRule.REJECTION, True, told),
        (DeclaredRule.OTHER, False, untold),
    ):
        ratios = benchmark.ratio_tables(tables, rule, told=is_told)
        assert share_found(engine, ratios, bound, weights=nameless) >= 0.9, f"told: {is_told}"


def test_a_greedy_draft_that_is_known_with_the_residual_of_q_is_found(tables):
    """The declared rule is the point-mass one; what is wrong is the correction alone."""
    engine = engines.faulty("greedy draft, coin p(x), residual of q", tables)
    ratios = benchmark.ratio_tables(
        tables, DeclaredRule.POINT_MASS, proposals=tables.q.argmax(axis=1)
    )
    assert share_found(engine, ratios, 160) >= 0.9


@pytest.mark.parametrize(
    ("fault", "bound"),
    [("drawn at T = 0.7, scored at 1", 1100), ("no residual", 60), ("partial residual", 120)],
)
def test_a_coarse_tolerance_hides_no_fault_that_tokens_alone_show(tables, fault, bound):
    """Under bfloat16's tolerance, with what the engine calls kept."""
    engine = engines.faulty(fault, tables)
    ratios = benchmark.ratio_tables(tables, DeclaredRule.REJECTION, tolerance=benchmark.BFLOAT16)
    assert share_found(engine, ratios, bound) >= 0.9


def test_a_coarse_tolerance_hides_no_target_at_another_temperature(tables):
    """Known drafts kept as they should be, by a target at 1.3: every view shows it."""
    hot = engines.tempered(tables.p, 1.3)
    engine = dataclasses.replace(
        engines.greedy_one_hot(tables), keep=hot, corrections=engines.WithoutRejected(hot)
    )
    proposals = tables.q.argmax(axis=1)
    for tolerance in (1e-4, benchmark.BFLOAT16):
        ratios = benchmark.ratio_tables(
            tables, DeclaredRule.POINT_MASS, proposals=proposals, tolerance=tolerance
        )
        assert share_found(engine, ratios, 900) >= 0.9


def test_a_coarse_tolerance_shows_in_the_stated_power(tables):
    """What only the pairs show is stated to be caught later, and what tokens show as before."""
    power = []
    for tolerance in (1e-4, benchmark.BFLOAT16):
        meter = EvidenceMeter(DeclaredRule.REJECTION, tolerance=tolerance)
        run = engines.lossless(tables).runs(np.random.default_rng(0), 1, 800)
        for context, _, kept, y in run:
            meter.observe(
                Observation(
                    target=tables.p[context[0]],
                    draft=tables.q[context[0]],
                    token=int(y[0]),
                    site=Site.ACCEPTED if kept[0] else Site.CORRECTION,
                )
            )
        power.append(judge([meter.evidence]).power)
    fine, coarse = power
    less = next(name for name in fine if name.startswith("kept less often"))
    assert fine[less] < 0.5
    assert coarse[less] is None or coarse[less] > 1.5 * fine[less]
    drafts = next(name for name in fine if name.startswith("the draft model's law"))
    assert coarse[drafts] == pytest.approx(fine[drafts], rel=0.05)


@pytest.mark.parametrize("fault", ["no residual", "partial residual", "leniency 0.9"])
def test_the_simulated_procedures_have_the_laws_that_their_tables_say(tables, fault):
    """Chi-square of 120,000 draws against `emitted_law`, by context; false alarms 10⁻³."""
    engine = engines.faulty(fault, tables)
    counts = np.zeros_like(tables.p)
    for context, _, _, token in engine.runs(np.random.default_rng(2), 4000, 30):
        np.add.at(counts, (context, token), 1)
    expected = engine.emitted_law() * counts.sum(axis=1, keepdims=True)
    often = expected >= 5
    statistic = ((counts - expected) ** 2 / np.where(often, expected, 1))[often].sum()
    assert statistic < chi2.isf(1e-3, often.sum())


@pytest.mark.parametrize("rule", [DeclaredRule.REJECTION, DeclaredRule.OTHER])
@pytest.mark.parametrize("tolerance", [1e-4, benchmark.BFLOAT16])
@pytest.mark.parametrize("vocabulary", [8, 512])
def test_the_benchmark_multiplies_what_the_meter_adds(vocabulary, rule, tolerance):
    """With 512 ids, tokens that are rare are one outcome, and contexts differ in how many are."""
    tables = engines.random_tables(3, vocabulary, contexts=12 if vocabulary == 8 else 3)
    engine = engines.lossless(tables, depth=2)
    told = rule is DeclaredRule.REJECTION
    ratios = benchmark.ratio_tables(tables, rule, told=told, tolerance=tolerance)
    meter = EvidenceMeter(rule, tolerance=tolerance)
    watched = {view: benchmark.Watched(ways, 1) for view, ways in ratios.items()}
    run = np.arange(1)
    for context, place, kept, y in engine.runs(np.random.default_rng(0), 1, 60):
        c, is_bonus, was_kept = int(context[0]), place[0] == engines.BONUS, bool(kept[0])
        site = Site.BONUS if is_bonus else Site.ACCEPTED if was_kept else Site.CORRECTION
        meter.observe(
            Observation(
                target=tables.p[c],
                draft=tables.q[c],
                unfiltered_target=tables.unfiltered[c],
                raw_target=tables.raw[c],
                token=int(y[0]),
                site=site if told else Site.UNKNOWN,
            )
        )
        way = "bonus" if is_bonus else "kept" if was_kept else "rejected"
        for each in watched.values():
            each.add(way if told else "unknown", run, context, y)
    weights = benchmark.prior()
    value = sum(
        each.named(run, weights)[0]
        + sum(weights[scope].sum() for scope in ((1,) if told else (1, 2, 3)))
        + each.tilts(run)[0]
        for each in watched.values()
    )
    found = log_e_value(meter.evidence, Reading.DECLARED)
    assert np.log(value / len(watched)) == pytest.approx(found, abs=1e-5)
