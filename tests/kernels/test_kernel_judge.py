"""The judge's laws against the rules that ship, enumerated, and against the target's law."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from draftproof.acceptance import make_rule
from draftproof.drafting.protocol import Draft
from draftproof.enumeration import exact_law
from draftproof.kernels.adversarial import HARD, adversarial_pairs, all_drafts
from draftproof.kernels.contract import declared
from draftproof.kernels.faults import NAMES, fault_laws
from draftproof.kernels.judge import completed_law, rule_law, target_law
from draftproof.kernels.tables import chain, drafts, turning
from draftproof.shapes import parse_tree
from draftproof.tree import DraftTree

RULES = [
    ("chain", "rejection"),
    ("chain", "block"),
    ("chain", "point-mass"),
    ("tree", "multi-round"),
    ("tree", "without-replacement"),
    ("tree", "point-mass"),
]


def shipped_law(rule, table):
    """The law that the acceptance rule of the package has on a table, every draw followed."""
    tree = DraftTree(token_ids=table.tokens, parents=table.parents, law=table.proposals)
    draft = Draft(
        tree=tree,
        rows=tuple(parent + 1 for parent in table.parents),
        probabilities=torch.from_numpy(table.draft),
    )
    made = make_rule(rule, parse_tree("chain:2"), is_greedy=False)
    target = torch.from_numpy(table.target)

    def emitted(randomness):
        kept = made.accept(draft, target, randomness)
        return (*tree.tokens(kept.path), kept.extra_token)

    return exact_law(emitted)


@pytest.mark.parametrize(("shape", "rule"), RULES)
def test_the_judge_agrees_with_the_rules_that_ship(shape, rule):
    facts = declared(object(), shape=shape, rule=rule)
    tables = [table for _, found in all_drafts(facts, drawn=2) for table in found]
    assert len(tables) > 40
    for table in tables[:: max(1, len(tables) // 150)]:
        expected, shipped = rule_law(rule, table), shipped_law(rule, table)
        for emitted in expected.keys() | shipped.keys():
            gap = abs(expected.get(emitted, 0) - shipped.get(emitted, 0))
            assert gap < 1e-12, (table, emitted)


@pytest.mark.parametrize(("shape", "rule"), RULES)
def test_every_rule_of_the_judge_is_lossless_on_every_fixture(shape, rule):
    facts = declared(object(), shape=shape, rule=rule)
    for fixture, tables in all_drafts(facts, drawn=2):
        law = completed_law(fixture, ((t.weight, rule_law(rule, t)) for t in tables))
        np.testing.assert_allclose(law, target_law(fixture), atol=1e-12, err_msg=fixture.name)


laws = st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(any)


@given(target=laws, draft=laws, length=st.integers(1, 2))
def test_rejection_and_block_are_lossless_on_any_pair(target, draft, length):
    fixture = turning("drawn", np.array(target), np.array(draft), chain(length))
    tables = list(drafts(fixture))
    for rule in ("rejection", "block"):
        law = completed_law(fixture, ((t.weight, rule_law(rule, t)) for t in tables))
        np.testing.assert_allclose(law, target_law(fixture), atol=1e-12)


@pytest.mark.parametrize(("shape", "rule"), RULES)
def test_the_laws_of_the_faults_are_laws(shape, rule):
    facts = declared(object(), shape=shape, rule=rule)
    tables = [table for _, found in all_drafts(facts, drawn=1) for table in found]
    for table in tables[:: max(1, len(tables) // 60)]:
        for name, law in fault_laws(rule, table).items():
            assert name in NAMES
            assert min(law.values()) >= 0, name
            assert abs(sum(law.values()) - 1) < 1e-9, name


def test_the_hard_laws_and_the_adversarial_pairs_are_all_examined():
    facts = declared(object())
    names = {fixture.name for fixture, _ in all_drafts(facts, drawn=3)}
    assert set(HARD) | set(adversarial_pairs()) <= names
    assert {"drawn 0", "drawn 1", "drawn 2"} <= names
