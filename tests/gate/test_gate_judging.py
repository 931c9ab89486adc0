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
from draftproof.gate.judging import (
    decide,
    detectable,
    fewest_prompts,
    holm,
    judge,
    overall_outcome,
    unseen_kind,
    without_figures,
)
from draftproof.gate.paired import PairedSums
from draftproof.gate.planning import fewest_to_fail
from draftproof.statistics.small_samples import own_noise

ALPHA = 0.05


def swapped(pair):
    """The runs the other way round."""
    return PairedSums(
        numerator_before=pair.numerator_now,
        denominator_before=pair.denominator_now,
        numerator_now=pair.numerator_before,
        denominator_now=pair.denominator_before,
    )


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
    """4 domains × 2 figures at their very margins, 25 prompts, 100 comparisons, both ways."""
    gates = [parse_gate(text) for text in ("acceptance_rate:-0", "acceptance_rate:-0%")]
    alarms = 0
    for run in range(100):
        generator = np.random.default_rng([5, run])
        judged = [
            judge(gate, domain, pair, 0.95, interval=False)
            for domain in "abcd"
            for pair in [sums(generator, 25, 1.0)]
            for gate in gates
        ]
        alarms += overall_outcome(decide(judged, ALPHA)) is Outcome.FAIL
    assert binomtest(alarms, 100, ALPHA, "greater").pvalue > 1e-3


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
    passed = replace(near, outcome=Outcome.PASS)
    assert overall_outcome([silent, passed]) is Outcome.PASS


def test_where_no_gate_has_a_verdict_nothing_passed():
    silent = replace(
        without_figures(parse_gate("speedup:-1%"), "overall", 50), outcome=Outcome.NO_VERDICT
    )
    assert overall_outcome([silent, silent]) is Outcome.NO_VERDICT


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
    assert found.reason.startswith("there is no such figure now: no node was drafted")
    found = judge(parse_gate("acceptance_rate:-0"), "code", swapped(gone), 0.95)
    assert found.reason.startswith("there was no such figure before: no node was drafted")
    nothing = replace(pair, numerator_before=np.zeros(8))
    (found,) = decide([judge(parse_gate("acceptance_rate:-5%"), "code", nothing, 0.95)], ALPHA)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "the figure was 0 before" in found.reason
    assert "without %" in found.reason


@pytest.mark.parametrize("margin", ["0", "0.02"])
@pytest.mark.parametrize(("prompts", "expected"), [(1, "inconclusive"), (4, "inconclusive"),
                                                   (5, "pass"), (30, "pass")])  # fmt: skip
def test_so_few_prompts_that_nothing_could_show_do_not_pass_by_being_equal(
    margin, prompts, expected
):
    pair = sums(np.random.default_rng(6), prompts, 1.0)
    same = replace(pair, numerator_now=pair.numerator_before)
    gate = parse_gate(f"acceptance_rate:-{margin}")
    (found,) = decide([judge(gate, "code", same, 0.95)], ALPHA)
    assert str(found.outcome) == expected
    assert found.fewest == (0 if expected == "pass" else 5)


@pytest.mark.parametrize(
    ("prompts", "way", "fails"), [(5, "±", False), (6, "±", True), (4, "-", False), (5, "-", True)]
)
def test_the_fewest_prompts_that_can_fail_are_those_that_are_announced(prompts, way, fails):
    """Every prompt falls by the same share: nothing could be clearer."""
    below = np.full(prompts, 40.0)
    pair = PairedSums(
        numerator_before=0.9 * below,
        denominator_before=below,
        numerator_now=0.1 * below,
        denominator_now=below,
    )
    gate = parse_gate(f"block_efficiency:{way}0.01")
    (found,) = decide([judge(gate, "code", pair, 0.95)], ALPHA)
    assert found.outcome is (Outcome.FAIL if fails else Outcome.INCONCLUSIVE)
    assert (prompts >= fewest_to_fail(gate, ALPHA, 1)) == fails


def floor(text, rate, prompts, seed=0, nodes=40):
    generator = np.random.default_rng(seed)
    gate = parse_gate(text)
    below = np.full(prompts, float(nodes))
    own = np.clip(generator.normal(rate, 0.05 if 0 < rate < 1 else 0, prompts), 0, 1)
    above = generator.binomial(nodes, own).astype(float)
    pair = PairedSums.beside_bound(above, below, gate.bound)
    return decide([judge(gate, "code", pair, 0.95)], ALPHA)[0]


