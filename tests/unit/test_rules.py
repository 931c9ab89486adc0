"""What rules refuse, and boundary draws; that they are lossless is proved in tests/exactness."""

import itertools

import pytest
import torch

from draftproof.acceptance import TypicalRule, make_rule
from draftproof.acceptance.multi_round import residual, without
from draftproof.acceptance.traversal import remainder
from draftproof.drafting.protocol import Draft
from draftproof.errors import DraftError, UsageError
from draftproof.laws import RULES, ProposalLaw
from draftproof.randomness import BOUNDARY_DRAWS, InjectedRandomness, Purpose
from draftproof.shapes import parse_tree
from draftproof.tree import ROOT, DraftTree

CHAIN = (-1, 0)
SIBLINGS = (-1, -1)


def draft(parents, law, token_ids=(1, 0), probabilities=True):
    q = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).repeat(2, 1)
    return Draft(
        tree=DraftTree(token_ids=token_ids, parents=parents, law=law),
        rows=(0, 1) if parents == CHAIN else (0, 0),
        logits=q.log(),
        probabilities=q if probabilities else None,
    )


def rule(name):
    return make_rule(name, parse_tree("chain:1"), is_greedy=False)


P = torch.tensor([[0.2, 0.3, 0.5], [0.0, 0.6, 0.4], [1.0, 0.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("tree", "is_greedy", "name"),
    [
        ("chain:3", False, "rejection"),
        ("sampled:3x2", False, "multi-round"),
        ("distinct:3x2", False, "without-replacement"),
        ("3x2", False, "point-mass"),
        ("lookup:3", False, "point-mass"),
        ("chain:3", True, "greedy"),
        ("3x2", True, "greedy"),
    ],
)
def test_auto_is_the_rule_for_what_is_drafted(tree, is_greedy, name):
    assert make_rule("auto", parse_tree(tree), is_greedy=is_greedy).name == name


def test_an_unknown_rule_is_refused_with_the_nearest_and_all():
    with pytest.raises(UsageError) as caught:
        make_rule("rejecton", parse_tree("3x2"), is_greedy=False)
    assert str(caught.value) == (
        "--spec-rule: unknown value 'rejecton'; did you mean 'rejection'? "
        f"Valid: auto, {', '.join(sorted(RULES))}"
    )


@pytest.mark.parametrize(
    ("name", "parents", "law", "use"),
    [
        ("rejection", CHAIN, ProposalLaw.DETERMINISTIC, "point-mass"),
        ("point-mass", CHAIN, ProposalLaw.INDEPENDENT, "rejection, multi-round, block, traversal"),
        ("rejection", SIBLINGS, ProposalLaw.INDEPENDENT, "multi-round, traversal"),
        ("block", SIBLINGS, ProposalLaw.WITHOUT_REPLACEMENT, "without-replacement, traversal"),
        (
            "multi-round",
            SIBLINGS,
            ProposalLaw.WITHOUT_REPLACEMENT,
            "without-replacement, traversal",
        ),
        ("without-replacement", SIBLINGS, ProposalLaw.INDEPENDENT, "multi-round, traversal"),
        ("traversal", SIBLINGS, ProposalLaw.DETERMINISTIC, "point-mass"),
        ("point-mass", SIBLINGS, ProposalLaw.INDEPENDENT, "multi-round, traversal"),
    ],
)
def test_a_rule_refuses_drafts_it_is_not_valid_for_and_names_valid_ones(name, parents, law, use):
    kind = "chain" if parents == CHAIN else "tree"
    message = f"'{name}' is not valid for a {kind} whose siblings are {law}; use one of: {use}"
    with pytest.raises(DraftError, match=f"{message}, typical$"):
        rule(name).accept(draft(parents, law), P, InjectedRandomness(0.5))


@pytest.mark.parametrize("name", ["rejection", "multi-round", "block", "traversal"])
def test_a_sampled_draft_without_its_distributions_is_refused(name):
    bare = draft(CHAIN, ProposalLaw.INDEPENDENT, probabilities=False)
    message = "^a sampled draft must carry the distributions that it was drawn from$"
    with pytest.raises(DraftError, match=message):
        rule(name).accept(bare, P, InjectedRandomness(0.5))


@pytest.mark.parametrize("name", ["rejection", "multi-round", "block", "traversal"])
def test_a_token_that_cannot_have_been_drawn_is_refused(name):
    false = draft(CHAIN, ProposalLaw.INDEPENDENT, token_ids=(2, 0))
    message = (
        "^token 2 was drafted, and has probability 0 under the distribution that it is said to be "
        "drawn from; the drafter must report the one it draws from$"
    )
    with pytest.raises(DraftError, match=message):
        rule(name).accept(false, P, InjectedRandomness(0.5))


@pytest.mark.parametrize("uniform", BOUNDARY_DRAWS)
@pytest.mark.parametrize(
    "name", ["rejection", "multi-round", "without-replacement", "block", "traversal"]
)
def test_boundary_draws_never_emit_an_impossible_token(name, uniform):
    is_distinct = name == "without-replacement"
    made = draft(CHAIN, ProposalLaw.WITHOUT_REPLACEMENT if is_distinct else ProposalLaw.INDEPENDENT)
    for uniforms in ((uniform,), (0.0, uniform), (uniform, 0.0), (0.0, 0.0, uniform)):
        kept = rule(name).accept(made, P, InjectedRandomness(*uniforms))
        context = kept.path[-1] + 1 if kept.path else 0
        assert P[context, kept.extra_token] > 0
        for node in kept.path:
            assert P[node, made.tree.token_ids[node]] > 0


@pytest.mark.parametrize("uniform", BOUNDARY_DRAWS)
def test_boundary_draws_of_point_masses(uniform):
    made = draft(SIBLINGS, ProposalLaw.DETERMINISTIC, probabilities=False)
    kept = rule("point-mass").accept(made, P, InjectedRandomness(uniform))
    assert kept.path == ((0,) if uniform == 0 else ())
    assert P[1 if kept.path else 0, kept.extra_token] > 0
    if not kept.path:
        assert kept.extra_token == 2


def test_an_empty_draft_is_one_token_of_plain_decoding():
    for name in ("rejection", "multi-round", "block", "traversal", "point-mass", "typical"):
        law = ProposalLaw.DETERMINISTIC if name == "point-mass" else ProposalLaw.INDEPENDENT
        kept = rule(name).accept(Draft.empty(law), P[:1], InjectedRandomness(0.4))
        assert (kept.path, kept.extra_token, kept.reached) == ((), 1, ())


@pytest.mark.parametrize(
    ("name", "parents", "law"),
    [
        ("rejection", CHAIN, ProposalLaw.INDEPENDENT),
        ("block", CHAIN, ProposalLaw.INDEPENDENT),
        ("multi-round", SIBLINGS, ProposalLaw.INDEPENDENT),
        ("without-replacement", SIBLINGS, ProposalLaw.WITHOUT_REPLACEMENT),
        ("traversal", SIBLINGS, ProposalLaw.INDEPENDENT),
        ("point-mass", SIBLINGS, ProposalLaw.DETERMINISTIC),
        ("typical", CHAIN, ProposalLaw.DETERMINISTIC),
    ],
)
def test_the_extra_token_is_a_bonus_after_a_leaf_and_else_a_correction(name, parents, law):
    made = draft(parents, law)
    purposes = set()
    target = torch.tensor([[0.3, 0.3, 0.4], [0.5, 0.3, 0.2], [0.4, 0.3, 0.3]]).double()
    if name == "typical":
        target = torch.stack([target[0], torch.tensor([0.0, 0.5, 0.5]).double(), target[2]])
    for uniforms in itertools.product((0.0, 0.5, 0.99), repeat=3):
        draws = []
        randomness = InjectedRandomness(*uniforms, observe=draws.append)
        kept = rule(name).accept(made, target, randomness)
        last = kept.path[-1] if kept.path else ROOT
        is_leaf = not made.tree.children(last)
        assert draws[-1].purpose is (Purpose.BONUS if is_leaf else Purpose.CORRECTION)
        assert {draw.purpose for draw in draws[:-1]} <= {Purpose.ACCEPT}
        purposes.add(draws[-1].purpose)
    assert len(purposes) == (1 if name == "typical" else 2)


@pytest.mark.parametrize(
    ("epsilon", "delta", "is_typical"),
    [(0.2, 2.0, True), (0.5, 0.3, True), (0.3, 2.0, False), (0.25, 2.0, False)],
)
def test_a_token_is_typical_above_the_smaller_of_the_two_thresholds(epsilon, delta, is_typical):
    """Uniform over 4 ids: exp(−H) = 1/4."""
    made = Draft(
        tree=DraftTree(token_ids=(2,), parents=(-1,), law=ProposalLaw.DETERMINISTIC), rows=(0,)
    )
    target = torch.full((2, 4), 0.25, dtype=torch.float64)
    kept = TypicalRule(epsilon, delta).accept(made, target, InjectedRandomness(0.5))
    assert kept.path == ((0,) if is_typical else ())


def test_of_the_typical_paths_the_first_of_the_deepest_is_kept():
    tree = DraftTree(
        token_ids=(0, 1, 2, 0, 1, 2),
        parents=(-1, -1, -1, 1, 1, 2),
        law=ProposalLaw.DETERMINISTIC,
    )
    target = torch.full((7, 3), 1 / 3, dtype=torch.float64)
    kept = TypicalRule().accept(Draft(tree=tree, rows=(0,) * 6), target, InjectedRandomness(0.5))
    assert (kept.path, kept.reached) == ((1, 3), tuple(range(6)))


@pytest.mark.parametrize(
    ("last", "path", "purpose", "extra"),
    [(0.08, (0, 1), Purpose.CORRECTION, 1), (0.1, (0, 1, 2), Purpose.BONUS, 5)],
)
def test_typical_by_the_distribution_after_the_parent_with_medusas_defaults(
    last, path, purpose, extra
):
    """The threshold is .09 but after node 0, where it is .3 / 12 of a uniform distribution."""
    target = torch.zeros(4, 12, dtype=torch.float64)
    target[0, :2] = torch.tensor([0.9, 0.1])
    target[1] = 1 / 12
    target[2, :2] = torch.tensor([last, 1 - last])
    target[3, 5] = 1.0
    tree = DraftTree(token_ids=(1, 2, 0), parents=(-1, 0, 1), law=ProposalLaw.DETERMINISTIC)
    draws = []
    randomness = InjectedRandomness(0.5, observe=draws.append)
    kept = rule("typical").accept(Draft(tree=tree, rows=(0, 1, 2)), target, randomness)
    assert (kept.path, kept.extra_token) == (path, extra)
    assert [draw.purpose for draw in draws] == [purpose]


@pytest.mark.parametrize("left", [1e-17, 1e-300])
def test_what_is_left_of_rounding_alone_is_no_division_by_zero(left):
    """p and q that differ in the last bits: so little is left that 1 + left is 1."""
    p = torch.tensor([0.5, left, 0.5], dtype=torch.float64)
    q = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64)
    weight, rest = remainder(p, q, 1.0)
    assert (weight, rest.tolist()) == (1.0, [0.0, 1.0, 0.0])
    weight, _ = remainder(p, q, 0.5)
    assert weight == pytest.approx(0, abs=1e-16)


def test_nothing_is_left_of_a_point_mass_without_its_token():
    assert without(torch.tensor([0.0, 1.0, 0.0]), 1).tolist() == [0.0, 0.0, 0.0]
    assert without(torch.tensor([0.25, 0.5, 0.25]), 1).tolist() == [0.5, 0.0, 0.5]


def test_where_nothing_is_left_of_p_it_stays_p():
    """Such a rejection has probability 0 but for rounding."""
    p = torch.tensor([0.25, 0.0, 0.75], dtype=torch.float64)
    assert residual(p, p).tolist() == p.tolist()
    for weight, left in ((1.0, 1.0), (0.5, 0.0)):
        found, rest = remainder(p, p, weight)
        assert (found, rest.tolist()) == (left, p.tolist())
