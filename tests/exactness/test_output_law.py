"""The law of whole outputs over several steps, by enumeration of the production code.

Every acceptance rule, with every kind of draft that it is valid for, under every sampling setting,
on tables that Hypothesis draws and on adversarial ones: equal to the target's own law to 1e-12.
"""

import itertools

import proofs
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from oracles import chain_rule_law
from profiles import IS_NIGHTLY, examples
from tables import adversarial, pair_from, pairs

from draftproof.acceptance import make_rule
from draftproof.config import Sampling
from draftproof.decoding import speculate
from draftproof.drafting import make_drafter
from draftproof.enumeration import exact_law
from draftproof.laws import RULES, valid_rules
from draftproof.lossless.exact_law import largest_difference, plain_law, speculative_law
from draftproof.models.widened import WidenedLM
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping

EXACT = 1e-12
PROMPT = (0, 1, 0)

SHAPES = {
    "chain:1": 4,
    "chain:3": 3,
    "chain:2,stop=0.6": 3,
    "chain:3,gain=0.3,base=0.5,sure=0.7,entropy=-0.4": 3,
    "sampled:1x2": 3,
    "distinct:1x2": 3,
    "distinct:1x3": 3,
    "2x2": 4,
    "3x3": 4,
    "static:[[0],[1],[0,0],[0,1],[1,0],[0,0,0]]": 4,
    "best-first:4,depth=3,branching=2": 4,
    "lookup:3,ngram=2": 4,
}
"""Shapes, and the length of the outputs that are enumerated for them."""

LARGE_SHAPES = {"chain:4": 4, "sampled:2x2": 3, "distinct:2x2": 3, "sampled:1x3": 3}
"""Shapes with thousands of leaves a step: on adversarial tables, and few drawn ones."""

LARGEST = {
    ("distinct:3x2", 2): 4,
    ("distinct:2x2", 4): 3,
    ("distinct:2x3", 3): 3,
    ("sampled:1x5", 4): 3,
    ("sampled:2x2", 4): 2,
}
"""Sampled trees on tables with a number of ids, and the length of the outputs: up to some thousand
drafts a step."""

NIGHTLY = {("distinct:3x2", 3): 2, ("sampled:2x3", 2): 2, ("sampled:3x2", 2): 2}
"""The same with up to 279,936 drafts a step. No planted fault is seen by these alone."""

SAMPLINGS = {
    "t=1": Sampling(temperature=1.0),
    "t=0.6": Sampling(temperature=0.6),
    "top-k": Sampling(temperature=1.2, top_k=2),
    "top-p": Sampling(temperature=1.0, top_p=0.7),
    "min-p": Sampling(temperature=1.0, min_p=0.4),
    "penalty": Sampling(temperature=1.0, repetition_penalty=1.8),
    "min-new": Sampling(temperature=1.0, min_new_tokens=2),
    "all": Sampling(
        temperature=0.9, top_k=3, top_p=0.95, min_p=0.05, repetition_penalty=1.3, min_new_tokens=1
    ),
    "greedy": Sampling(temperature=0.0),
    "greedy-penalty": Sampling(temperature=0.0, repetition_penalty=3.0),
}


def combinations(shapes, samplings=SAMPLINGS):
    """Every lossless rule with every shape and setting that it is valid for."""
    return [
        pytest.param(name, shape, length, sampling, id=f"{name}-{text}-{label}")
        for (text, length), (label, sampling) in itertools.product(
            shapes.items(), samplings.items()
        )
        for shape in [parse_tree(text)]
        for name in valid_rules(shape.law, is_chain=shape.is_chain, is_greedy=sampling.greedy)
        if RULES[name].lossless
    ]


def laws(models, rule, shape, length, sampling, stop=2):
    """The target's own law, and that of speculation; both of outputs that may stop early."""
    target, draft = models
    stopping = Stopping(max_new_tokens=length, stop_token_ids=frozenset({stop}))
    return (
        plain_law(PROMPT, target, sampling=sampling, stopping=stopping),
        speculative_law(
            PROMPT,
            target,
            make_drafter(shape, draft),
            make_rule(rule, shape, is_greedy=sampling.greedy),
            sampling=sampling,
            stopping=stopping,
        ),
    )


