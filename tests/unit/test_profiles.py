"""Costs, accepted lengths and the entropy profile against sums written out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from study_traces import study_run

from draftproof.statistics import Resampling, prompt_sums
from draftproof.statistics.costs import costs
from draftproof.statistics.entropy_profile import ENTROPY_EDGES, entropy_profile
from draftproof.statistics.lengths import length_histogram
from draftproof.trace import DecodedOutput, Verdict

DOMAINS = ("chat", "code", "logic", "math")
FEW = Resampling(resamples=300)


@pytest.fixture(scope="module")
def cases():
    return study_run(prompts=12, steps=10, between=0.05)


def timed(case, plain, speculative, plain_tokens=10, speculative_tokens=10):
    """The case with these seconds and tokens."""

    def output(seconds, tokens):
        return DecodedOutput(token_ids=(1,) * tokens, stop_reason="length", seconds=seconds)

    return replace(
        case,
        plain=output(plain, plain_tokens),
        speculative=output(speculative, speculative_tokens),
    )


def test_speedup_is_the_ratio_of_pooled_seconds_a_token(cases):
    code = [case for case in cases if case.domain == "code"][:6]
    math_ = [case for case in cases if case.domain == "math"][:6]
    seconds = [(1.0, 0.5), (2.0, 0.5), (3.0, 1.0), (4.0, 2.0), (5.0, 5.0), (6.0, 3.0)]
    run = [timed(case, *s, 10, 20) for case, s in zip(code, seconds, strict=True)]
    run += [timed(case, 1.0, 2.0) for case in math_]
    by_domain, overall = costs(run, ("code", "math"), FEW)
    found = by_domain["code"]
    assert found.prompts == found.speedup.n == 6
    assert found.plain.value == pytest.approx(21 / 60)
    assert found.speculative.value == pytest.approx(12 / 120)
    assert found.speedup.value == pytest.approx((21 / 60) / (12 / 120))
    assert found.speedup.low < found.speedup.value < found.speedup.high
    assert by_domain["math"].speedup.value == pytest.approx(0.5)
    assert math.isnan(by_domain["math"].speedup.low)
    assert "alike" in by_domain["math"].speedup.reason
    assert overall.speedup.value == pytest.approx((27 / 120) / (24 / 180))
    drafting = sum(float(case.steps["draft_seconds"].astype(float).sum()) for case in run[:6])
    assert found.draft_share == pytest.approx(drafting / 12)


def test_costs_leave_out_what_has_no_two_outputs_and_say_so(cases):
    one = timed(cases[0], 1.0, 1.0)
    run = [
        replace(one, case_id="no plain output", plain=None),
        replace(one, case_id="in error", verdict=Verdict.ERROR),
        timed(replace(one, case_id="no seconds"), 0.0, 1.0),
        timed(replace(one, case_id="no tokens"), 1.0, 1.0, plain_tokens=0),
    ]
    by_domain, overall = costs(run, (one.domain,), FEW)
    for found in (by_domain[one.domain], overall):
        assert found.prompts == 0
        assert math.isnan(found.speedup.value)
        assert "no case has both outputs" in found.speedup.reason
        assert math.isnan(found.draft_share)


def test_intervals_of_the_speedup_cover_it():
    """200 simulated runs of 30 prompts: 95% intervals hold the truth in 90% to 99% of them.

    A right method is outside that range once in a thousand.
    """
    base = study_run(prompts=30, steps=1)[:30]
    held, truth = 0, 1.6
    for seed in range(200):
        generator = np.random.default_rng([11, seed])
        pace = generator.gamma(20, 1 / 20, 30)
        noise = generator.gamma(40, 1 / 40, (2, 30))
        run = [
            timed(case, float(truth * pace[i] * noise[0, i]), float(pace[i] * noise[1, i]))
            for i, case in enumerate(base)
        ]
        found = costs(run, ("chat",), Resampling(resamples=400, seed=seed))[1].speedup
        held += found.low <= truth <= found.high
    assert 180 <= held <= 198


def test_lengths_are_shares_of_steps(cases):
    found = length_histogram(prompt_sums(cases), DOMAINS, FEW)
    groups = {**{d: [c for c in cases if c.domain == d] for d in DOMAINS}, "overall": cases}
    for name, group in groups.items():
        lengths = np.concatenate([case.steps["accepted_length"] for case in group])
        shares = found.overall if name == "overall" else found.domains[name]
        assert len(shares) == 4
        for length, share in enumerate(shares):
            assert share.n == len(lengths)
            assert share.value == pytest.approx((lengths == length).mean(), abs=1e-12)
            assert share.low <= share.value <= share.high


def test_the_entropy_profile_is_a_mean_by_range(cases):
    cases = [*cases]
    nodes = dict(cases[0].nodes)
    nodes["acceptance_probability"] = nodes["acceptance_probability"].copy()
    nodes["acceptance_probability"][:5] = np.nan
    cases[0] = replace(cases[0], nodes=nodes)
    failed = replace(cases[1], case_id="in error", verdict=Verdict.ERROR)
    found = entropy_profile([*cases, failed], DOMAINS, FEW)
    for domain in DOMAINS:
        group = [case for case in cases if case.domain == domain]
        entropy = np.concatenate([case.nodes["draft_entropy"] for case in group]).astype(float)
        value = np.concatenate([case.nodes["acceptance_probability"] for case in group])
        known = ~np.isnan(value)
        assert sum(part.acceptance_probability.n for part in found[domain]) == known.sum()
        for part in found[domain]:
            inside = known & (entropy >= part.low) & (entropy < part.high)
            assert part.low in ENTROPY_EDGES
            assert part.acceptance_probability.n == inside.sum()
            assert part.acceptance_probability.value == pytest.approx(value[inside].mean())
            assert part.draft_entropy == pytest.approx(entropy[inside].mean())


def test_a_domain_without_measured_cases_has_an_empty_profile(cases):
    assert entropy_profile(cases[:3], ("chat", "code"), FEW)["code"] == ()
