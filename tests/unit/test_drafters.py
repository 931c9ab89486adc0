"""What each drafter proposes, against a slow search of its own."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import VOCABULARY, tiny_lm

from draftproof.config import Sampling
from draftproof.continuation import continuation
from draftproof.drafting import make_drafter
from draftproof.drafting.static_tree import most_probable
from draftproof.laws import ProposalLaw
from draftproof.randomness import Purpose, SeededRandomness
from draftproof.sampling import TokenLaw
from draftproof.shapes import parse_tree
from draftproof.tree import ROOT

SEQUENCE = [1, 3, 2, 0]
LAW = TokenLaw(Sampling(temperature=1.0))
SHAPES = [
    "chain:4", "chain:4,stop=0.45", "3x2", "2x3", "sampled:3x2", "distinct:2x3",
    "static:[[0],[1],[2],[0,0],[1,0],[0,0,1],[0,0,0]]", "best-first:6,depth=3,branching=2",
    "lookup:3",
]  # fmt: skip


def draft(text, sequence=SEQUENCE, room=10, seed=0, law=LAW):
    drafter = make_drafter(parse_tree(text), tiny_lm(2))
    drafter.start(sequence[:-1])
    return drafter.draft(sequence, room, law, SeededRandomness(seed, "draft"))


def ranked(sequence):
    """Tokens by probability of the draft model, from scratch."""
    row = tiny_lm(2).recompute(sequence)[-1]
    return sorted(range(VOCABULARY), key=lambda token: (-float(row[token]), token))


def log_probability(sequence, token):
    return float(torch.log_softmax(tiny_lm(2).recompute(sequence)[-1], -1)[token])


@pytest.mark.parametrize("text", SHAPES)
def test_every_draft_is_a_valid_tree_of_its_law(text):
    for seed in range(3):
        made = draft(text, seed=seed)
        made.tree.check()
        assert made.tree.law is parse_tree(text).law


@pytest.mark.parametrize("text", SHAPES)
def test_a_drafter_draws_for_drafting_only(text):
    randomness = SeededRandomness(0, "draft")
    drafter = make_drafter(parse_tree(text), tiny_lm(2))
    drafter.start(SEQUENCE[:-1])
    made = drafter.draft(SEQUENCE, 10, LAW, randomness)
    is_sampled = made.tree.law is not ProposalLaw.DETERMINISTIC
    assert set(randomness.draws) == ({Purpose.DRAFT} if is_sampled else set())


@pytest.mark.parametrize("text", SHAPES)
def test_each_row_is_the_distribution_after_the_nodes_parent(text):
    law = TokenLaw(Sampling(temperature=1.0, repetition_penalty=1.5))
    made = draft(text, law=law)
    if made.logits is None:
        return
    for node, row in enumerate(made.rows):
        parent = made.tree.parents[node]
        before = [*SEQUENCE, *made.tree.tokens(made.tree.path_to(parent))]
        expected = tiny_lm(2).recompute(before)[-1]
        torch.testing.assert_close(made.logits[row], expected, rtol=1e-9, atol=1e-9)
        if made.probabilities is not None:
            [q] = law.distributions(expected[None], lambda before=before: [before])
            torch.testing.assert_close(made.probabilities[row], q)


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("room", [0, 1, 2])
def test_no_draft_is_deeper_than_the_room(text, room):
    made = draft(text, room=room)
    assert made.tree.depth <= room


@pytest.mark.parametrize("text", ["3x2", "2x3"])
def test_a_k_ary_tree_has_the_most_probable_tokens_after_every_node(text):
    shape, made = parse_tree(text), draft(text)
    assert len(made.tree) == sum(shape.branching**level for level in range(1, shape.depth + 1))
    for node in range(ROOT, len(made.tree)):
        children = made.tree.children(node)
        before = [*SEQUENCE, *made.tree.tokens(made.tree.path_to(node))]
        if children:
            assert list(made.tree.tokens(children)) == ranked(before)[: shape.branching]


def test_a_static_tree_has_the_ranks_of_its_paths():
    text = "static:[[0],[1],[2],[0,0],[1,0],[0,0,1],[0,0,0]]"
    made = draft(text)
    found = set()
    for node in range(len(made.tree)):
        ranks = []
        before = list(SEQUENCE)
        for step in made.tree.path_to(node):
            ranks.append(ranked(before).index(made.tree.token_ids[step]))
            before.append(made.tree.token_ids[step])
        found.add(tuple(ranks))
    assert found == set(parse_tree(text).paths)


def test_a_best_first_tree_has_the_surest_nodes_of_all_that_it_may_reach():
    """With a wide beam the search is exhaustive: the budget's most probable paths."""
    made = draft("best-first:7,depth=2,branching=5")
    scores = {}
    for first in range(VOCABULARY):
        scores[(first,)] = log_probability(SEQUENCE, first)
        for second in range(VOCABULARY):
            scores[first, second] = scores[(first,)] + log_probability([*SEQUENCE, first], second)
    best = sorted(scores, key=lambda path: -scores[path])[:7]
    found = {made.tree.tokens(made.tree.path_to(node)) for node in range(len(made.tree))}
    assert found == set(best)


