"""The edge of a filter: what rounding decides is left out, and what is judged stays fair.

Engines here round otherwise than the judge: their logits are off by noise within the tolerance, and
they filter what they have. Nothing is sampled: every mean is a sum over all outcomes.
"""

import math

import numpy as np
import pytest
import torch

from draftproof.config import Sampling
from draftproof.errors import UsageError
from draftproof.lossless.evidence import DeclaredRule, Observation, Site
from draftproof.lossless.evidence.filter_edge import filter_edge
from draftproof.lossless.evidence.observation import FilterEdge, Stream
from draftproof.lossless.evidence.position import joint_law, locate
from draftproof.lossless.evidence.process import alternative_laws, denominator, likelihood_ratios
from draftproof.lossless.evidence.tilts import tilted
from draftproof.sampling import TokenLaw

FILTERS = (
    {"top_k": 1},
    {"top_k": 3},
    {"top_p": 0.6},
    {"top_p": 0.9},
    {"min_p": 0.2},
    {"min_p": 0.9},
    {"top_k": 5, "top_p": 0.8},
    {"top_k": 5, "top_p": 0.9, "min_p": 0.1},
)


def softmax(logits):
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


def filtered(logits, sampling):
    return TokenLaw(sampling).distributions(torch.tensor(logits)[None], lambda: [[]])[0].numpy()


def edge_of(logits, sampling, tolerance):
    passed = filtered(logits, sampling) > 0
    return filter_edge(softmax(logits), passed, sampling, tolerance)


def near_ties(generator, size, tolerance):
    """Logits of which about half are within the tolerance of another."""
    logits = np.sort(generator.normal(0, 1, size))
    for index in range(1, size):
        if generator.random() < 0.5:
            logits[index] = logits[index - 1] + generator.uniform(0, 2 * tolerance)
    return generator.permutation(logits)


def at_an_edge(filters, logits):
    """The filters with their bounds moved to where the nearest token just passes."""
    law = np.sort(softmax(logits))[::-1][: filters.get("top_k")]
    law, moved = law / law.sum(), dict(filters)
    for name, edges in (("top_p", np.cumsum(law)), ("min_p", law / law[0])):
        if name in filters:
            moved[name] = float(min(edges[1:-1], key=lambda edge: abs(edge - filters[name])))
    return Sampling(temperature=1.0, **moved)


def off_by(generator, logits, most):
    return logits + most * generator.choice([-1, 1], len(logits)) * generator.uniform(
        0.5, 1, len(logits)
    )


@pytest.mark.parametrize("tolerance", [1e-4, 0.02, 0.25])
@pytest.mark.parametrize("filters", FILTERS)
def test_rounding_changes_the_fate_of_contested_tokens_only(filters, tolerance):
    generator = np.random.default_rng(0)
    changed = 0
    for _ in range(200):
        logits = near_ties(generator, 8, tolerance)
        sampling = at_an_edge(filters, logits)
        edge, law = edge_of(logits, sampling, tolerance), softmax(logits)
        own = filtered(logits, sampling) > 0
        passed = filtered(off_by(generator, logits, tolerance), sampling) > 0
        assert not ((own != passed) & ~edge.contested).any()
        mass = law[passed].sum() / law[own].sum()
        assert edge.least * (1 - 1e-12) <= mass <= edge.most * (1 + 1e-12)
        changed += (own != passed).any()
    assert changed > 5


@pytest.mark.parametrize("filters", FILTERS)
def test_without_near_ties_nothing_is_contested(filters):
    logits = np.log([0.42, 0.23, 0.15, 0.09, 0.06, 0.03, 0.02])
    edge = edge_of(logits, Sampling(temperature=1.0, **filters), 1e-4)
    assert not edge.contested.any()
    assert edge.least == pytest.approx(1)
    assert edge.most == pytest.approx(1)


def test_fewer_tokens_than_top_k_and_tokens_that_cannot_be_are_not_contested():
    law = np.array([0.7, 0.3, 0.0])
    sampling = Sampling(temperature=1.0, top_k=3)
    assert not filter_edge(law, law > 0, sampling, 0.25).contested.any()


def test_an_edge_of_another_vocabulary_is_refused():
    edge = FilterEdge(contested=np.zeros(2, bool), least=1.0, most=1.0)
    law = np.full(3, 1 / 3)
    with pytest.raises(UsageError, match="edge of a filter"):
        Observation(target=law, token=0, target_edge=edge).check()