def assert_lossless(models, rule, shape, length, sampling, stop=2):
    plain, speculative = laws(models, rule, shape, length, sampling, stop)
    assert sum(speculative.values()) == pytest.approx(1, abs=EXACT)
    assert largest_difference(plain, speculative) <= EXACT
    proofs.count += 1


@pytest.mark.parametrize(("rule", "shape", "length", "sampling"), combinations(SHAPES))
@given(data=st.data())
@examples(4, nightly=20)
def test_drawn_tables(rule, shape, length, sampling, data):
    models = data.draw(pairs(positive=2 if sampling.min_new_tokens else 1))
    assert_lossless(models, rule, shape, length, sampling)


@pytest.mark.parametrize("name", sorted(adversarial()))
@pytest.mark.parametrize(
    ("rule", "shape", "length", "sampling"),
    combinations(SHAPES | LARGE_SHAPES, {"t=1": SAMPLINGS["t=1"]}),
)
def test_adversarial_tables(rule, shape, length, sampling, name):
    assert_lossless(pair_from(*adversarial()[name]), rule, shape, length, sampling)


@pytest.mark.parametrize(("rule", "shape", "length", "sampling"), combinations(LARGE_SHAPES))
@given(models=pairs(sizes=(3,), positive=2))
@examples(1, nightly=3)
def test_large_drafts_under_every_setting(rule, shape, length, sampling, models):
    assert_lossless(models, rule, shape, length, sampling)


def sampled_trees(sizes):
    """Every lossless rule with sampled trees on tables of some sizes."""
    return [
        pytest.param(name, shape, ids, length, id=f"{name}-{text}-{ids}-ids")
        for (text, ids), length in sizes.items()
        for shape in [parse_tree(text)]
        for name in valid_rules(shape.law, is_chain=False, is_greedy=False)
        if RULES[name].lossless
    ]


@pytest.mark.parametrize(("rule", "shape", "ids", "length"), sampled_trees(LARGEST))
@given(data=st.data())
@examples(1, nightly=2)
def test_the_largest_sampled_trees(rule, shape, ids, length, data):
    models = target, draft = data.draw(pairs(sizes=(ids,), positive=ids))
    assume(not torch.equal(target.recompute(PROMPT), draft.recompute(PROMPT)))
    assert_lossless(models, rule, shape, length, Sampling(temperature=1.0))


@pytest.mark.skipif(not IS_NIGHTLY, reason="minutes a tree: HYPOTHESIS_PROFILE=nightly only")
@pytest.mark.parametrize(("rule", "shape", "ids", "length"), sampled_trees(NIGHTLY))
def test_sampled_trees_of_many_thousand_drafts(rule, shape, ids, length):
    """On one table: a fixed law without zeros, turned for each context."""
    p, q = (torch.arange(1.0, ids + 1).double() ** power for power in (1, -2))
    models = pair_from(p / p.sum(), q / q.sum())
    assert_lossless(models, rule, shape, length, Sampling(temperature=1.0), stop=0)


@pytest.mark.parametrize(("rule", "shape", "length", "sampling"), combinations({"3x3": 2}))
@given(models=pairs(sizes=(4,), positive=2))
@examples(2, nightly=20)
def test_four_ids(rule, shape, length, sampling, models):
    assert_lossless(models, rule, shape, length, sampling)


@pytest.mark.parametrize(
    ("rule", "shape", "length", "sampling"),
    combinations(
        dict.fromkeys(SHAPES, 3),
        {name: SAMPLINGS[name] for name in ("t=1", "penalty")},
    ),
)
@given(models=pairs(sizes=(3,), positive=2), known=st.sampled_from([(0, 1), (0, 2), (1, 2)]))
@examples(2, nightly=20)
def test_a_draft_model_that_lacks_an_id(rule, shape, length, sampling, models, known):
    target, draft = models
    widened = WidenedLM(draft, 3, known, stand_in=known[0])
    assert_lossless((target, widened), rule, shape, length, sampling)