@pytest.mark.parametrize(
    ("text", "rate", "prompts", "expected"),
    [
        ("acceptance_rate:>=0.3", 0.5, 20, "pass"),
        ("acceptance_rate:>=0.3", 0.1, 20, "fail"),
        ("acceptance_rate:>=0.3", 0.3, 20, "inconclusive"),
        ("acceptance_rate:<=0.3", 0.5, 20, "fail"),
        ("acceptance_rate:<=0.3", 0.1, 20, "pass"),
        ("acceptance_rate:>=0.3", 0.5, 4, "inconclusive"),
        ("acceptance_rate:>=0.3", 0.0, 20, "fail"),
        ("acceptance_rate:>=0.3", 0.0, 4, "inconclusive"),
        ("acceptance_rate:>=0.9", 1.0, 20, "inconclusive"),
        ("acceptance_rate:>=0.9", 1.0, 40, "pass"),
        ("acceptance_rate:>=1", 1.0, 20, "pass"),
    ],
)
def test_a_floor_or_ceiling_is_judged_by_the_prompts_alone(text, rate, prompts, expected):
    found = floor(text, rate, prompts)
    assert str(found.outcome) == expected
    assert math.isnan(found.before)
    if prompts >= 6:
        low, high = found.interval_now
        assert 0 <= low <= found.now <= high <= 1
        assert (low, high) == pytest.approx(
            (found.change.low + found.gate.bound, found.change.high + found.gate.bound)
        )


def test_a_floor_at_the_figure_itself_fails_no_more_often_than_alpha():
    """300 runs of 20 prompts at a rate of .3: a right test exceeds the bound once in 1,000."""
    alarms = sum(
        floor("acceptance_rate:>=0.3", 0.3, 20, seed=[20, run]).outcome is Outcome.FAIL
        for run in range(300)
    )
    assert binomtest(alarms, 300, ALPHA, "greater").pvalue > 1e-3
    assert alarms > 0


def test_all_prompts_at_0_are_no_proof_of_a_rate_below_a_small_floor():
    """At a rate of .02, 8 prompts of 5 nodes are all 0 in 45% of the runs; 300 runs."""
    alarms = 0
    gate = parse_gate("acceptance_rate:>=0.02")
    below = np.full(8, 5.0)
    for run in range(300):
        above = np.random.default_rng([21, run]).binomial(5, 0.02, 8).astype(float)
        pair = PairedSums.beside_bound(above, below, gate.bound)
        found = judge(gate, "code", pair, 0.95, interval=False)
        alarms += decide([found], ALPHA)[0].outcome is Outcome.FAIL
    assert binomtest(alarms, 300, ALPHA, "greater").pvalue > 1e-3


@pytest.mark.parametrize(
    ("text", "figure", "prompts", "expected", "to_decide", "interval"),
    [
        # By hand: at a mean of .3 a prompt is at 0 with a chance of .7 at most; .7⁸ = .058, .7⁹ =
        # .040. What others may be: 1 − .025^(1/8) = .369 of them, up to 1.
        ("acceptance_rate:>=0.3", 0.0, 8, "inconclusive", 9, (0.0, 0.369)),
        ("acceptance_rate:>=0.3", 0.0, 9, "fail", None, (0.0, 0.336)),
        ("acceptance_rate:<=0.9", 1.0, 20, "inconclusive", 29, (0.832, 1.0)),
        # All at .5, where .3 may be the mean if 2 in 5 of others are at 0: .6⁵ = .078, .6⁶ = .047.
        ("acceptance_rate:>=0.3", 0.5, 6, "pass", None, (0.270, 0.730)),
        # Lengths lie between 0 and the depth 3, block efficiency between 1 and 4: (1 − .1 ÷ 3)⁶ and
        # (1 − .2 ÷ 3)⁶ are far above .05, and (1 − .5)⁶ is not.
        ("accepted_length:>=0.1", 0.0, 6, "inconclusive", 89, (0.0, 1.378)),
        ("block_efficiency:>=1.2", 1.0, 6, "inconclusive", 44, (1.0, 2.378)),
        ("accepted_length:>=1.5", 0.0, 6, "fail", None, (0.0, 1.378)),
    ],
)
def test_prompts_that_are_all_alike_leave_open_what_others_are(
    text, figure, prompts, expected, to_decide, interval
):
    gate = parse_gate(text)
    below = np.full(prompts, 20.0)
    pair = PairedSums.beside_bound(figure * below, below, gate.bound)
    (found,) = decide([judge(gate, "code", pair, 0.95, deepest=3)], ALPHA)
    assert str(found.outcome) == expected
    assert found.prompts_to_decide == to_decide
    assert found.interval_now == pytest.approx(interval, abs=5e-4)


def test_lengths_of_engines_that_nobody_knows_the_depth_of_are_not_bounded():
    gate = parse_gate("accepted_length:>=0.1")
    below = np.full(30, 20.0)
    pair = PairedSums.beside_bound(0 * below, below, gate.bound)
    (found,) = decide([judge(gate, "code", pair, 0.95)], ALPHA)
    assert (found.outcome, found.interval_now) == (Outcome.INCONCLUSIVE, None)
    assert found.prompts_to_decide is None
    assert found.reason.startswith("nothing says how far other prompts may be from these")


