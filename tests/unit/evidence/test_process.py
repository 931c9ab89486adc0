"""Sums of log ratios: what they add up to, and that their exponentials have mean at most 1."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from strategies import distributions

from draftproof.errors import NumericsError, TraceError, UsageError
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
from draftproof.lossless.evidence.observation import STREAMS, FilterEdge
from draftproof.lossless.evidence.position import denominator, locate
from draftproof.lossless.evidence.process import (
    APPLICABLE,
    alternative_laws,
    likelihood_ratios,
)
from draftproof.lossless.evidence.tilts import (
    BLOCKS,
    FEATURES,
    SCALES,
    _largest,
    log_mixtures,
    tilted,
)

P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.7, 0.1])
FIELDS = [field.name for field in dataclasses.fields(Evidence)]
DRAFTED_SITES = (Site.ACCEPTED, Site.CORRECTION)


def metered(observations, rule=DeclaredRule.REJECTION, **settings):
    meter = EvidenceMeter(rule, **settings)
    for observation in observations:
        meter.observe(observation)
    return meter.evidence


def token(token, site=Site.UNKNOWN, p=P, q=Q, **others):
    return Observation(target=p, draft=q, token=token, site=site, **others)


def stream_row(values, stream):
    return values[STREAMS.index(stream)]


def some_evidence():
    sites = [Site.FIRST, Site.ACCEPTED, Site.ACCEPTED, Site.CORRECTION, Site.BONUS, Site.UNKNOWN]
    return [token(index % 2, site) for index, site in enumerate(sites)]


def same(one, other):
    for name in FIELDS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-12)


# Mean 1 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [r for r in DeclaredRule if r is not DeclaredRule.POINT_MASS])
@settings(max_examples=20)
@given(data=st.data())
def test_every_ratio_has_mean_at_most_1_and_1_where_all_is_possible(rule, data):
    size = data.draw(st.integers(2, 5))
    p, q = (data.draw(distributions(size)).numpy() for _ in range(2))
    at = locate(token(0, p=p, q=q), rule, tolerance=0).position
    for stream in STREAMS:
        laws = alternative_laws(at, stream)
        reads_joint = stream is Stream.DRAFTED and at.null is not None
        total = np.zeros(len(APPLICABLE[stream]))
        for kept in (True, False) if reads_joint else (None,):
            null = denominator(at, kept)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = likelihood_ratios(at, laws, stream, kept, slice(None))
            total += np.where(null > 0, null * np.where(null > 0, ratios, 0), 0).sum(axis=1)
        assert (total <= 1 + 1e-9).all()
        if not reads_joint and (p > 0).all():
            np.testing.assert_allclose(total, 1, atol=1e-9)


@pytest.mark.parametrize("reading", Reading)
def test_the_e_value_of_every_output_adds_up_to_1(reading):
    """Three tokens, every outcome of each weighted with its exact probability."""
    kept, left = np.minimum(P, Q), np.maximum(P - Q, 0)
    single = [
        (law[y], token(y, site))
        for law, site in ((kept, Site.ACCEPTED), (left, Site.CORRECTION))
        for y in range(3)
        if law[y] > 0
    ]
    bonus = [(P[y], token(y, Site.BONUS)) for y in range(3)]
    mean = sum(
        math.prod(probability for probability, _ in outcome)
        * math.exp(log_e_value(metered([o for _, o in outcome], tolerance=0), reading))
        for outcome in itertools.product(single, bonus, single)
    )
    # Faults with mass on impossible outcomes lose it, and the tilts' inequality is strict.
    assert 0.9 < mean < 1


def outcomes_of(at, stream):
    """What the meter tells apart in a stream: (kept, null law, ceiling)."""
    if stream is Stream.DRAFTED and at.null is not None:
        return [
            (True, at.null.accepted, at.ceiling.accepted),
            (False, at.null.rejected, at.ceiling.rejected),
        ]
    return [(None, at.p, at.p)]


def tilt_factor(tilt, theta, outcome):
    exponent = theta @ tilt.centred(outcome) - theta @ tilt.spread(outcome) @ theta / 2
    return math.exp(exponent - tilt.excess)


@st.composite
def positions(draw, tolerance=0.0):
    size = draw(st.integers(2, 5))
    p, q, previous = (draw(distributions(size)).numpy() for _ in range(3))
    rule = draw(st.sampled_from(list(DeclaredRule)))
    proposals = (0,) if rule is DeclaredRule.POINT_MASS else None
    seen = token(0, p=p, q=q, previous_target=previous, proposals=proposals)
    return locate(seen, rule, tolerance=tolerance).position


@settings(max_examples=60)
@given(
    at=st.sampled_from([0.0, 1e-3, 0.25]).flatmap(positions),
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([0.1, 1.0, 5.0, 30.0]),
)
def test_every_tilt_has_mean_at_most_1_however_strong(at, seed, scale):
    """By enumeration of the outcomes, for tables with zeros and spikes and any vector θ."""
    theta = np.random.default_rng(seed).normal(0, scale, len(FEATURES))
    for stream in STREAMS:
        mean = 0.0
        for kept, null, _ in outcomes_of(at, stream):
            tilt = tilted(at, kept)
            mean += sum(
                null[o] * tilt_factor(tilt, theta, o) for o in range(len(null)) if null[o] > 0
            )
        assert mean <= 1 + 1e-9


@settings(max_examples=60)
@given(st.sampled_from([0.0, 0.05]).flatmap(positions))
def test_moments_of_the_features_are_those_of_the_outcomes(at):
    """By enumeration: φ = (f, k, k f) with k whether the token was kept; (f, 0, 0) without k."""
    for stream in STREAMS:
        outcomes = outcomes_of(at, stream)
        token = tilted(at, outcomes[0][0]).token
        values, masses = [], []
        for kept, _, mass in outcomes:
            k = np.full((1, len(mass)), float(bool(kept)))
            values.append(np.concatenate([token, k, k * token]))
            masses.append(mass)
        values, masses = np.concatenate(values, 1), np.concatenate(masses)
        mean = values @ masses / masses.sum()
        covariance = np.cov(values, aweights=masses, ddof=0) if masses.max() < 1 else None
        for kept, _, _ in outcomes:
            tilt = tilted(at, kept)
            np.testing.assert_allclose(tilt.mean, mean, atol=1e-9)
            if covariance is not None:
                np.testing.assert_allclose(tilt.covariance, covariance, atol=1e-8)
            first = values[:, : len(at.p)] if outcomes[0][0] == kept else values[:, len(at.p) :]
            np.testing.assert_allclose(tilt.centred(slice(None)), first - mean[:, None], atol=1e-9)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=1, max_size=12))
def test_the_largest_values_come_first_and_of_equal_ones_the_first(values):
    expected = sorted(range(len(values)), key=lambda index: (-values[index], index))[:8]
    assert _largest(np.array(values), 8).tolist() == expected


@settings(max_examples=60)
@given(data=st.data(), tolerance=st.sampled_from([1e-3, 0.05, 0.25]), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("rule", DeclaredRule)
def test_rounding_within_the_tolerance_costs_at_most_the_tolerance(rule, data, tolerance, seed):
    """The mean under any law within exp(± tolerance) is at most exp(tolerance): ratios and tilts.

    The engine's own p and q are such laws, and it follows its rule with them exactly.
    """
    size = data.draw(st.integers(2, 4))
    p, q = (data.draw(distributions(size)).numpy() for _ in range(2))
    shifts = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=size, max_size=size)
    near_p, near_q = (law * np.exp(tolerance * np.array(data.draw(shifts)) / 2) for law in (p, q))
    near_p, near_q = near_p / near_p.sum(), near_q / near_q.sum()
    proposals = tuple(range(size // 2 + 1)) if rule is DeclaredRule.POINT_MASS else None
    at, near = (
        locate(token(0, p=a, q=b, proposals=proposals), rule, tolerance=tolerance).position
        for a, b in ((p, q), (near_p, near_q))
    )
    laws, total, tilts = alternative_laws(at, Stream.DRAFTED), 0, 0.0
    theta = np.random.default_rng(seed).normal(0, 1, len(FEATURES))
    for (kept, _, ceiling), (_, law, _) in zip(
        outcomes_of(at, Stream.DRAFTED), outcomes_of(near, Stream.DRAFTED), strict=True
    ):
        assert (ceiling[law > 1e-15] > 0).all(), "a possible outcome counts as impossible"
        assert (law <= ceiling * math.exp(tolerance) + 1e-12).all()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = likelihood_ratios(at, laws, Stream.DRAFTED, kept, slice(None))
        total = total + np.where(ceiling > 0, law * np.where(ceiling > 0, ratios, 0), 0).sum(1)
        tilt = tilted(at, kept)
        tilts += sum(law[o] * tilt_factor(tilt, theta, o) for o in range(size) if law[o] > 0)
    assert (total <= math.exp(tolerance) + 1e-9).all()
    assert tilts <= math.exp(tolerance) + 1e-9


@pytest.mark.parametrize("tolerance", [1e-4, 0.05, 0.25])
def test_a_residual_is_divided_by_no_more_than_rounding_asks_for(tolerance):
    """The ceiling times exp(tolerance) is reached by a law within the tolerance."""
    q = np.array([0.0, 0.7, 0.3])
    at = locate(token(0, q=q), DeclaredRule.REJECTION, tolerance=tolerance).position
    most = np.maximum(P * math.exp(tolerance) - q * math.exp(-tolerance), 0)
    np.testing.assert_allclose(at.ceiling.rejected * math.exp(tolerance), most, atol=1e-12)
    assert at.ceiling.rejected[0] == P[0]
    np.testing.assert_array_equal(at.ceiling.accepted, np.minimum(P, q))


def test_known_drafts_lose_nothing_to_rounding():
    """Whether a known token was kept follows from the token: no difference of two laws is taken."""
    for tolerance in (0.0, 0.25):
        at = locate(token(0, proposals=(1,)), DeclaredRule.POINT_MASS, tolerance=tolerance).position
        for null, ceiling in zip(at.null, at.ceiling, strict=True):
            np.testing.assert_array_equal(null, ceiling)


@pytest.mark.parametrize("feature", range(len(FEATURES)))
def test_the_average_over_tilts_is_the_integral(feature):
    """Against quadrature, for the features that are tilted alone."""
    blocks = [index for index, block in enumerate(BLOCKS) if block.features == (feature,)]
    generator = np.random.default_rng(feature)
    score, spread, excess = generator.normal(0, 3), generator.gamma(2, 4), 0.25
    scores, spreads = np.zeros(len(FEATURES)), np.eye(len(FEATURES))
    scores[feature], spreads[feature, feature] = score, spread
    found = log_mixtures(scores, spreads, np.array(excess))
    for block in blocks:
        for index, scale in enumerate(SCALES):
            value, _ = quad(
                lambda t, scale=scale: (
                    math.exp(t * score - t * t * spread / 2) * norm.pdf(t, 0, scale)
                ),
                -6,
                6,
                points=[score / (spread + scale**-2)],
            )
            assert found[block, index] == pytest.approx(math.log(value) - excess, abs=1e-6)


def test_tilts_of_several_features_are_the_integral_too():
    """Against an average over a million draws of θ."""
    generator = np.random.default_rng(0)
    block = next(b for b in BLOCKS if b.name == "which tokens are kept")
    chosen = np.array(block.features)
    root = generator.normal(0, 1, (len(FEATURES), len(FEATURES)))
    scores, spreads = generator.normal(0, 2, len(FEATURES)), root @ root.T / 4
    found = log_mixtures(scores, spreads, np.array(0.0))[BLOCKS.index(block), 1]
    theta = generator.normal(0, SCALES[1], (1_000_000, len(chosen)))
    quadratic = np.einsum("nf,fg,ng->n", theta, spreads[np.ix_(chosen, chosen)], theta)
    mean = np.exp(theta @ scores[chosen] - quadratic / 2).mean()
    assert found == pytest.approx(math.log(mean), abs=0.01)


# Sums -------------------------------------------------------------------------------------------


def test_evidence_of_cases_adds_up_in_any_order():
    observations = some_evidence()
    together = metered(observations)
    same(together, metered(observations[:2]) + metered(observations[2:]))
    same(together, metered(observations[::-1]))
    assert together.total_tokens == 6
    assert stream_row(together.tokens, Stream.DRAFTED) == 3
    assert stream_row(together.tokens, Stream.DRAFTED_TOKEN) == 3


def test_evidence_survives_json_bit_for_bit():
    found = metered(some_evidence())
    back = Evidence.from_json(found.to_json())
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(back, name))
    same(back + back, found + found)


def test_evidence_of_another_catalogue_is_refused():
    values = Evidence.none().to_json()
    with pytest.raises(TraceError, match="other alternatives"):
        Evidence.from_json(values | {"catalogue": "0"})
    with pytest.raises(TraceError, match="not stored evidence"):
        Evidence.from_json(values | {"tokens": "AAAA"})


def test_the_meter_hands_out_a_copy():
    meter = EvidenceMeter(DeclaredRule.OTHER)
    before = meter.evidence
    meter.observe(token(0))
    assert before.total_tokens == 0
    assert meter.evidence.total_tokens == 1


# Proof, doubt and bad input ---------------------------------------------------------------------


@pytest.mark.parametrize("emitted", [2, 7, -1])
def test_a_token_of_probability_0_is_proof(emitted):
    p = np.array([0.6, 0.4, 0.0])
    found = metered([token(emitted, p=p, q=None)])
    assert stream_row(found.impossible, Stream.UNKNOWN) == 1
    assert log_e_value(found) == math.inf


EDGE = FilterEdge(contested=np.array([False, True, True, False]), least=0.6, most=1.4)
"""Of top-k 2 where the second and the third token are nearly equal."""


def test_neither_token_of_a_near_tie_at_the_edge_of_a_filter_is_judged():
    """Were the one that the judge's filter keeps judged, its rival's mass would be missed there."""
    before = np.array([0.4, 0.25, 0.2499999, 0.1000001])
    p = np.array([0.4, 0.25, 0.0, 0.0]) / 0.65
    known = {"p": p, "q": None, "unfiltered_target": before, "target_edge": EDGE}
    for emitted in (1, 2):
        doubtful = metered([token(emitted, **known)])
        assert stream_row(doubtful.doubtful, Stream.UNKNOWN) == 1
        assert log_e_value(doubtful) == pytest.approx(0, abs=1e-12)
    assert log_e_value(metered([token(3, **known)])) == math.inf
    # Of those that always pass there is one: that it was emitted says nothing.
    assert log_e_value(metered([token(0, **known)] * 100)) <= 1e-9


def test_a_correction_that_has_no_residual_is_proof_of_the_declared_rule_only():
    found = metered([token(1, Site.CORRECTION)])
    assert log_e_value(found, Reading.DECLARED) == math.inf
    assert math.isfinite(log_e_value(found, Reading.OUTPUT))


def test_a_correction_from_a_residual_of_rounding_is_no_proof():
    q = P * np.array([1 + 1e-6, 1 - 1e-6, 1])
    for index in range(3):
        assert log_e_value(metered([token(index, Site.CORRECTION, q=q / q.sum())])) < 10
    exact = metered([token(0, Site.CORRECTION, q=q / q.sum())], tolerance=0)
    assert log_e_value(exact) == math.inf


def test_a_drafted_token_that_the_draft_model_cannot_draw_is_proof():
    q = np.array([0.5, 0.5, 0.0])
    assert log_e_value(metered([token(2, Site.ACCEPTED, q=q)])) == math.inf
    edge = FilterEdge(contested=np.array([False, True, True]), least=0.6, most=1.4)
    doubtful = metered([token(2, Site.ACCEPTED, q=q, draft_edge=edge)])
    assert stream_row(doubtful.doubtful, Stream.DRAFTED) == 1
    assert stream_row(doubtful.doubtful, Stream.DRAFTED_TOKEN) == 0


def test_a_kept_token_outside_the_proposals_is_proof_of_the_declared_rule():
    known = {"rule": DeclaredRule.POINT_MASS}
    kept = metered([token(2, Site.ACCEPTED, q=None, proposals=(0, 1))], **known)
    assert log_e_value(kept, Reading.DECLARED) == math.inf
    assert math.isfinite(log_e_value(kept, Reading.OUTPUT))
    right = metered([token(1, Site.ACCEPTED, q=None, proposals=(0, 1))], **known)
    assert math.isfinite(log_e_value(right, Reading.DECLARED))


@pytest.mark.parametrize("rule", [DeclaredRule.OTHER, DeclaredRule.POINT_MASS])
def test_without_a_known_joint_law_the_token_alone_is_judged(rule):
    for site in DRAFTED_SITES:
        found = metered([token(1, site)], rule)
        declared, output = (log_e_value(found, reading) for reading in Reading)
        assert declared == pytest.approx(output, abs=1e-9)


def test_laws_that_are_none_are_refused():
    with pytest.raises(NumericsError, match="'target' adds up to 0.5"):
        metered([token(0, p=P / 2)])
    with pytest.raises(NumericsError, match="'draft'"):
        metered([token(0, q=np.array([1.2, -0.2, 0.0]))])
    with pytest.raises(NumericsError, match="'target' adds up to nan"):
        metered([token(0, p=P * math.nan)])
    with pytest.raises(UsageError, match=r"shape \(2,\)"):
        metered([token(0, q=np.array([0.5, 0.5]))])
    with pytest.raises(UsageError, match="coin"):
        metered([token(0, coin=0.0)])
    with pytest.raises(UsageError, match="proposals"):
        metered([token(0, proposals=(3,))])


# Large vocabularies -----------------------------------------------------------------------------


def large(seed, size=20_000):
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 4, size)
    draft = logits + generator.normal(0, 1, size)
    return [np.exp(x) / np.exp(x).sum() for x in (logits, draft)]


@pytest.mark.parametrize("rule", [DeclaredRule.REJECTION, DeclaredRule.MATCH])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_merging_rare_tokens_keeps_the_null_law_exact(rule, dtype):
    p, q = (law.astype(dtype) for law in large(0))
    merged = locate(token(0, p=p, q=q), rule).position
    whole = locate(token(0, p=p, q=q), rule, rare=0).position
    told = (p >= 1e-6) | (q >= 1e-6)
    assert len(merged.p) == told.sum() + 1 < len(p) / 2
    assert len(whole.p) == len(p) == merged.size.sum()
    pairs = [
        (merged.p, whole.p),
        (merged.q, whole.q),
        (merged.null.accepted, whole.null.accepted),
        (merged.null.rejected, whole.null.rejected),
    ]
    for one, other in pairs:
        np.testing.assert_allclose(one[:-1], other[told], rtol=1e-12)
        assert one[-1] == pytest.approx(other[~told].sum(), rel=1e-9)
    for one, other, null in zip(merged.ceiling, whole.ceiling, merged.null, strict=True):
        assert (one >= null).all()
        assert one[-1] >= other[~told].sum() - 1e-12
    for law in alternative_laws(merged, Stream.DRAFTED).values():
        assert np.stack(law).min() >= 0
        assert np.stack(law).sum() == pytest.approx(1, abs=1e-12)


def test_proposals_are_told_apart_however_rare():
    p, _ = large(0)
    rare = (int(np.argmin(p)), int(np.argsort(p)[1]))
    observation = token(rare[1], Site.ACCEPTED, p=p, q=None, proposals=rare)
    located = locate(observation, DeclaredRule.POINT_MASS)
    null = located.position.null
    assert null.accepted.sum() == pytest.approx(p[list(rare)].sum(), rel=1e-9)
    assert null.accepted[located.outcome] == pytest.approx(p[rare[1]], rel=1e-9)
    assert null.accepted[-1] == 0


def test_a_merged_token_counts_as_the_last_outcome():
    p, q = large(1)
    rare, common = int(np.argmin(np.maximum(p, q))), int(p.argmax())
    located = locate(token(rare, p=p, q=q), DeclaredRule.REJECTION)
    assert located.outcome == len(located.position.p) - 1
    located = locate(token(common, p=p, q=q), DeclaredRule.REJECTION)
    assert located.position.p[located.outcome] == pytest.approx(p[common])
