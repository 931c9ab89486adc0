"""Pass, fail, inconclusive: each where it is due, and how many prompts would decide."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from draftproof.gate import Outcome, parse_gate
from draftproof.gate.exchange import PairedSums
from draftproof.gate.judging import (
    decide,
    detectable,
    fewest_prompts,
    holm,
    judge,
    overall_outcome,
    without_figures,
)

ALPHA = 0.05


def sums(generator, prompts, factor, spread=0.5):
    """Two runs in which acceptance is a beta of its own in each prompt, times `factor` later."""
    n = np.full(prompts, 40)
    level = generator.normal(0, 0.5, prompts)

    def rate():
        return 1 / (1 + np.exp(-level - generator.normal(0, spread, prompts)))

    return PairedSums(
        numerator_before=generator.binomial(n, rate()).astype(float),
        denominator_before=n.astype(float),
        numerator_now=generator.binomial(n, np.minimum(factor * rate(), 1)).astype(float),
        denominator_now=n.astype(float),
    )


def outcome(text, factor, prompts=100, seed=0, spread=0.1):
    generator = np.random.default_rng(seed)
    found = judge(parse_gate(text), "code", sums(generator, prompts, factor, spread), 0.95)
    return decide([found], ALPHA)[0]


def test_a_fall_beyond_the_margin_fails_and_none_passes():
    assert outcome("acceptance_rate:-10%", 0.7).outcome is Outcome.FAIL
    assert outcome("acceptance_rate:-10%", 1.0).outcome is Outcome.PASS


def test_a_rise_fails_where_acceptance_is_watched_both_ways_and_not_where_it_is_not():
    risen = outcome("acceptance_rate:-10%", 1.4)
    assert risen.outcome is Outcome.FAIL
    assert risen.rose
    assert outcome("block_efficiency:-10%", 1.4).outcome is Outcome.PASS


def test_a_change_that_the_prompts_cannot_place_is_inconclusive_and_says_how_many_could():
    found = outcome("acceptance_rate:-1%", 0.985, prompts=30, spread=0.5)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.prompts_to_decide > 30


def test_the_number_of_prompts_that_is_recommended_decides():
    """With so many prompts and the change as measured, 80% are decided; 120 runs, 65% to 92%."""
    generator = np.random.default_rng(3)
    gate = parse_gate("block_efficiency:-10%")
    found = decide([judge(gate, "code", sums(generator, 40, 0.94), 0.95)], ALPHA)[0]
    assert found.outcome is Outcome.INCONCLUSIVE
    measured = 1 + found.change.value
    decided = 0
    for run in range(120):
        again = sums(np.random.default_rng([4, run]), found.prompts_to_decide, measured)
        judgement = judge(gate, "code", again, 0.95, interval=False)
        decided += decide([judgement], ALPHA)[0].outcome is not Outcome.INCONCLUSIVE
    assert 0.65 <= decided / 120 <= 0.92


def test_too_few_prompts_cannot_fail_and_are_told_the_least_number():
    found = outcome("acceptance_rate:-1%", 0.2, prompts=4)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.prompts_to_decide >= fewest_prompts(ALPHA / 2) == 6


def test_false_alarms_of_many_gates_together_are_at_most_alpha():
    """4 domains × 2 figures at their very margins, 25 prompts, 400 comparisons, both ways."""
    gates = [parse_gate(text) for text in ("acceptance_rate:-0", "acceptance_rate:-0%")]
    alarms = 0
    for run in range(400):
        generator = np.random.default_rng([5, run])
        judged = [
            judge(gate, domain, pair, 0.95, interval=False)
            for domain in "abcd"
            for pair in [sums(generator, 25, 1.0)]
            for gate in gates
        ]
        alarms += overall_outcome(decide(judged, ALPHA)) is Outcome.FAIL
    assert binomtest(alarms, 400, ALPHA, "greater").pvalue > 1e-3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_is_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_one_strong_failure_among_many_gates_still_fails():
    gate = parse_gate("acceptance_rate:-1%")
    weak = replace(without_figures(gate, "code", 50), p_fail=0.04, p_pass=0.9)
    strong = replace(weak, p_fail=1e-4)
    outcomes = [j.outcome for j in decide([weak, strong, weak, weak], ALPHA)]
    assert outcomes == [Outcome.INCONCLUSIVE, Outcome.FAIL, *[Outcome.INCONCLUSIVE] * 2]


def test_gates_without_a_verdict_do_not_count_among_the_tests():
    gate = parse_gate("acceptance_rate:-1%")
    near = replace(without_figures(gate, "code", 50), p_fail=0.04)
    silent = replace(near, outcome=Outcome.NO_VERDICT)
    outcomes = [j.outcome for j in decide([near, silent, silent], ALPHA)]
    assert outcomes == [Outcome.FAIL, Outcome.NO_VERDICT, Outcome.NO_VERDICT]
    assert overall_outcome([silent]) is Outcome.PASS


def test_equal_runs_pass_whatever_the_margin():
    pair = sums(np.random.default_rng(6), 8, 1.0)
    same = replace(pair, numerator_now=pair.numerator_before)
    found = decide([judge(parse_gate("acceptance_rate:-0"), "code", same, 0.95)], ALPHA)[0]
    assert (found.outcome, found.reason) == (Outcome.PASS, "no prompt differs")


def test_a_figure_that_one_run_lacks_decides_nothing_and_says_so():
    pair = sums(np.random.default_rng(6), 8, 1.0)
    gone = replace(pair, numerator_now=np.zeros(8), denominator_now=np.zeros(8))
    found = decide([judge(parse_gate("acceptance_rate:-0"), "code", gone, 0.95)], ALPHA)[0]
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "does not exist in one of the runs" in found.reason


def test_the_detectable_change_is_the_one_that_is_seen_four_times_in_five():
    """Normal differences, one-sided level .01; 400 runs of 60 prompts: 74% to 86%."""
    spread, prompts, level = 0.3, 60, 0.01
    error = spread / math.sqrt(prompts)
    fall = detectable(error, prompts, level)
    seen = 0
    for run in range(400):
        generator = np.random.default_rng([9, run])
        later = 1 - fall + generator.normal(0, spread, prompts)
        ones = np.ones(prompts)
        pair = PairedSums(
            numerator_before=ones,
            denominator_before=ones,
            numerator_now=later,
            denominator_now=ones,
        )
        gate = parse_gate("block_efficiency:-0")
        seen += judge(gate, "code", pair, 0.95, interval=False).p_fail <= level
    assert 0.74 <= seen / 400 <= 0.86
    assert math.isinf(detectable(error, 5, level))