@pytest.mark.parametrize("prompts", [6, 7])
def test_one_change_in_all_of_too_few_prompts_is_decided_by_more_of_them(prompts):
    """Both ways in four domains need 8 prompts: the change is not near its margin."""
    full, gate = np.full(prompts, 20.0), parse_gate("acceptance_rate:-0.02")
    pair = PairedSums(
        numerator_before=full, denominator_before=full, numerator_now=0 * full, denominator_now=full
    )
    domains = ("code", "math", "logic", "chat")
    for found in decide([judge(gate, domain, pair, 0.95) for domain in domains], ALPHA):
        assert (found.outcome, found.prompts_to_decide) == (Outcome.INCONCLUSIVE, 8)


def test_a_level_that_no_number_of_prompts_reaches_is_told():
    assert fewest_prompts(1e-5) is None
    found = outcome("acceptance_rate:-1%", 0.2)
    assert decide([replace(found, outcome=Outcome.INCONCLUSIVE)], 1e-5)[0].fewest is None


def test_the_kind_of_prompts_that_a_sample_may_lack():
    """The chance that none of n prompts is of a kind is (1 − share)ⁿ."""
    for prompts in (1, 8, 50):
        assert (1 - unseen_kind(prompts)) ** prompts == pytest.approx(0.05)


def test_the_detectable_change_is_the_one_that_is_seen_four_times_in_five():
    """Normal differences, one-sided level .01; 200 runs of 60 prompts: 71% to 88%."""
    spread, prompts, level = 0.3, 60, 0.01
    error = spread / math.sqrt(prompts)
    fall = detectable(error, prompts, level)
    seen = 0
    for run in range(200):
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
    assert 0.71 <= seen / 200 <= 0.88
    assert math.isinf(detectable(error, 5, level))


def of_rates(gate, kept, of, *, interval=True):
    """What a floor says of prompts by how many of their nodes were kept."""
    kept, of = np.asarray(kept, float), np.asarray(of, float)
    pair = PairedSums.beside_bound(kept, of, gate.bound)
    noise = own_noise(kept, of, kept)
    found = judge(gate, "code", pair, 0.95, interval=interval, deepest=3, noise=noise)
    return decide([found], ALPHA)[0]


def test_prompts_that_are_nearly_alike_are_judged_as_such_that_are():
    """Worse figures, of which half the prompts have one node less, do not pass where better do."""
    gate, of = parse_gate("acceptance_rate_reached:>=0.9"), np.full(8, 60)
    alike = of_rates(gate, of, of)
    nearly = of_rates(gate, [60] * 4 + [59] * 4, of)
    assert (alike.outcome, nearly.outcome) == (Outcome.INCONCLUSIVE, Outcome.INCONCLUSIVE)
    assert nearly.p_pass >= alike.p_pass
    assert nearly.interval_now[0] <= alike.interval_now[0]
    assert nearly.reason.startswith("these prompts differ by no more than chance")
    assert nearly.prompts_to_decide == pytest.approx(alike.prompts_to_decide, abs=3)
    # Where prompts differ by more than chance, they say themselves how far others may be.
    differing = of_rates(gate, [60, 54, 60, 50, 60, 59, 52, 60] * 8, np.full(64, 60))
    assert differing.outcome is Outcome.PASS
    assert differing.reason == ""


@pytest.mark.parametrize(
    ("text", "usual", "hard", "share"),
    [
        ("acceptance_rate_reached:>=0.95", 0.99, 0.3, 0.06),
        ("acceptance_rate_reached:>=0.95", 0.99, 0.3, 0.15),
        ("acceptance_rate:<=0.05", 0.01, 0.9, 0.10),
    ],
)
@pytest.mark.parametrize("prompts", [6, 12, 25])
def test_a_kind_of_prompt_that_is_missing_lets_no_floor_pass(text, usual, hard, share, prompts):
    """The mean is beyond the bound by a few hard prompts; 200 samples, most of them without one."""
    gate, passed = parse_gate(text), 0
    for run in range(200):
        generator = np.random.default_rng([4, prompts, run])
        rate = np.where(generator.random(prompts) < share, hard, usual)
        kept = generator.binomial(60, rate)
        found = of_rates(gate, kept, np.full(prompts, 60), interval=False)
        passed += found.outcome is Outcome.PASS
    assert binomtest(passed, 200, ALPHA, "greater").pvalue > 1e-3


def test_floors_below_what_all_prompts_have_are_passed_by_enough_of_them():
    gate = parse_gate("acceptance_rate_reached:>=0.8")
    kept = np.random.default_rng(0).binomial(60, 0.9, 40)
    assert of_rates(gate, kept[:8], np.full(8, 60)).outcome is Outcome.INCONCLUSIVE
    assert of_rates(gate, kept, np.full(40, 60)).outcome is Outcome.PASS
