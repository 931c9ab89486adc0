"""A budget in code: the drafter of each domain, for `speculate`."""

import pytest
from recordings import GREEDY, seeded_table

from draftproof.acceptance import make_rule
from draftproof.budget import Budget
from draftproof.decoding import plain_decode, speculate
from draftproof.drafting import drafter_of_domain
from draftproof.errors import UsageError
from draftproof.randomness import SeededRandomness
from draftproof.stopping import Stopping

BUDGET = Budget.from_json(
    {
        "kind": "draftproof budget",
        "schema_version": 1,
        "target": "t",
        "temperature": 0.0,
        "domains": {
            "code": {"draft": "small", "tree": "static:[[0],[1]]"},
            "math": {"draft": "lookup", "tree": "lookup:3"},
            "chat": {"draft": "none", "tree": "none"},
        },
        "otherwise": {"draft": "small", "tree": "chain:2"},
    },
    "budget.json",
)


@pytest.mark.parametrize(
    ("domain", "sizes"), [("code", {2}), ("math", {0, 1, 2, 3}), ("chat", {0}), ("logic", {2})]
)
def test_each_domain_drafts_as_its_budget_says(domain, sizes):
    target, seen = seeded_table(3), set()
    settings = {
        "sampling": GREEDY,
        "stopping": Stopping(max_new_tokens=9),
        "randomness": SeededRandomness(0, "case"),
    }
    output = speculate(
        [1, 2, 1],
        target,
        drafter_of_domain(BUDGET, domain, {"small": seeded_table(4)}),
        make_rule("auto", BUDGET.of(domain).tree, is_greedy=True),
        observe=lambda step, committed: seen.add(len(step.draft.tree)),
        **settings,
    )
    assert output.token_ids == plain_decode([1, 2, 1], target, **settings).token_ids
    # The last step has room for fewer tokens.
    assert max(seen) == max(sizes) if domain != "math" else seen <= sizes


def test_a_model_that_was_not_given_is_named():
    with pytest.raises(UsageError, match="gives code the draft model 'small'.*there are: other"):
        drafter_of_domain(BUDGET, "code", {"other": seeded_table(1)})
