"""Gates on time: medians of paired ratios, and silence where noise is larger than the margin."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from draftproof.gate import Outcome, compare, judge_alone, measured_run, parse_gate
from draftproof.gate.judging import decide
from draftproof.gate.timing import judge_speed
from draftproof.statistics.costs import costs
from draftproof.statistics.resampling import Resampling

GATE = parse_gate("speedup:-10%")


def speeds(factor, noise, prompts=50, seed=0):
    """Speedups of two runs: a prompt's own, times log-normal noise of the clock."""
    generator = np.random.default_rng(seed)
    own = generator.uniform(1.2, 2.5, prompts)
    return [own * f * np.exp(generator.normal(0, noise, prompts)) for f in (1.0, factor)]


def judged(factor, noise, **more):
    return decide([judge_speed(GATE, "overall", *speeds(factor, noise, **more), 0.95)], 0.05)[0]


def test_a_slowdown_beyond_the_margin_fails_and_none_passes():
    assert judged(0.7, 0.05).outcome is Outcome.FAIL
    assert judged(1.0, 0.05).outcome is Outcome.PASS
    assert judged(1.5, 0.05).outcome is Outcome.PASS


def test_noise_larger_than_the_margin_gives_a_warning_and_no_verdict():
    found = judged(0.7, 1.0)
    assert found.outcome is Outcome.NO_VERDICT
    assert "is larger than the margin (10.0%)" in found.reason
    few = judged(0.7, 0.01, prompts=3)
    assert few.outcome is Outcome.NO_VERDICT
    assert few.reason == "3 paired ratios do not bound their median; at least 6 are needed"


@pytest.mark.parametrize(("prompts", "noise"), [(12, 0.4), (24, 0.45), (50, 0.5), (5, 0.01)])
def test_a_slowdown_beyond_all_noise_fails_although_the_noise_is_large(prompts, noise):
    found = judged(0.4, noise, prompts=prompts, seed=3)
    assert found.change.high - found.change.low > 2 * 0.1 or prompts < 6
    assert found.change.high < -0.1 or prompts < 6
    assert found.outcome is Outcome.FAIL
    assert found.reason == ""


def test_noise_alone_fails_no_more_often_than_alpha_and_passes_never():
    found = [judged(0.9, 0.6, prompts=12, seed=[2, run]) for run in range(300)]
    assert {each.outcome for each in found} == {Outcome.FAIL, Outcome.NO_VERDICT}
    fails = sum(each.outcome is Outcome.FAIL for each in found)
    assert binomtest(fails, 300, 0.05, "greater").pvalue > 1e-3


def test_the_change_is_the_median_of_paired_ratios():
    before = np.array([1.0, 2.0, 4.0, 2.0, 3.0, 1.0, 2.0])
    now = before * np.array([0.9, 0.95, 1.0, 1.05, 1.1, 0.2, 9.0])
    found = judge_speed(GATE, "overall", before, now, 0.95)
    assert found.change.value == pytest.approx(0.0)
    assert found.prompts == 7


def test_false_alarms_at_the_margin_are_at_most_alpha():
    """A fall of exactly the margin, 25 prompts, 300 comparisons at α = .05."""
    alarms = 0
    for run in range(300):
        before, now = speeds(0.9, 0.08, prompts=25, seed=[1, run])
        found = judge_speed(GATE, "overall", before, now, 0.95)
        alarms += found.p_fail <= 0.05
    assert binomtest(alarms, 300, 0.05, "greater").pvalue > 1e-3
    assert alarms > 0


def timed(cases, slowdown=1.0, seed=0, first=1.0):
    """The run with seconds; the first case of a run is slower by `first`."""
    generator = np.random.default_rng(seed)
    made = []
    for index, case in enumerate(cases):
        noise = np.exp(generator.normal(0, 0.01, 2)) * (first if index == 0 else 1.0)
        plain = replace(case.plain, seconds=0.05 * len(case.plain.token_ids) * noise[0])
        tokens = len(case.speculative.token_ids)
        seconds = 0.02 * tokens * slowdown * noise[1]
        speculative = replace(case.speculative, seconds=seconds)
        made.append(replace(case, plain=plain, speculative=speculative))
    return made


