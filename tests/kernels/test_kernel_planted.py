"""Planted kernels: every fault is caught, the evidence points to it, and no control is failed."""

import pytest
from profiles import IS_NIGHTLY

from draftproof.kernels.contract import declared
from draftproof.kernels.faults import fault_laws
from draftproof.kernels.laws import largest_gap, measure_all
from draftproof.kernels.planted.catalogue import CATALOGUE, score
from draftproof.kernels.tables import chain, drafts, turning

FAULTS = [name for name, planted in CATALOGUE.items() if not planted.lossless]
CONTROLS = [name for name, planted in CATALOGUE.items() if planted.lossless]
COSTLY = {name for name, planted in CATALOGUE.items() if planted.facts.get("shape") == "tree"}
COSTLY |= {"first-block", "races", "one-hot-own", "block-any", "rejection-float64"}
KEPT = {"tree-not-narrowed", "tree-kept-mass", "without-replacement", "one-hot-tree"}
SKIPPED = set() if IS_NIGHTLY else COSTLY - KEPT
"""Left to the nightly run."""


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in SKIPPED])
def test_a_planted_fault_is_caught(name):
    found = score(CATALOGUE[name], rows=100_000)
    assert found.caught_by, name


@pytest.mark.parametrize("name", [name for name in CONTROLS if name not in SKIPPED])
def test_a_lossless_kernel_passes(name):
    found = score(CATALOGUE[name], rows=30_000)
    wrong = [check for check in found.checks if check.name in found.caught_by]
    assert not wrong, [(check.name, check.finding.lines) for check in wrong]
    assert any(check.finding.places for check in found.checks)


def test_there_are_thirty_faults_and_the_batch_ones_among_them():
    assert len(FAULTS) >= 60
    assert {"neighbours-law", "longest-length", "masked-by-product"} <= set(FAULTS)
    assert {"sampler-match", "one-hot-on-sampled", "block", "other-coins"} <= set(CONTROLS)


POINTS_TO = {
    "no-residual": "the correction is drawn from p, not from what is left of it",
    "softmax-residual": "the residual is put through a softmax",
    "absolute-residual": "the residual is |p − q|",
    "inverted": "the coin is min(1, q/p): the ratio is inverted",
    "next-row": "coins and corrections read the target's row after their own",
    "bonus-row": "the bonus comes from the row before its own",
    "stale-bonus": "the bonus comes from the last row's residual",
    "counted": "tokens are counted as kept after a rejection",
    "reused-uniform": "the uniform that rejects a token picks the correction, too",
    "one-coin": "one uniform is used for every coin of a row",
    "emits-rejected": "the rejected token is emitted, and the correction after it",
    "rejected-keeps-mass": "the correction is drawn from p, not from what is left of it",
    "drawn-lenient": "the coin is lenient: min(1, p / 0.9 q)",
    "greedy-sampled": "greedy rows are sampled",
}


@pytest.mark.parametrize("name", POINTS_TO)
def test_the_evidence_points_to_the_fault(name):
    assert score(CATALOGUE[name], rows=100_000).suspected[0] == POINTS_TO[name]


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
    "masked-by-product": "padding",
    "empty-rows": "drafts of 0 to 16 tokens",
    "eight-kept": "drafts of 0 to 16 tokens",
    "mirrored": "independence",
    "greedy-sampled": "greedy rows",
    "writes-inputs": "inputs unchanged",
}


@pytest.mark.parametrize("name", ONLY_THERE)
def test_a_fault_that_only_one_kind_of_check_sees(name):
    """Each check is needed: these faults pass every check before the one that is named."""
    found = score(CATALOGUE[name], rows=100_000, every_check=True)
    assert ONLY_THERE[name] in found.caught_by


@pytest.mark.parametrize("name", [n for n in POINTS_TO if n not in ("drawn-lenient", "greedy-sampled")])
def test_the_law_of_a_named_fault_is_that_of_the_planted_kernel(name):
    planted = CATALOGUE[name]
    facts = declared(object(), **planted.facts)
    fixture = turning(
        "pair", [0.116, 0.366, 0.518], [0.209, 0.771, 0.02], chain(2), proposals=facts.proposals
    )
    measured = measure_all(planted.make(), facts, list(drafts(fixture)))
    for table, law in zip(measured.tables, measured.laws, strict=True):
        assert largest_gap(fault_laws(facts.rule, table)[POINTS_TO[name]], law) < 1e-6