def test_early_stop_ends_before_the_first_unsure_token_and_drops_none():
    lengths = set()
    for threshold, seed in itertools.product((0.45, 0.6), range(6)):
        whole, cut = (draft(text, seed=seed) for text in ("chain:4", f"chain:4,stop={threshold}"))
        tops = [float(row.max()) for row in whole.probabilities]
        expected = next((i for i, top in enumerate(tops) if top < threshold), 4)
        assert cut.tree.token_ids == whole.tree.token_ids[:expected]
        lengths.add(expected)
    assert lengths >= {0, 2, 4}


def test_siblings_without_replacement_are_distinct_and_as_many_as_there_are_tokens():
    made = draft("distinct:1x9")
    assert sorted(made.tree.token_ids) == list(range(VOCABULARY))
    assert made.tree.law is ProposalLaw.WITHOUT_REPLACEMENT


def test_siblings_with_replacement_follow_the_draft_models_law():
    """False-alarm rate 6e-7 (5 standard errors) for the commonest token, with fixed seeds."""
    probabilities = torch.softmax(tiny_lm(2).recompute(SEQUENCE)[-1], -1)
    token = int(probabilities.argmax())
    expected = float(probabilities[token])
    drafter = make_drafter(parse_tree("sampled:1x10"), tiny_lm(2))
    hits = 0
    randomness = SeededRandomness(3, "siblings")
    for _ in range(100):
        drafter.start(SEQUENCE[:-1])
        hits += drafter.draft(SEQUENCE, 5, LAW, randomness).tree.token_ids.count(token)
    deviation = math.sqrt(1000 * expected * (1 - expected))
    assert abs(hits - 1000 * expected) <= 5 * deviation


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=200)
def test_lookup_finds_the_longest_run_and_its_latest_earlier_occurrence(sequence, ngram):
    candidates = [
        (length, start)
        for length in range(1, min(ngram, len(sequence) - 1) + 1)
        for start in range(len(sequence) - length)
        if sequence[start : start + length] == sequence[-length:]
    ]
    expected = []
    if candidates:
        length, start = max(candidates)
        expected = sequence[start + length :]
    assert list(continuation(sequence, ngram)) == expected


def test_the_first_of_equal_logits_comes_first():
    logits = torch.tensor([[1.0, 5.0, 5.0, 5.0], [2.0, 2.0, 2.0, 2.0]])
    for k in range(1, 5):
        ranks = most_probable(logits, k)
        assert [row[0] for row in ranks] == [1, 0]
        assert all(len(set(row)) == k for row in ranks)


@pytest.mark.parametrize("text", SHAPES)
def test_after_any_kept_path_the_next_draft_is_a_fresh_ones(text):
    """Nothing of a rejected node stays with the draft model."""
    shape = parse_tree(text)
    used, randomness = make_drafter(shape, tiny_lm(2)), SeededRandomness(0, "used")
    used.start(SEQUENCE[:-1])
    first = used.draft(SEQUENCE, 10, LAW, randomness)
    for node in itertools.chain((ROOT,), range(len(first.tree))):
        used.start(SEQUENCE[:-1])
        again = used.draft(SEQUENCE, 10, LAW, SeededRandomness(0, "used"))
        path = again.tree.path_to(node) if node < len(again.tree) else ()
        used.commit(path)
        longer = [*SEQUENCE, *again.tree.tokens(path), 4]
        fresh = make_drafter(shape, tiny_lm(2))
        fresh.start(longer[:-1])
        ours = used.draft(longer, 10, LAW, SeededRandomness(7, "next"))
        theirs = fresh.draft(longer, 10, LAW, SeededRandomness(7, "next"))
        assert ours.tree == theirs.tree
        if ours.logits is not None:
            torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", ["chain:4", "3x2", "sampled:2x2", "distinct:2x2"])
def test_after_any_kept_path_the_draft_model_has_not_to_see_again_what_it_scored(text):
    """Nodes without children were not scored; all others of the path stay with the model."""
    model = tiny_lm(2)
    drafter = make_drafter(parse_tree(text), model)
    for node in range(ROOT, 3):
        drafter.start(SEQUENCE[:-1])
        made = drafter.draft(SEQUENCE, 10, LAW, SeededRandomness(0, "draft"))
        path = made.tree.path_to(node)
        drafter.commit(path)
        scored = sum(bool(made.tree.children(kept)) for kept in path)
        assert model.length == len(SEQUENCE) + scored
