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


def test_equal_figures_count_for_every_order_alike():
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
    found = order_of(cases)
    assert len(found.probabilities) == 24
    assert max(share for _, share in found.probabilities) < 2 / 24
    assert found.above["chat", "math"] == 0.5


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
