"""The order of domains, and acceptance early and late."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from study_traces import PROMPT_TOKENS, PUBLISHED, study_run

from draftproof.statistics import METRICS, Resampling, prompt_sums
from draftproof.statistics.ordering import domain_order
from draftproof.statistics.positions import position_profile

ACCEPTANCE = METRICS[0]
FEW = Resampling(resamples=2000)
DOMAINS = ("code", "math", "logic", "chat")


def order_of(cases, domains=DOMAINS):
    return domain_order(prompt_sums(cases), ACCEPTANCE, domains, FEW)


def test_clear_differences_give_one_order():
    found = order_of(study_run(prompts=8, steps=4))
    assert found.probabilities == ((("chat", "code", "logic", "math"), 1.0),)
    assert found.probability(("chat", "code", "logic", "math")) == 1.0
    assert found.probability(("math", "code", "logic", "chat")) == 0.0
    assert found.above["chat", "math"] == 1.0
    assert found.above["math", "chat"] == 0.0


def test_a_pairs_share_is_the_normal_probability_of_its_difference():
    figures = dict.fromkeys(("code", "math"), PUBLISHED["code"])
    cases = study_run(figures, prompts=40, steps=4, between=0.1, seed=2)
    sums = prompt_sums(cases)
    found = order_of(cases, ("code", "math"))
    rates = {
        d: (sums.totals["acceptance_probability"] / sums.totals["known_nodes"])[
            [i for i, name in enumerate(sums.domains) if name == d]
        ]
        for d in ("code", "math")
    }
    difference = rates["code"].mean() - rates["math"].mean()
    error = math.sqrt(sum(r.var(ddof=1) / len(r) for r in rates.values()))
    expected = scipy.stats.norm.cdf(difference / error)
    assert found.above["code", "math"] == pytest.approx(expected, abs=0.04)
    assert sum(share for _, share in found.probabilities) == pytest.approx(1)


def test_domains_of_the_same_prompts_have_no_order_that_is_likely():
    code = [case for case in study_run(prompts=12, steps=2, between=0.1) if case.domain == "code"]
    cases = [
        replace(case, case_id=f"{domain}/{case.case_id}", domain=domain)
        for domain in DOMAINS
        for case in code
    ]
    found = order_of(cases)
    assert len(found.probabilities) == 24
    # 2,000 resamples: 6 standard errors of a share of 1/24 are 2.7 points.
    assert max(share for _, share in found.probabilities) < 0.07
    assert found.above["chat", "math"] == pytest.approx(0.5, abs=0.07)


def test_prompts_that_are_all_alike_have_no_order():
    cases = [
        replace(
            case,
            nodes={
                **case.nodes,
                "acceptance_probability": np.ones_like(case.nodes["draft_entropy"]),
            },
        )
        for case in study_run(prompts=6, steps=2)
    ]
    assert "alike" in order_of(cases).reason


def test_an_order_of_few_prompts_is_no_surer_than_students_t():
    """Two domains of 5 prompts whose means differ by 3 standard errors of their difference."""
    cases = []
    for case in study_run(prompts=5, steps=1):
        if case.domain in ("code", "math"):
            alpha = 0.5 + 0.02 * (int(case.case_id[-3:]) - 2) + 0.06 * (case.domain == "code")
            values = np.full_like(case.nodes["acceptance_probability"], alpha)
            cases.append(replace(case, nodes={**case.nodes, "acceptance_probability": values}))
    found = domain_order(
        prompt_sums(cases), ACCEPTANCE, ("code", "math"), Resampling(resamples=20_000)
    )
    # Student's t on 8 degrees of freedom is above 3 with a chance of .9%, the normal of .13%.
    assert 0.005 < found.above["math", "code"] < 0.03


def test_too_few_prompts_have_no_order_and_a_reason():
    found = order_of(study_run(prompts=3, steps=2))
    assert "needs 5 prompts" in found.reason
    assert math.isnan(found.probability(DOMAINS))
    assert order_of([], ()).reason


def positions_of(cases):
    return position_profile(cases, DOMAINS, FEW)


def test_positions_count_from_the_prompts_end():
    case = study_run(prompts=1, steps=3)[0]
    nodes = {name: column.copy() for name, column in case.nodes.items()}
    nodes["acceptance_probability"][:] = 0.25
    nodes["position"][:] = PROMPT_TOKENS + 16
    nodes["position"][:10] = PROMPT_TOKENS + 17
    nodes["acceptance_probability"][:10] = 0.75
    found = positions_of([replace(case, nodes=nodes)])
    assert [(r.first, r.last, r.acceptance_probability.value) for r in found.ranges] == [
        (1, 16, 0.25),
        (17, 32, 0.75),
    ]
    assert [r.acceptance_probability.n for r in found.ranges] == [32, 10]
    nodes["position"][:10] = PROMPT_TOKENS + 10_000
    assert positions_of([replace(case, nodes=nodes)]).ranges[-1].last is None


def test_late_is_the_second_half_of_each_output():
    cases = []
    for case in study_run(prompts=6, steps=6):
        length = len(case.speculative.token_ids)
        late = 2 * (case.nodes["position"] - PROMPT_TOKENS) >= length
        alpha = np.where(late, 0.75, 0.5).astype(np.float32)
        cases.append(replace(case, nodes={**case.nodes, "acceptance_probability": alpha}))
    found = positions_of(cases)
    assert (found.early.value, found.late.value) == (0.5, 0.75)
    assert found.late_minus_early.value == pytest.approx(0.25)
    assert found.early.n + found.late.n == found.late_minus_early.n == 24 * 6 * 14


def test_cases_without_an_output_are_left_out_and_none_is_a_reason():
    cases = [replace(case, speculative=None) for case in study_run(prompts=5, steps=2)]
    found = positions_of(cases)
    assert found.ranges == ()
    assert math.isnan(found.late_minus_early.value)
    assert found.late_minus_early.reason
