"""How much a rule keeps, exactly: closed forms, comparisons, and what no rule can exceed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from strategies import distributions
from tables import adversarial, pair_from, pairs

from draftproof.acceptance import make_rule
from draftproof.config import Sampling
from draftproof.decoding import take_step
from draftproof.drafting import make_drafter
from draftproof.laws import ProposalLaw
from draftproof.lossless.exact_law import accepted_length_law
from draftproof.lossless.transport import (
    best_acceptance,
    best_acceptance_of_draws,
    prefix_overlap,
    sibling_sets,
)
from draftproof.models.table import TableLM
from draftproof.randomness import SeededRandomness
from draftproof.sampling import TokenLaw
from draftproof.shapes import parse_tree

EXACT = 1e-12
CONTEXT = (0, 1, 0)
LAW = TokenLaw(Sampling(temperature=1.0))


def lengths(models, text, rule):
    """P(accepted length = k) of one step."""
    shape = parse_tree(text)
    target, draft = models
    return accepted_length_law(
        CONTEXT,
        target,
        make_drafter(shape, draft),
        make_rule(rule, shape, is_greedy=False),
        law=LAW,
    )


def mean(law):
    return math.fsum(length * probability for length, probability in law.items())


def reach(law, depth):
    return math.fsum(probability for length, probability in law.items() if length >= depth)


def next_law(model):
    return lambda context: model.recompute(context)[-1].exp().tolist()


@given(pairs())
@examples(25, nightly=250)
def test_rejection_keeps_the_sum_of_minima_down_a_chain(models):
    """P(accepted ≥ d) is the sum over prefixes of the products of min(p, q)."""
    target, draft = (next_law(model) for model in models)
    law = lengths(models, "chain:3", "rejection")

    def kept(context, depth):
        if depth == 0:
            return 1.0
        p, q = target(context), draft(context)
        return math.fsum(
            min(p[token], q[token]) * kept((*context, token), depth - 1) for token in range(len(p))
        )

    for depth in (1, 2, 3):
        assert reach(law, depth) == pytest.approx(kept(CONTEXT, depth), abs=EXACT)


@given(pairs())
@examples(25, nightly=250)
def test_block_keeps_at_least_what_rejection_keeps_and_at_most_the_overlap(models):
    rejection = lengths(models, "chain:3", "rejection")
    block = lengths(models, "chain:3", "block")
    assert mean(block) >= mean(rejection) - EXACT
    target, draft = (next_law(model) for model in models)
    for depth in (1, 2, 3):
        most = prefix_overlap(target, draft, CONTEXT, depth, models[0].vocabulary_size)
        assert reach(rejection, depth) <= most + EXACT
        assert reach(block, depth) <= most + EXACT


@pytest.mark.parametrize(
    ("text", "usual"), [("sampled:2x2", "multi-round"), ("distinct:2x2", "without-replacement")]
)
@given(models=pairs())
@examples(8, nightly=80)
def test_traversal_keeps_at_least_what_the_usual_rule_keeps(text, usual, models):
    assert mean(lengths(models, text, "traversal")) >= mean(lengths(models, text, usual)) - EXACT


@given(pairs())
@examples(10, nightly=100)
def test_on_a_chain_traversal_is_block_and_multi_round_is_rejection(models):
    for one, other in (("traversal", "block"), ("multi-round", "rejection")):
        ours, theirs = lengths(models, "chain:3", one), lengths(models, "chain:3", other)
        for length in range(4):
            assert ours.get(length, 0) == pytest.approx(theirs.get(length, 0), abs=EXACT)


@pytest.mark.parametrize("text", ["chain:3", "sampled:2x2", "distinct:2x2"])
@given(models=pairs())
@examples(5, nightly=50)
def test_self_draft_keeps_everything(text, models):
    target, _ = models
    twin = TableLM(target._law, target.vocabulary_size)
    shape = parse_tree(text)
    for rule in ("auto", "traversal"):
        law = lengths((target, twin), text, rule)
        assert reach(law, shape.depth if hasattr(shape, "depth") else shape.length) == (
            pytest.approx(1, abs=EXACT)
        )


@pytest.mark.parametrize("text", ["sampled:1x2", "sampled:1x3", "distinct:1x2"])
@given(models=pairs(sizes=(2, 3)))
@examples(8, nightly=80)
def test_no_rule_exceeds_the_optimal_transport(text, models):
    shape = parse_tree(text)
    p, q = (next_law(model)(CONTEXT) for model in models)
    most = best_acceptance(p, sibling_sets(q, shape.branching, shape.law))
    for rule in ("auto", "traversal"):
        assert reach(lengths(models, text, rule), 1) <= most + 1e-9


@pytest.mark.parametrize("law", [ProposalLaw.INDEPENDENT, ProposalLaw.WITHOUT_REPLACEMENT])
@given(data=st.data(), size=st.integers(2, 5), count=st.integers(1, 3))
@examples(60, nightly=1000)
def test_the_transport_of_draws_is_that_of_the_linear_program(law, data, size, count):
    p, q = (data.draw(distributions(size)).tolist() for _ in range(2))
    count = min(count, 2) if law is ProposalLaw.WITHOUT_REPLACEMENT else count
    expected = best_acceptance(p, sibling_sets(q, count, law))
    assert best_acceptance_of_draws(p, q, count, law) == pytest.approx(expected, abs=1e-6)


def test_more_siblings_without_replacement_than_are_solved_are_refused():
    with pytest.raises(ValueError, match="3 siblings without replacement"):
        best_acceptance_of_draws([0.5] * 2, [0.5] * 2, 3, ProposalLaw.WITHOUT_REPLACEMENT)


@given(models=pairs(sizes=(3,)))
@examples(10, nightly=100)
def test_point_mass_reaches_the_optimal_transport(models):
    target, draft = (next_law(model) for model in models)
    q = draft(CONTEXT)
    best = sorted(range(3), key=lambda token: (-q[token], token))[:2]
    most = best_acceptance(target(CONTEXT), {tuple(best): 1.0})
    assert reach(lengths(models, "1x2", "point-mass"), 1) == pytest.approx(most, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "rule"),
    [("chain:3", "rejection"), ("chain:3", "block"), ("2x2", "point-mass"),
     ("sampled:2x2", "multi-round"), ("distinct:2x2", "traversal")],
)  # fmt: skip
def test_the_exact_mean_is_the_mean_of_a_seeded_run(text, rule):
    """False-alarm rate 6e-7 (5 standard errors) with fixed seeds."""
    models = pair_from(*adversarial()["no-residual"])
    law = lengths(models, text, rule)
    shape = parse_tree(text)
    target, draft = models
    drafter, acceptance = make_drafter(shape, draft), make_rule(rule, shape, is_greedy=False)
    randomness = SeededRandomness(11, f"{text} {rule}")
    runs = 3000
    total = 0
    for _ in range(runs):
        target.reset()
        target.advance(CONTEXT[:-1])
        drafter.start(CONTEXT[:-1])
        step = take_step(CONTEXT, target, drafter, acceptance, law=LAW, randomness=randomness)
        total += len(step.acceptance.path)
    variance = sum(p * (k - mean(law)) ** 2 for k, p in law.items())
    assert abs(total / runs - mean(law)) <= 5 * math.sqrt(variance / runs)