def test_speedups_of_saved_runs_are_judged_on_one_machine_only(cases, run):
    before = measured_run("before", run, timed(cases))
    slow = measured_run("now", run, timed(cases, 1.5, seed=1))
    found = compare(before, slow, [GATE])
    assert found.outcome is Outcome.FAIL
    assert found.judgements[0].change.value == pytest.approx(1 / 1.5 - 1, abs=0.02)
    elsewhere = replace(run, hardware={**run.hardware, "cpu": "Another CPU"})
    found = compare(before, replace(slow, run=elsewhere), [GATE])
    assert found.judgements[0].outcome is Outcome.NO_VERDICT
    assert "another machine (cpu: Example CPU → Another CPU)" in found.judgements[0].reason
    assert found.outcome is Outcome.NO_VERDICT


def test_plain_decoding_is_the_clock_of_saved_runs(cases, run):
    """A machine that is twice as slow for everything has the same speedup."""
    before = measured_run("before", run, timed(cases))
    now = measured_run("now", run, timed(cases, seed=1))
    twice = {name: column * (2 if "seconds" in name else 1) for name, column in now.seconds.items()}
    assert compare(before, replace(now, seconds=twice), [GATE]).outcome is Outcome.PASS


def test_runs_measured_in_turn_compare_speculative_seconds(cases, run):
    before = measured_run("before", run, timed(cases))
    now = measured_run("now", run, timed(cases, 1.5, seed=1))
    noisy_plain = {**now.seconds, "plain_seconds": now.seconds["plain_seconds"] * 3}
    found = compare(before, replace(now, seconds=noisy_plain), [GATE], alternated=True)
    assert found.outcome is Outcome.FAIL
    assert found.judgements[0].change.value == pytest.approx(1 / 1.5 - 1, abs=0.02)


def test_every_case_is_timed_and_a_slow_first_one_does_not_decide(cases, run):
    """Which case began a run is not known of cases that ended in any order."""
    slow = measured_run("before", run, timed(cases, first=100.0))
    now = measured_run("now", run, timed(cases))
    for before, later in ((slow, now), (now, slow)):
        found = compare(before, later, [GATE])
        assert found.judgements[0].prompts == len(cases)
        assert found.outcome is Outcome.PASS


def test_a_floor_of_the_speedup_needs_no_earlier_run(cases, run):
    """2.5 × in every case, within the clock's noise."""
    now = measured_run("now", run, timed(cases))
    for text, expected in (
        ("speedup:>=2", Outcome.PASS),
        ("speedup:>=3", Outcome.FAIL),
        ("speedup:>=2.5", Outcome.INCONCLUSIVE),
        ("speedup:<=2", Outcome.FAIL),
    ):
        found = judge_alone(now, [parse_gate(text)])
        (judgement,) = found.judgements
        assert found.outcome is expected
        assert judgement.now == pytest.approx(2.5, rel=0.01)
        low, high = judgement.interval_now
        assert low < judgement.now < high
    unknown = {**now.seconds, "plain_seconds": np.full(len(cases), np.nan)}
    found = judge_alone(replace(now, seconds=unknown), [parse_gate("speedup:>=2")])
    assert found.outcome is Outcome.NO_VERDICT
    assert "no case has seconds of both outputs that can be compared" in found.judgements[0].reason


def test_every_case_is_timed_in_gates_and_in_reports_alike(cases, run):
    """What is done only once is done before the first case, so no case is left out."""
    now = timed(cases)
    found = compare(
        measured_run("before", run, timed(cases)), measured_run("now", run, now), [GATE]
    )
    _, overall = costs(now, sorted({case.domain for case in now}), Resampling(resamples=20))
    assert found.judgements[0].prompts == overall.prompts == len(cases)


def test_seconds_of_two_spans_are_not_compared(cases, run):
    """Prefill is in the speculative seconds alone: no speedup, and no verdict on one."""
    wrong = [
        replace(
            case,
            plain=replace(case.plain, untold_seconds=0.1 * case.plain.seconds),
            speculative=replace(case.speculative, untold_seconds=0.0),
        )
        for case in timed(cases)
    ]
    now = measured_run("now", run, wrong)
    found = compare(measured_run("before", run, timed(cases)), now, [GATE])
    assert found.judgements[0].outcome is Outcome.NO_VERDICT
    assert "no case has seconds that can be compared" in found.judgements[0].reason
    # Speculative seconds stand on their own: they are compared with speculative seconds.
    before = measured_run("before", run, timed(cases))
    assert compare(before, now, [GATE], alternated=True).outcome is Outcome.PASS
