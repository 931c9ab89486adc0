"""The five findings: as published, shuffled, contradicted, and judged no harder than they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from study_traces import PUBLISHED, shuffled, study_run

from draftproof.statistics import FindingVerdict, Resampling, study
from draftproof.statistics.findings import PUBLISHED as PUBLISHED_RATES

CONFIRMED, REFUTED, OPEN = FindingVerdict
FEW = Resampling(resamples=2000)


def verdicts(cases):
    return [finding.verdict for finding in study(cases, FEW).findings]


@pytest.fixture(scope="module")
def as_published():
    return study_run()


def test_the_published_figures_confirm_all_five_findings(as_published):
    found = study(as_published, FEW)
    assert sum(len(case.nodes["step"]) for case in as_published) == 100_800
    for domain, rate in PUBLISHED_RATES.items():
        assert found.findings[0].estimates[domain].value == pytest.approx(rate, abs=0.0005)
    assert [finding.verdict for finding in found.findings] == [CONFIRMED] * 5
    assert [finding.number for finding in found.findings] == [1, 2, 3, 4, 5]
    assert 0.011 <= found.task_or_depth.depth_rise.value <= 0.021
    for domain, wanted in PUBLISHED.items():
        assert found.entropy_correlation[domain].value == pytest.approx(wanted.rho, abs=0.02)


def test_shuffled_nothing_is_resolved(as_published):
    assert verdicts(shuffled(as_published)) == [OPEN] * 5


def test_shuffled_runs_are_hardly_ever_resolved_and_never_confirmed():
    found = [
        verdict
        for seed in range(6)
        for verdict in verdicts(
            shuffled(study_run(prompts=20, steps=8, between=0.1, seed=seed), seed)
        )
    ]
    assert CONFIRMED not in found
    # Each finding is refuted wrongly at most one time in twenty: over 4 of 30 has a chance of 2%.
    assert found.count(REFUTED) <= 4


def test_prompts_that_differ_as_real_ones_do_leave_the_order_open():
    # The same published means; what the study's 99,768 independent nodes hide.
    found = verdicts(study_run(between=0.1, seed=3))
    assert found[0] == OPEN
    assert found[1] == OPEN


def figures(**changes):
    return {
        name: replace(PUBLISHED[name], **changes.get(name, {}), **changes.get("all", {}))
        for name in PUBLISHED
    }


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (1, {"math": {"acceptance": 0.60}}),
        (2, {"chat": {"acceptance": 0.50}}),
        (2, {"code": {"acceptance": 0.62}}),
        (3, {"all": {"rise": -0.03}}),
        (3, {"all": {"rise": 0.35, "acceptance": 0.5}}),
        (4, {"logic": {"rho": 0.2}}),
        (4, {"logic": {"rho": -0.5}}),
        (5, {"logic": {"entropy": 3.5}}),
        (5, {"logic": {"acceptance": 0.62}}),
    ],
)
def test_figures_that_contradict_a_finding_refute_it(number, changes):
    cases = study_run(figures(**changes), prompts=20, steps=12)
    assert verdicts(cases)[number - 1] == REFUTED


def test_runs_without_the_four_domains_have_no_findings(as_published):
    assert study([c for c in as_published if c.domain != "logic"], FEW).findings == ()
    assert study([], FEW).findings == ()


def test_findings_are_about_the_four_domains_whatever_others_there_are():
    cases = study_run(prompts=6, steps=4)
    own = [
        replace(case, case_id=f"own/{case.case_id}", domain="own")
        for case in cases
        if case.domain == "chat"
    ]
    alone, beside = study(cases, FEW), study([*cases, *own], FEW)
    assert alone.findings == beside.findings
    assert "own" in beside.draft_entropy


def test_too_few_prompts_and_no_draft_model_are_not_resolved_with_a_reason():
    few = study(study_run(prompts=2, steps=2), FEW).findings
    assert {finding.verdict for finding in few} <= {OPEN}
    # Lengths of 2 prompts have intervals, by Student's t; resampling 2 prompts says nothing.
    assert [f.number for f in few if "not estimable" in f.evidence] == [1, 3, 4, 5]
    blind = [
        replace(
            case,
            nodes={
                **case.nodes,
                **{
                    name: np.full_like(case.nodes[name], np.nan)
                    for name in ("acceptance_probability", "draft_entropy", "draft_probability")
                },
            },
        )
        for case in study_run(prompts=6, steps=2)
    ]
    found = study(blind, FEW).findings
    assert [finding.verdict for finding in found] == [OPEN] * 5
    assert all("not estimable" in finding.evidence for finding in found)


def test_the_order_of_cases_does_not_matter():
    cases = study_run(prompts=5, steps=2)
    assert repr(study(cases[::-1], FEW)) == repr(study(cases, FEW))


def test_a_correlation_about_as_strong_as_the_bound_is_not_resolved():
    cases = study_run(figures(logic={"rho": -0.3}), prompts=20, steps=12)
    assert verdicts(cases)[3] == OPEN
