"""Small public implementations, restated: which have the rule's law, and what others lack."""

import pytest
import torch

from draftproof.kernels import restated
from draftproof.kernels.contract import ChainCall, declared
from draftproof.kernels.sampling import given_draft
from draftproof.kernels.tables import chain, drafts, turning

RIGHT = ("gpt_fast", "lucidrains", "romsto", "llm_speculative_sampling",
         "llm_speculative_sampling_v2", "jaymody")  # fmt: skip
WRONG = ("lucidrains_lenience", "romsto_without_adjustment")


def evidence(name, rows):
    kernel = getattr(restated, name)
    facts = declared(kernel)
    pair = turning("a", [0.1, 0.4, 0.5], [0.6, 0.3, 0.1], chain(2), proposals=facts.proposals)
    found = given_draft(kernel, facts, list(drafts(pair)), rows=rows, alpha=1e-4)
    assert not found.malformed
    return found.evidence


@pytest.mark.parametrize("name", RIGHT)
def test_the_law_is_the_rules(name):
    assert not evidence(name, 6000).rejects


@pytest.mark.parametrize("name", WRONG)
def test_an_option_that_changes_the_law_shows(name):
    assert evidence(name, 20_000).rejects


def call(rows, p, q, dtype=torch.float32):
    """One drafted token 0 a row."""
    return ChainCall(
        draft_tokens=torch.zeros((rows, 1), dtype=torch.int64),
        draft_lengths=torch.ones(rows, dtype=torch.int64),
        draft_probabilities=torch.tensor([[q]], dtype=dtype).expand(rows, 1, len(q)),
        target_probabilities=torch.tensor([[p, p]], dtype=dtype).expand(rows, 2, len(p)),
        greedy=torch.zeros(rows, dtype=torch.bool),
    )


@pytest.mark.parametrize(
    ("name", "repeats"),
    [("llm_speculative_sampling", False), ("llm_speculative_sampling_seeded", True)],
)
def test_a_seed_before_every_draw_repeats_the_draws(name, repeats):
    """Corrections of 200 rows, all ids alike: two calls agree by chance in 4 rows of 200."""
    kernel = getattr(restated, name)
    asked = call(200, [0.0, *[1 / 50] * 50], [1.0, *[0.0] * 50])
    first, second = kernel(asked)[:, 0], kernel(asked)[:, 0]
    assert ((first == second).sum() > 30) == repeats


def test_coins_of_bfloat16_that_are_0_keep_what_is_impossible():
    """A coin of bfloat16 is 0 once in 512 or in 256 times; of float32, once in 2²⁴."""
    rows, laws = 100_000, ([0.0, 1.0], [0.5, 0.5])
    torch.manual_seed(0)
    for kernel in (restated.gpt_fast, restated.lucidrains, restated.romsto):
        impossible = kernel(call(rows, *laws, torch.bfloat16))[:, 0] == 0
        assert 1 / 1000 < impossible.float().mean() < 1 / 200
        assert (kernel(call(rows, *laws))[:, 0] == 1).all()
    strict = restated.llm_speculative_sampling_v2
    assert (strict(call(rows, *laws, torch.bfloat16))[:, 0] == 1).all()