def means(at, e_p, e_q, rule, proposals):
    """The mean of every ratio, and of tilts, over what an engine with laws e_p and e_q emits."""
    if proposals is not None:
        joint = np.where(proposals, e_p, 0.0), np.where(proposals, 0.0, e_p)
    else:
        joint = joint_law(e_p, e_q, rule)
    for stream in (Stream.DRAFTED, Stream.DRAFTED_TOKEN):
        laws = alternative_laws(at, stream)
        pairs = stream is Stream.DRAFTED and at.null is not None
        ways = zip((True, False), joint, strict=True) if pairs else ((None, e_p),)
        ratios_mean, tilt_mean = 0.0, np.zeros(2)
        for kept, law in ways:
            judged, null = at.judges(kept), denominator(at, kept)
            assert not (law[judged & (null == 0)] > 1e-12).any(), "a right engine is called proof"
            counted = judged & (null > 0)
            ratios = likelihood_ratios(at, laws, stream, kept, slice(None))[:, counted]
            ratios_mean = ratios_mean + ratios @ law[counted] + law[~judged].sum()
            tilt, counted_tilts = tilted(at, kept), []
            for theta in (-0.8, 0.8):
                direction = np.full(len(tilt.mean), theta)
                counted_tilts.append(
                    sum(
                        law[y]
                        * math.exp(
                            direction @ tilt.centred(y)
                            - direction @ tilt.spread(y) @ direction / 2
                            - tilt.excess
                        )
                        for y in np.flatnonzero(counted)
                    )
                    + law[~judged].sum()
                )
            tilt_mean += counted_tilts
        yield ratios_mean.max()
        yield tilt_mean.max()


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("rule", DeclaredRule)
@pytest.mark.parametrize("tolerance", [1e-4, 0.02])
@pytest.mark.parametrize("filters", FILTERS)
def test_no_right_engine_gains_more_than_rounding_itself_gives(filters, tolerance, rule):
    """Laws within e^±t, and the same given that they are judged: within e^±2t."""
    generator = np.random.default_rng(1)
    for _ in range(12):
        logits = [near_ties(generator, 6, tolerance) for _ in range(2)]
        sampling = at_an_edge(filters, logits[0])
        engine = [off_by(generator, each, tolerance / 2) for each in logits]
        (p, q), (e_p, e_q) = ([filtered(x, sampling) for x in each] for each in (logits, engine))
        proposals = None
        if rule is DeclaredRule.POINT_MASS:
            proposals = np.isin(np.arange(6), generator.choice(6, 2, replace=False))
        at = locate(
            Observation(
                target=p,
                draft=q,
                token=0,
                site=Site.ACCEPTED,
                proposals=None if proposals is None else tuple(np.flatnonzero(proposals)),
                unfiltered_target=softmax(logits[0]),
                target_edge=edge_of(logits[0], sampling, tolerance),
                draft_edge=edge_of(logits[1], sampling, tolerance),
            ),
            rule,
            tolerance=tolerance,
        ).position
        for mean in means(at, e_p, e_q, rule, proposals):
            assert mean <= math.exp(2 * tolerance) + 1e-9


@pytest.mark.parametrize("rule", [DeclaredRule.REJECTION, DeclaredRule.MATCH])
def test_merged_tokens_are_bounded_at_an_edge_too(rule):
    """What is kept of the merged outcome, by engines whose filters let other tokens pass."""
    size, tolerance, sampling = 6000, 0.02, Sampling(temperature=1.0, top_k=5500)
    generator = np.random.default_rng(2)
    spread = np.where(np.arange(size) < 40, 0, -16.0)
    logits = [spread + generator.normal(0, 1, size) for _ in range(2)]
    p, q = (filtered(each, sampling) for each in logits)
    edges = [
        FilterEdge(contested=np.zeros(size, bool), least=0.8, most=1.1),
        FilterEdge(contested=np.zeros(size, bool), least=0.9, most=1.2),
    ]
    at = locate(
        Observation(target=p, draft=q, token=0, target_edge=edges[0], draft_edge=edges[1]),
        rule,
        tolerance=0.0,
    ).position
    assert len(at.p) < 100
    up = math.exp(tolerance)
    for p_mass, q_mass in ((0.8, 1.2), (1.1, 0.9), (0.8, 0.9), (1.1, 1.2)):
        kept = joint_law(p, np.minimum(q * p_mass / q_mass, 1.0), rule).accepted
        if rule is DeclaredRule.MATCH:
            kept = p * q / q_mass
        rare = np.ones(size, bool)
        rare[np.argsort(-np.maximum(p, q))[: len(at.p) - 1]] = False
        assert kept[rare].sum() <= at.ceiling.accepted[-1] * up
        assert (p - kept)[rare].sum() <= at.ceiling.rejected[-1] * up


def test_an_outcome_that_holds_a_contested_token_is_not_judged():
    size = 5000
    law = np.full(size, 1e-9)
    law[0] = 1 - law[1:].sum()
    contested = np.zeros(size, bool)
    contested[7] = True
    edge = FilterEdge(contested=contested, least=1.0, most=1.0)
    at = locate(Observation(target=law, token=3, target_edge=edge), DeclaredRule.OTHER).position
    assert at.judged.tolist() == [True, False]
