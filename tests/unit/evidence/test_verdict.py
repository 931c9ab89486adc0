"""One decision: the prior, the mixture, the verdicts, and what could have been caught."""

import dataclasses
import functools
import json
import math

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from draftproof.errors import UsageError
from draftproof.lossless.evidence import (
    DeclaredRule,
    Evidence,
    EvidenceMeter,
    Observation,
    Reading,
    Site,
    Stream,
    log_e_value,
)
from draftproof.lossless.evidence.alternatives import (
    ALTERNATIVES,
    DRAFTS_LAW,
    EVERYWHERE,
    STATED_FAULTS,
)
from draftproof.lossless.evidence.decision import (
    SCOPES,
    components,
    pointers,
    power_thresholds,
    prior,
    tilt_prior,
)
from draftproof.lossless.evidence.observation import STREAMS
from draftproof.lossless.evidence.power import probability_caught, smallest_contamination
from draftproof.lossless.evidence.process import SHARES
from draftproof.lossless.evidence.verdict import LawVerdict, judge

P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.7, 0.1])
KEPT, LEFT = np.minimum(P, Q), np.maximum(P - Q, 0)


@functools.cache
def one_token(token, site=Site.UNKNOWN, rule=DeclaredRule.REJECTION):
    meter = EvidenceMeter(rule)
    meter.observe(Observation(target=P, draft=Q, token=token, site=site))
    return meter.evidence


def repeated(single, count):
    """The evidence of the same token some times over: sums are all there is."""
    return Evidence(
        **{
            field.name: np.where(count > 0, getattr(single, field.name), 0) * count
            for field in dataclasses.fields(Evidence)
        }
    )


def case(seed, rows, tokens=60, rule=DeclaredRule.REJECTION):
    """One case whose drafted positions have the law `rows`: [kept, rejected] × tokens."""
    counts = np.random.default_rng(seed).multinomial(tokens, np.concatenate(rows))
    sites = [Site.ACCEPTED] * 3 + [Site.CORRECTION] * 3
    parts = [
        repeated(one_token(outcome % 3, site, rule), int(count))
        for outcome, (site, count) in enumerate(zip(sites, counts, strict=True))
    ]
    return sum(parts, Evidence.none())


def plain(seed, law, tokens=60):
    """One case of tokens of which nothing but themselves is known."""
    counts = np.random.default_rng(seed).multinomial(tokens, law)
    parts = [repeated(one_token(token), int(count)) for token, count in enumerate(counts)]
    return sum(parts, Evidence.none())


LOSSLESS = (KEPT, LEFT)
INVERTED = (Q * np.minimum(1, Q / P), (1 - (Q * np.minimum(1, Q / P)).sum()) * LEFT / LEFT.sum())
MATCH = (P * Q, P * (1 - Q))


def test_names_are_distinct():
    names = [alternative.name for alternative in ALTERNATIVES]
    assert len(set(names)) == len(names)


def test_the_prior_adds_up_to_1_and_is_even_over_kinds():
    weights = prior()
    assert weights.sum() + tilt_prior().sum() == pytest.approx(1, abs=1e-12)
    assert (tilt_prior() > 0).all()
    assert (weights >= 0).all()
    for scope in range(len(SCOPES)):
        by_kind = {}
        for alternative, weight in zip(ALTERNATIVES, weights[scope].sum(axis=1), strict=True):
            by_kind[alternative.kind] = by_kind.get(alternative.kind, 0) + weight
        positive = [weight for weight in by_kind.values() if weight > 0]
        np.testing.assert_allclose(positive, positive[0])
    elsewhere = [a.streams != EVERYWHERE for a in ALTERNATIVES]
    assert (weights[1:, elsewhere] == 0).all()


def test_no_token_no_evidence():
    assert log_e_value(Evidence.none()) == 0
    verdict = judge([])
    assert verdict.verdict is LawVerdict.NOT_TESTED
    assert verdict.contamination is None


def test_the_e_value_is_the_weighted_average_over_components():
    found = case(0, INVERTED, tokens=20)
    parts = components(found, Reading.DECLARED)
    assert log_e_value(found) == pytest.approx(
        float(logsumexp([*parts.named.ravel(), *parts.tilts.ravel()]))
    )
    for view, stream in enumerate((Stream.DRAFTED, Stream.DRAFTED_TOKEN)):
        drafted = found.log_ratios[STREAMS.index(stream), DRAFTS_LAW, 1]
        weight = prior()[0, DRAFTS_LAW, 1] / 2
        assert parts.named[view, 0, DRAFTS_LAW, 1] == pytest.approx(math.log(weight) + drafted)


def test_neither_view_of_the_tokens_hides_what_the_other_sees():
    """The declared reading's e-value is the average of the pairs' and the output's."""
    seen_alone = case(0, INVERTED, tokens=40)
    seen_alone.log_ratios[STREAMS.index(Stream.DRAFTED)] = -200.0
    seen_alone.excess[STREAMS.index(Stream.DRAFTED)] = 200.0
    output = log_e_value(seen_alone, Reading.OUTPUT)
    assert log_e_value(seen_alone) == pytest.approx(output - math.log(2))
    unseen_alone = case(0, MATCH, tokens=400)
    assert log_e_value(unseen_alone) > math.log(1e4) > log_e_value(unseen_alone, Reading.OUTPUT)


