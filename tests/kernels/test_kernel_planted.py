"""Planted kernels: every fault is caught, the evidence points to it, and no control is failed."""

import pytest
from profiles import IS_NIGHTLY

from draftproof.conformance.check_result import Status
from draftproof.kernels.adversarial import adversarial_pairs, drawn_pairs, trees_of_many_forms
from draftproof.kernels.contract import declared
from draftproof.kernels.diagnosis import suspect
from draftproof.kernels.examination import Examination
from draftproof.kernels.faults import fault_laws
from draftproof.kernels.judge import rule_law
from draftproof.kernels.laws import largest_gap, measure_all
from draftproof.kernels.planted.catalogue import CATALOGUE, score
from draftproof.kernels.suite import examine
from draftproof.kernels.tables import chain, drafts, turning

FAULTS = [name for name, planted in CATALOGUE.items() if not planted.lossless]
CONTROLS = [name for name, planted in CATALOGUE.items() if planted.lossless]
QUICK = [
    *("no-residual", "epsilon", "unfilled", "states-one-more", "drawn-no-residual", "first-length"),
    *("longest-length", "neighbours-law", "last-rows-greed", "writes-inputs", "bonus-at-longest"),
    *("global-draws", "one-draw", "tree-not-narrowed", "tree-kept-mass", "soft-coin"),
    *("rejection", "sampler-match", "one-hot-on-sampled", "block-any"),
]
"""Examined in every run; the nightly one examines the whole catalogue, as
``draftproof verify-kernel --selftest`` does."""


def some(names):
    return names if IS_NIGHTLY else [name for name in names if name in QUICK]


@pytest.mark.parametrize("name", some(FAULTS))
def test_a_planted_fault_is_caught(name):
    assert score(CATALOGUE[name]).caught_by, name


@pytest.mark.parametrize("name", some(CONTROLS))
def test_a_lossless_kernel_passes(name):
    # Large vocabularies take most of the time: of one kernel they are tried in every run.
    left_out = () if IS_NIGHTLY or name == "rejection" else ("vocabularies",)
    found = score(CATALOGUE[name], rows=30_000, left_out=left_out)
    wrong = [check for check in found.checks if check.name in found.caught_by]
    assert not wrong, [(check.name, check.finding.lines) for check in wrong]
    assert any(check.finding.places for check in found.checks)


def test_there_are_thirty_faults_and_the_batch_ones_among_them():
    assert set(QUICK) <= set(CATALOGUE)
    assert len(FAULTS) >= 140
    assert len(CONTROLS) >= 30
    assert {"neighbours-law", "longest-length", "masked-by-product"} <= set(FAULTS)
    assert {"sampler-match", "one-hot-on-sampled", "block", "other-coins"} <= set(CONTROLS)


POINTS_TO = {
    "no-residual": "the correction is drawn from p, not from what is left of it",
    "softmax-residual": "the residual is put through a softmax",
    "absolute-residual": "the residual is |p − q|",
    "inverted": "the coin is min(1, q/p): the ratio is inverted",
    "next-row": "coins read the target's row after their own",
    "row-before": "everything reads the target's row before its own",
    "bonus-row": "the bonus comes from the row before its own",
    "stale-bonus": "the bonus comes from the last row's residual",
    "counted": "tokens are counted as kept after a rejection",
    "reused-uniform": "the uniform that rejects a token picks the correction, too",
    "one-coin": "one uniform is used for every coin of a row",
    "emits-rejected": "the rejected token is emitted, and the correction after it",
    "rejected-keeps-mass": "the correction is drawn from p, not from what is left of it",
    "drawn-lenient": "the coin is lenient: min(1, p / 0.9 q)",
    "greedy-sampled": "greedy rows are sampled",
    "hot-bonus": "the bonus is drawn at a higher temperature",
    "last-id-lost": "the last id is never drawn",
    "not-normalised": "the residual is not normalised: what it lacks goes to the last id",
}
OF_TREES = {
    "tree-one-coin": "one uniform is used for every coin of a row",
    "tree-parent": "the node after a kept one counts as its child",
    "tree-first-child": "only the first child of a node is looked at",
    "tree-roots-law": "every node reads the target's law after the root",
    "tree-narrowed": "q is narrowed for later siblings, which were drawn with replacement",
    "tree-not-conditional": "what is left of p is not normalised between siblings; of nothing the "
    "last id is drawn",
    "tree-unnormalised": "what is left of p is not normalised between siblings",
    "tree-duplicates": "a sibling of the same token is not looked at",
    "tree-three-siblings": "no more than three siblings are looked at",
    "tree-in-order": "siblings that do not stand side by side are not looked at",
    "tree-roots-draft": "every node reads the draft model's law after the root",
}
ROUGHLY = ("tree-parent", "tree-first-child", "tree-unnormalised")
"""These planted kernels do something else besides on some of the tables."""

