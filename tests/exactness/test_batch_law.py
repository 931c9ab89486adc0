"""Two rows of a batch: their joint law, enumerated, is the product of what each follows alone."""

import itertools

import pytest
import torch
from profiles import IS_NIGHTLY

from draftproof.batch.decoding import Job, speculate_all
from draftproof.batch.drafters import make_batch_drafter
from draftproof.batch.draws import FollowedDraws
from draftproof.batch.models import SeparateRows
from draftproof.config import Sampling
from draftproof.enumeration import exact_law
from draftproof.laws import RULES, valid_rules
from draftproof.lossless.exact_law import plain_law
from draftproof.lossless.tables import adversarial, pair_from
from draftproof.models.table import TableLM
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping

SHAPES = ("1x2", "chain:2", "sampled:1x2", "distinct:1x2", "best-first:2,depth=2,branching=2")
TABLES = {
    "two ids": (torch.tensor([0.7, 0.3]).double(), torch.tensor([0.4, 0.6]).double()),
    **adversarial(),
}
"""Branches of both rows multiply: on tables of three ids, a case takes a minute."""
CASES = [
    (shape, rule)
    for shape in SHAPES
    for rule in valid_rules(
        parse_tree(shape).law, is_chain=parse_tree(shape).is_chain, is_greedy=False
    )
    if RULES[rule].lossless
]


@pytest.mark.parametrize(("shape", "rule"), CASES)
@pytest.mark.parametrize("name", ["two ids", *(["no-residual", "sibling-law"] * IS_NIGHTLY)])
def test_the_joint_law_of_two_rows(shape, rule, name):
    target, draft = pair_from(*TABLES[name])

    def copies(model):
        return SeparateRows(lambda: TableLM(model._law, model.vocabulary_size))

    tree = parse_tree(shape)
    sampling = (Sampling(temperature=1.0), Sampling(temperature=0.6))
    stopping = (Stopping(max_new_tokens=2), Stopping(max_new_tokens=2))
    prompts = ((0,), (1, 0))

    def run(randomness):
        jobs = [
            Job(prompt=prompt, sampling=own, stopping=stop, randomness=randomness)
            for prompt, own, stop in zip(prompts, sampling, stopping, strict=True)
        ]
        outputs = dict(
            speculate_all(
                jobs,
                copies(target),
                make_batch_drafter(tree, copies(draft)),
                rule,
                make_draws=FollowedDraws,
                most_rows=2,
            )
        )
        return outputs[0], outputs[1]

    joint = exact_law(run)
    alone = [
        plain_law(prompt, target, sampling=own, stopping=stop)
        for prompt, own, stop in zip(prompts, sampling, stopping, strict=True)
    ]
    for one, other in itertools.product(*alone):
        expected = alone[0][one] * alone[1][other]
        assert joint.get((one, other), 0.0) == pytest.approx(expected, abs=1e-12)
    assert sum(joint.values()) == pytest.approx(1.0, abs=1e-12)
