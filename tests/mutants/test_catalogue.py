"""Each planted fault is caught by some instrument, each lossless control by none.

A fault is held to the instruments that are cheap; `draftproof selftest --all` runs every instrument
on every fault. With the Hypothesis profile `nightly` controls meet every instrument here, too.
"""

import os
from dataclasses import replace

import pytest

from draftproof.selftest.catalogue import CATALOGUE
from draftproof.selftest.instruments import INSTRUMENTS, run
from draftproof.selftest.mutant import FaultClass
from draftproof.selftest.scoreboard import Score, examine

FAULTS = [mutant for mutant in CATALOGUE.values() if not mutant.lossless]
CONTROLS = [mutant for mutant in CATALOGUE.values() if mutant.lossless]
NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"

CATCHERS = {
    "S08": "repetition penalty inside a block",
    "T01": "law on tables",
    "T05": "self-draft",
    "W20": "min_new_tokens at every offset",
    "W22": "min_new_tokens at every offset",
    "W18": "stop string at every offset",
    "W21": "repetition penalty inside a block",
    "W23": "other seeds and other requests",
    "W24": "other seeds and other requests",
    "W25": "same request twice",
    "R01": "law on tables",
    "R03": "law on tables",
    "W26": "law on tables",
    "V14a": "law on tables",
}
"""Where the first instruments in order say nothing, the one that is asked, to save their time."""

QUICK = (
    "worked example",
    "state equivalence",
    "metric identities",
    "facts of nodes",
    "acceptance counts",
    "self-draft",
    "greedy output",
)
"""What controls meet in every run."""


ENUMERATED = {
    FaultClass.VERIFICATION,
    FaultClass.STOPPING,
    FaultClass.NUMERICS,
    FaultClass.DYNAMIC_LENGTH,
}


def order(mutant):
    """Enumeration first for what it is best at, so that a run is short."""
    if mutant.id in CATCHERS:
        return (CATCHERS[mutant.id],)
    first = "exact law" if mutant.fault_class in ENUMERATED else "worked example"
    return (first, *(name for name in INSTRUMENTS if name != first))


@pytest.mark.parametrize(
    "mutant",
    [mutant for mutant in FAULTS if not mutant.only_acceptance],
    ids=lambda mutant: mutant.id,
)
def test_a_planted_fault_is_caught(mutant, around):
    [score] = examine([mutant], around, instruments=order(mutant))
    assert score.caught, mutant.title
    assert score.catches[0].message


@pytest.mark.parametrize(
    "mutant", [mutant for mutant in FAULTS if mutant.only_acceptance], ids=lambda mutant: mutant.id
)
def test_a_fault_that_only_costs_acceptance_shows_in_the_state_or_the_self_draft(mutant, around):
    """Within the first steps, and without statistics."""
    instruments = ("state equivalence", "self-draft")
    [score] = examine([mutant], around, instruments=instruments)
    assert score.caught
    assert score.catches[0].requests <= 2
    if score.catches[0].instrument == "state equivalence":
        # A lookup goes wrong at the first place where an earlier request holds the last tokens.
        assert score.catches[0].request_steps <= (16 if mutant.id == "X05" else 8)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.id)
def test_a_lossless_control_is_not_flagged(control, around):
    instruments = tuple(INSTRUMENTS) if NIGHTLY else QUICK
    length = around.max_new_tokens if NIGHTLY else 14
    shorter = replace(around, max_new_tokens=length)
    [score] = examine([control], shorter, instruments=instruments)
    assert [(outcome.instrument, outcome.message) for outcome in score.catches] == []


@pytest.mark.parametrize("control", ["L01", "L02", "L04"])
def test_unusual_ways_of_keeping_drafts_have_the_exact_law(control, around):
    outcome = run("exact law", CATALOGUE[control], around)
    assert not outcome.caught, outcome.message
    assert outcome.laws > 50


@pytest.mark.parametrize("control", ["L01", "L02", "L04", "L10"])
def test_unusual_ways_of_keeping_drafts_are_not_flagged_by_their_draws(control, around):
    """False-alarm rate 1e-4 each, with fixed seeds."""
    outcome = run("law on tables", CATALOGUE[control], around)
    assert not outcome.caught, outcome.message
    assert outcome.tokens >= around.law_tokens


def test_ids_sources_and_titles_are_there():
    assert len({mutant.title for mutant in CATALOGUE.values()}) == len(CATALOGUE)
    for mutant in CATALOGUE.values():
        assert mutant.source
        assert isinstance(Score(mutant=mutant, outcomes=()).caught, bool)
        assert mutant.lossless is (mutant.fault_class is FaultClass.CONTROL)
    assert sum(mutant.own for mutant in FAULTS) >= 8