def test_a_lossless_engine_is_consistent_and_says_what_it_would_have_caught():
    verdict = judge([case(seed, LOSSLESS) for seed in range(30)], control=[plain(1, P)])
    assert verdict.verdict is LawVerdict.CONSISTENT
    assert verdict.tokens == {Stream.DRAFTED: 1800}
    assert 0 < verdict.contamination < 0.2
    assert verdict.allowance is None
    assert verdict.declared.cases_to_peak is None
    assert verdict.declared.peak >= verdict.declared.log_e


def test_a_fault_is_found_named_and_dated():
    verdict = judge([case(seed, INVERTED) for seed in range(20)])
    assert verdict.verdict is LawVerdict.OUTPUT
    assert verdict.pointers[0].name == "kept with min(1, q/p)"
    assert verdict.pointers[0].scope == "everywhere"
    assert sum(pointer.weight for pointer in verdict.pointers) <= 1
    assert verdict.declared.cases_to_peak <= 20
    assert verdict.declared.tokens_to_peak == 60 * verdict.declared.cases_to_peak
    assert verdict.allowance == pytest.approx(
        (verdict.output.log_e + math.log(verdict.alpha)) / 1200
    )


def test_another_lossless_rule_than_declared_differs_in_acceptance_only():
    cases = [case(seed, MATCH) for seed in range(20)]
    verdict = judge(cases)
    assert verdict.verdict is LawVerdict.ACCEPTANCE
    assert not verdict.output.rejected
    assert verdict.pointers[0].name == (
        "kept as by another rule or draft, output right (drawn from q, coin's q: 1, residual's: 1)"
    )
    declared = [case(seed, MATCH, rule=DeclaredRule.MATCH) for seed in range(20)]
    assert judge(declared).verdict is LawVerdict.CONSISTENT


def test_a_rejected_control_is_about_settings():
    wrong = [plain(seed, Q) for seed in range(10)]
    for engine in (INVERTED, LOSSLESS):
        cases = [case(seed, engine) for seed in range(20)]
        assert judge(cases, control=wrong).verdict is LawVerdict.SETTINGS


def test_what_was_passed_stays_passed():
    """A later run of luck does not take a rejection back: the test may stop when it is passed."""
    cases = [case(0, INVERTED, tokens=300)] + [case(seed, LOSSLESS, 300) for seed in range(1, 60)]
    verdict = judge(cases)
    assert verdict.declared.log_e < verdict.declared.peak
    assert verdict.declared.rejected
    assert verdict.declared.cases_to_peak == 1


def test_a_fault_of_bonus_tokens_points_there():
    found = case(0, LOSSLESS, tokens=2000) + repeated(one_token(0, Site.BONUS), 40)
    best = pointers(found, Reading.DECLARED)[0]
    assert best.scope == "bonus tokens"
    assert best.name == "target's argmax in place of a draw"
    assert judge([found]).verdict is LawVerdict.OUTPUT


def test_the_certificate_is_plain_json():
    cases = [case(seed, INVERTED) for seed in range(5)]
    values = judge(cases, control=[plain(0, P)]).to_json()
    assert json.loads(json.dumps(values)) == values
    assert values["verdict"] == "output differs"
    assert values["control"]["rejected_after_cases"] is None
    values = judge([one_token(5)]).to_json()
    assert json.loads(json.dumps(values)) == values
    assert values["declared"] == {
        "log10_e": None,
        "log10_peak": None,
        "rejected_after_cases": 1,
        "rejected_after_tokens": 1,
        "impossible": 1,
    }


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan])
def test_alpha_is_a_probability(alpha):
    with pytest.raises(UsageError, match="alpha"):
        judge([], alpha=alpha)


# Power ------------------------------------------------------------------------------------------


def test_power_is_the_normal_approximation_of_one_component():
    """Moments of one position by hand, times n."""
    share, epsilon, n = 0.3, 0.2, 500
    moments = n * one_token(0).moments[-1, STATED_FAULTS.index(DRAFTS_LAW), SHARES.index(share) - 1]
    gain = np.log(1 - share + share * Q / P)
    law = (1 - epsilon) * P + epsilon * Q
    mean, variance = n * law @ gain, n * (law @ gain**2 - (law @ gain) ** 2)
    expected = norm.sf((9 - mean) / math.sqrt(variance))
    assert probability_caught(epsilon, moments[None], np.array([9.0])) == pytest.approx(expected)


def test_more_tokens_catch_less():
    found = [
        judge([plain(seed, P, tokens=200) for seed in range(cases)]).contamination
        for cases in (5, 50)
    ]
    assert found[1] < found[0]
    assert judge([plain(0, P, tokens=3)]).contamination is None


def test_a_draft_law_outside_the_targets_support_is_caught_by_proof():
    meter = EvidenceMeter(DeclaredRule.OTHER)
    p, q = np.array([0.7, 0.3, 0.0]), np.array([0.5, 0.3, 0.2])
    meter.observe(Observation(target=p, draft=q, token=0))
    moments = 1000 * meter.evidence.moments[:, STATED_FAULTS.index(DRAFTS_LAW)].sum(axis=0)
    found = smallest_contamination(moments, power_thresholds(1e-4, DRAFTS_LAW)[1:], 0.95)
    assert found == pytest.approx(-math.log(0.05) / 200, rel=0.2)