BY_OTHER_MEANS = ("drawn-lenient", "greedy-sampled")


@pytest.mark.parametrize("name", POINTS_TO)
def test_the_evidence_points_to_the_fault(name):
    """By name, and exactly so where the law is computed."""
    planted = CATALOGUE[name]
    facts = declared(object(), **planted.facts)
    if name in BY_OTHER_MEANS:
        assert score(planted, rows=100_000).suspected[0] == POINTS_TO[name]
        return
    tables = [
        table
        for pair, (p, q) in list(adversarial_pairs().items())[:5]
        for table in drafts(turning(pair, p, q, chain(2), proposals=facts.proposals))
    ]
    measured = measure_all(planted.make(), facts, tables)
    found = [
        (table, rule_law(facts.rule, table), law)
        for table, law in zip(measured.tables, measured.laws, strict=True)
    ]
    fault = suspect(facts.rule, found)
    assert fault.name == POINTS_TO[name]
    assert fault.explained > 0.9999
    assert fault.share == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", OF_TREES)
def test_the_evidence_points_to_a_fault_of_trees(name):
    planted = CATALOGUE[name]
    facts = declared(object(), **planted.facts)
    laws = [
        (pair, p, q)
        for pair, (p, q) in [*adversarial_pairs().items(), *drawn_pairs(3, 1).items()]
        if len(p) > 2
    ][-8:]
    tables = [
        table
        for pair, p, q in laws
        for parents in ((-1, -1), (-1, -1, -1), (-1, -1, 0), (-1, -1, 1))
        for table in list(drafts(turning(pair, p, q, parents, proposals=facts.proposals)))[::3]
    ]
    if name not in ROUGHLY:
        tables += trees_of_many_forms(facts, copies=2)
    measured = measure_all(planted.make(), facts, tables)
    found = [
        (table, rule_law(facts.rule, table), law)
        for table, law in zip(measured.tables, measured.laws, strict=True)
    ]
    fault = suspect(facts.rule, found)
    assert fault.name == OF_TREES[name]
    assert fault.explained > (0.5 if name in ROUGHLY else 0.999)


@pytest.mark.parametrize(
    ("name", "site"),
    [("argmax-bonus", "bonus"), ("no-residual", "correction"), ("lenient", "accepted")],
)
def test_the_site_of_a_fault_is_named(name, site):
    found = score(CATALOGUE[name])
    assert found.checks[-1].finding.facts["site"] == site


ONLY_THERE = {
    "keeps-impossible": "ends of coins",
    "picks-impossible": "ends of coins",
    "rounds-up": "ends of coins",
    "masked-by-product": "padding",
    "empty-rows": "drafts of 0 to 16 tokens",
    "mirrored": "independence",
    "greedy-sampled": "greedy rows",
    "residual-of-few": "vocabularies",
}


@pytest.mark.parametrize("name", ONLY_THERE)
def test_a_fault_that_only_one_kind_of_check_sees(name):
    """Each check is needed: the laws of these kernels are right, and so is their order of rows."""
    planted = CATALOGUE[name]
    facts = declared(object(), **planted.facts)
    examination = Examination(kernel=planted.make(), facts=facts, rows=50_000)
    wanted = ("law given the draft", "order of rows", ONLY_THERE[name])
    found = {check.name: check.finding.status for check in examine(examination, wanted)}
    assert found.pop(ONLY_THERE[name]) is Status.FAILED
    assert Status.FAILED not in found.values()


@pytest.mark.parametrize("name", [name for name in POINTS_TO if name not in BY_OTHER_MEANS])
def test_the_law_of_a_named_fault_is_that_of_the_planted_kernel(name):
    planted = CATALOGUE[name]
    facts = declared(object(), **planted.facts)
    fixture = turning(
        "pair", [0.116, 0.366, 0.518], [0.209, 0.771, 0.02], chain(2), proposals=facts.proposals
    )
    measured = measure_all(planted.make(), facts, list(drafts(fixture)))
    for table, law in zip(measured.tables, measured.laws, strict=True):
        assert largest_gap(fault_laws(facts.rule, table)[POINTS_TO[name]], law) < 1e-6