@given(models=pairs(), stop=st.integers(0, 2), length=st.integers(1, 4))
@examples(20, nightly=200)
def test_a_stop_token_or_the_limit_at_every_offset_of_a_block(models, stop, length):
    for text in ("chain:3", "2x2"):
        shape = parse_tree(text)
        sampling = Sampling(temperature=1.0)
        [rule, *_] = valid_rules(shape.law, is_chain=shape.is_chain, is_greedy=False)
        assert_lossless(models, rule, shape, length, sampling, stop)


@given(models=pairs(sizes=(3,)), length=st.integers(2, 4))
@examples(15, nightly=150)
def test_a_stop_string_at_every_offset_of_a_block(models, length):
    target, draft = models
    shape = parse_tree("chain:3")
    sampling = Sampling(temperature=1.0)
    stopping = Stopping(
        max_new_tokens=length,
        stop_strings=("ba",),
        decode=lambda tokens: "".join("abc"[token] for token in tokens),
    )
    plain = plain_law(PROMPT, target, sampling=sampling, stopping=stopping)
    speculative = speculative_law(
        PROMPT,
        target,
        make_drafter(shape, draft),
        make_rule("rejection", shape, is_greedy=False),
        sampling=sampling,
        stopping=stopping,
    )
    assert largest_difference(plain, speculative) <= EXACT


@pytest.mark.parametrize("label", sorted(SAMPLINGS))
@given(models=pairs(positive=2), length=st.integers(2, 4), stop=st.integers(0, 2))
@examples(8, nightly=40)
def test_plain_decoding_has_the_law_of_an_independent_oracle(models, label, length, stop):
    target, _ = models
    sampling = SAMPLINGS[label]
    stopping = Stopping(max_new_tokens=length, stop_token_ids=frozenset({stop}))
    found = plain_law(PROMPT, target, sampling=sampling, stopping=stopping)
    expected = chain_rule_law(PROMPT, target, sampling, length, stop)
    assert {output.token_ids for output in found} == set(expected)
    for output, probability in found.items():
        assert probability == pytest.approx(expected[output.token_ids], abs=EXACT)


@pytest.mark.parametrize("text", ["chain:2", "2x2", "sampled:1x2", "distinct:1x2", "lookup:2"])
@given(models=pairs(sizes=(2,)))
@examples(3, nightly=20)
def test_merging_equal_states_changes_nothing(text, models):
    """The whole loop, enumerated in one go with its caches, has the law of the merged steps."""
    target, draft = models
    shape = parse_tree(text)
    sampling = Sampling(temperature=1.0)
    stopping = Stopping(max_new_tokens=4, stop_token_ids=frozenset({9}))
    drafter = make_drafter(shape, draft)
    rule = make_rule("auto", shape, is_greedy=False)
    whole = exact_law(
        lambda randomness: speculate(
            PROMPT,
            target,
            drafter,
            rule,
            sampling=sampling,
            stopping=stopping,
            randomness=randomness,
        )
    )
    merged = speculative_law(PROMPT, target, drafter, rule, sampling=sampling, stopping=stopping)
    assert largest_difference(whole, merged) <= EXACT


def test_typical_acceptance_is_not_lossless():
    """On nearly every table: where the target is sure enough, it happens to change nothing."""
    shape = parse_tree("2x2")
    differences = {}
    for name, (p, q) in adversarial().items():
        plain, speculative = laws(pair_from(p, q), "typical", shape, 3, Sampling(temperature=1.0))
        assert sum(speculative.values()) == pytest.approx(1, abs=EXACT)
        differences[name] = largest_difference(plain, speculative)
    assert sum(difference > 0.01 for difference in differences.values()) >= 8
    models = pair_from(*adversarial()[max(differences, key=differences.__getitem__)])
    with pytest.raises(AssertionError):
        assert_lossless(models, "typical", shape, 3, Sampling(temperature=1.0))
