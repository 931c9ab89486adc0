"""The five findings: as published, shuffled, contradicted, and judged no harder than they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from study_traces import PUBLISHED, shuffled, study_run

from draftproof.statistics import Finding, FindingVerdict, Resampling, study, summarise
from draftproof.statistics.findings import PUBLISHED as PUBLISHED_RATES
from draftproof.statistics.findings import PUBLISHED_LENGTHS, findings

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


def parts(finding):
    return [(part.verdict, part.decides) for part in finding.parts]


def test_the_second_finding_is_judged_by_the_studys_own_sum(as_published):
    found = study(as_published, FEW).findings[1]
    # .565 + .565² + .565³, as the study prints it for chat; the others by the same sum.
    expected = {"chat": 1.065, "code": 0.983, "logic": 0.966, "math": 0.925}
    for domain, length in expected.items():
        assert found.estimates[domain].value == pytest.approx(length, abs=0.002)
        assert PUBLISHED_LENGTHS[domain] == pytest.approx(length, abs=0.0005)
    assert "Σ αᵈ to depth 3" in found.evidence
    # Along first children, whose acceptance goes together, chat has more than two tokens a step.
    first_child = summarise(as_published, FEW).domains["chat"].metrics
    assert first_child["first_child_expected_length"].value != pytest.approx(1.065, abs=0.01)
    assert first_child["study_expected_length"].value == found.estimates["chat"].value


def test_of_trees_of_another_depth_the_second_finding_says_so():
    cases = [
        replace(
            case,
            nodes={name: column[case.nodes["depth"] < 3] for name, column in case.nodes.items()},
            steps={
                **case.steps,
                "depth": np.minimum(case.steps["depth"], 2),
                "accepted_length": np.minimum(case.steps["accepted_length"], 2),
            },
        )
        for case in study_run(prompts=6, steps=4)
    ]
    found = study(cases, FEW).findings[1]
    alpha = summarise(cases, FEW).domains["chat"].metrics["acceptance_probability"].value
    assert found.estimates["chat"].value == pytest.approx(alpha + alpha**2)
    assert "to depth 2" in found.evidence
    assert "the study's trees have depth 3" in found.evidence


def test_task_over_depth_is_resolved_by_itself_where_no_rise_is():
    flat = study_run(figures(all={"rise": 0.0}), prompts=20, steps=12, between=0.02)
    found = study(flat, FEW).findings[2]
    assert parts(found) == [(CONFIRMED, True), (OPEN, True), (REFUTED, False)]
    assert found.verdict == OPEN
    falls = study(study_run(figures(all={"rise": -0.03}), prompts=20, steps=12), FEW).findings[2]
    assert falls.parts[1].verdict == REFUTED == falls.verdict


@pytest.mark.parametrize(
    ("rho", "said"),
    [
        (-0.06, "confirmed in words, the study's range refuted"),
        (-0.175, "confirmed in words, the study's range not resolved"),
        (0.2, "refuted"),
    ],
)
def test_a_finding_that_holds_in_words_says_what_the_studys_range_does(rho, said):
    found = study(study_run(figures(all={"rho": rho}), prompts=20, steps=24), FEW).findings
    assert found[3].said == said
    assert found[0].said == str(found[0].verdict)


def test_alone_or_given_the_other_is_one_question(as_published):
    answer = study(as_published, FEW).task_or_depth
    information = {name: each.value for name, each in answer.information.items()}
    assert information["domain"] - information["depth"] == pytest.approx(
        information["domain_given_depth"] - information["depth_given_domain"], abs=1e-6
    )


def test_sign_weakness_and_the_studys_range_are_judged_apart():
    weaker = study(study_run(figures(logic={"rho": -0.05}), prompts=20, steps=12), FEW).findings[3]
    assert parts(weaker) == [(CONFIRMED, True), (CONFIRMED, True), (REFUTED, False)]
    assert weaker.verdict == CONFIRMED
    stronger = study(study_run(figures(logic={"rho": -0.5}), prompts=20, steps=12), FEW)
    assert parts(stronger.findings[3])[:2] == [(CONFIRMED, True), (REFUTED, True)]


class Judge:
    """A finding that is resolved where its error is at least so much."""

    def __init__(self, number, p_value):
        self.number, self.p_value, self.errors = number, p_value, []

    def __call__(self, evidence, error):
        self.errors.append(error)
        verdict = CONFIRMED if self.p_value <= error else OPEN
        return Finding(number=self.number, claim="", verdict=verdict, evidence="")


def test_a_runs_verdicts_share_their_error_by_holms_method(monkeypatch):
    # Holm at 5%: .001 ≤ .05/5, .011 ≤ .05/4, .02 > .05/3; none of the rest is looked at again.
    judges = [Judge(n, p) for n, p in enumerate([0.011, 0.02, 0.001, 0.5, 0.03], start=1)]
    monkeypatch.setattr("draftproof.statistics.findings._JUDGES", tuple(judges))
    found = findings(None)
    assert [finding.verdict for finding in found] == [CONFIRMED, OPEN, CONFIRMED, OPEN, OPEN]
    assert judges[0].errors == [0.05 / 5, 0.05 / 4]
    assert judges[1].errors == [0.05 / 5, 0.05 / 4, 0.05 / 3]
    assert judges[2].errors == [0.05 / 5]


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
    assert [f.number for f in few if "not estimable" in f.evidence] == [1, 2, 3, 4, 5]
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
