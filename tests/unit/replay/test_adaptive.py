"""Chains that end early: the fitted chance of a token, and where a chain ends by it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from recordings import info_of, seeded_table, synthetic

from draftproof.drafting.confidence import goes_on, kept_chance
from draftproof.errors import UsageError
from draftproof.replay.adaptive import fit_keep, replay_early_chains
from draftproof.shapes import ChainShape, parse_tree


def sure_cases(keep, prompts=40, tokens=200):
    """Cases in which a token is kept with the chance that `keep` gives, by m and H at random."""
    generator = np.random.default_rng(0)
    base, sure, uneasy = keep
    cases = []
    for number in range(prompts):
        m = generator.uniform(0.05, 0.95, tokens)
        h = generator.uniform(0, 3, tokens)
        chance = 1 / (1 + np.exp(-(base + sure * np.log(m / (1 - m)) + uneasy * h)))
        ranks = np.where(generator.uniform(size=tokens) < chance, 0, 5)
        case = synthetic(ranks, case_id=str(number))
        own = case.drafts["draft"]
        top = {**own.top, "top_log_probability": np.tile(np.log(m)[:, None], (1, own.k))}
        made = replace(own, columns={**own.columns, "entropy": h}, top=top)
        cases.append(replace(case, drafts={"draft": made}))
    return cases


@pytest.mark.parametrize("keep", [(0.3, 0.8, -0.5), (-0.5, 1.2, 0.0)])
def test_the_chance_is_fitted(keep):
    """8,000 positions: each coefficient within 0.12, about three standard errors."""
    assert fit_keep(sure_cases(keep), "draft", with_entropy=True) == pytest.approx(keep, abs=0.12)


def test_only_tokens_that_steps_draft_are_fitted_to():
    """Not the first of an output, nor those after its end."""
    made = sure_cases((0.3, 0.8, 0.0), prompts=4)
    moved = []
    for each in made:
        tokens = len(each.token_ids)
        own = each.drafts["draft"]
        rank = own.columns["rank"].copy()
        rank[[0, *range(tokens - 9, tokens)]] = 5
        draft = replace(own, columns={**own.columns, "rank": rank})
        moved.append(replace(each, committed=tokens - 9, drafts={"draft": draft}))
    shorter = [replace(each, committed=len(each.token_ids) - 9) for each in made]
    fitted = fit_keep(shorter, "draft", with_entropy=True)
    assert fit_keep(moved, "draft", with_entropy=True) == fitted
    assert fit_keep(made, "draft", with_entropy=True) != fitted


def test_without_the_entropy_its_coefficient_is_zero():
    assert fit_keep(sure_cases((0.3, 0.8, -0.5)), "draft", with_entropy=False)[2] == 0


def test_nothing_to_fit_is_the_probability_itself():
    case = synthetic([0, 0, 0])
    assert fit_keep([case], "draft", with_entropy=True) == (0.0, 1.0, 0.0)
    assert fit_keep([], "draft", with_entropy=True) == (0.0, 1.0, 0.0)


def test_coefficients_survive_the_text_of_a_shape():
    keep = fit_keep(sure_cases((0.3, 0.8, -0.5), prompts=3), "draft", with_entropy=True)
    shape = ChainShape(8, 0.0, 0.35, keep)
    assert parse_tree(str(shape)) == shape


def test_the_chance_of_a_token_by_hand():
    q = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], dtype=torch.float64)
    assert kept_chance(q[:1], (0.0, 1.0, 0.0)).tolist() == pytest.approx([0.5])
    entropy = 0.5 * np.log(2) + 0.5 * np.log(4)
    expected = 1 / (1 + np.exp(-(0.2 - 0.3 * entropy)))
    assert kept_chance(q[:1], (0.2, 2.0, -0.3)).tolist() == pytest.approx([expected])
    assert kept_chance(q[1:], (0.0, 1.0, 0.0)).tolist() == pytest.approx([1.0], abs=1e-5)


def test_a_chain_goes_on_while_all_of_it_may_be_kept():
    shape = ChainShape(4, 0.0, 0.3)
    q = torch.tensor([[0.6, 0.4]], dtype=torch.float64)
    chance = torch.ones(1, dtype=torch.float64)
    seen = []
    for _ in range(3):
        going, chance = goes_on(q, shape, chance)
        seen.append((bool(going), round(float(chance), 3)))
    assert seen == [(True, 0.6), (True, 0.36), (False, 0.216)]


def test_lengths_passes_and_costs_by_hand():
    """Sure twice, then not: two tokens are drafted, and a third pass says that it is enough."""
    case = synthetic([9, 0, 0, 0, 0], committed=5)
    own = case.drafts["draft"]
    sure = np.tile(np.array([0.9, 0.9, 0.1, 0.9], "<f4"), (5, 1))
    chain = {"chain_probability": sure, "chain_entropy": np.zeros((5, 4), "<f4")}
    case = replace(case, drafts={"draft": replace(own, chain=chain)})
    info = info_of(seeded_table(0), {"draft": seeded_table(1)})
    shapes = [ChainShape(4, 0.0, 0.5), ChainShape(2, 0.0, 0.5), ChainShape(4, 0.5)]
    found = replay_early_chains([case], "draft", shapes, info)
    assert found.sums.steps[:, 0].tolist() == [2, 2, 2]
    assert found.sums.drafted[:, 0].tolist() == [4, 4, 4]
    assert found.passes[:, 0].tolist() == [6, 4, 6]
    assert found.steps_by_nodes[0, 0].tolist() == [0, 0, 2, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chain:3,gain=2", "gain is a probability"),
        ("chain:3,base=1", "base, sure, entropy do nothing without gain=NUMBER"),
        ("chain:3,gain=often", "options are: stop=NUMBER, gain=NUMBER"),
    ],
)
def test_shapes_that_cannot_be_read(text, message):
    with pytest.raises(UsageError, match=message):
        parse_tree(text)
