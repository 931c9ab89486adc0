"""The sequential test of counts: false alarms, power, proof."""

import math

import numpy as np
import pytest

from draftproof.kernels.adversarial import adversarial_pairs
from draftproof.kernels.contract import declared
from draftproof.kernels.evidence import Evidence, Null, smallest_share
from draftproof.kernels.faults import NAMES, fault_laws
from draftproof.kernels.judge import rule_law
from draftproof.kernels.planted.catalogue import CATALOGUE
from draftproof.kernels.sampling import given_draft
from draftproof.kernels.tables import chain, drafts, turning

LENIENT = "the coin is lenient: min(1, p / 0.9 q)"


def tables():
    found = []
    for name, (p, q) in list(adversarial_pairs().items())[:4]:
        found += list(drafts(turning(name, p, q, chain(1))))
    return found


def nulls(tolerance=1e-6):
    return [
        Null.of(rule_law("rejection", table), fault_laws("rejection", table), NAMES, tolerance)
        for table in tables()
    ]


def run(random, share, *, alpha, rows=4000, batches=5):
    """A simulated kernel that is lenient at a share of rows, watched after every batch."""
    laws = nulls()
    evidence = Evidence(laws, NAMES, alpha=alpha, tolerance=1e-6)
    for _ in range(batches):
        for index, null in enumerate(laws):
            law = (1 - share) * null.law + share * null.faults[NAMES.index(LENIENT)]
            counts = random.multinomial(rows // len(laws) // batches, law / law.sum())
            evidence.add(index, counts.astype(float))
        if evidence.rejects:
            return True
    return False


def test_a_right_kernel_is_rejected_no_more_often_than_stated():
    """At α = 0.05, 100 runs: more than 14 alarms have a probability below 10⁻³ at a rate of α."""
    random = np.random.default_rng(7)
    assert sum(run(random, 0.0, alpha=0.05) for _ in range(100)) <= 14


def test_a_fault_at_twice_the_stated_share_is_found():
    """The stated share is found with probability .95; of 8 runs at twice it, none is missed."""
    random = np.random.default_rng(8)
    laws = nulls()
    index = NAMES.index(LENIENT)
    stated = smallest_share(laws, index, 100_000, alpha=1e-4, tests=3 * 4 * len(NAMES))
    assert 0 < stated < 0.5
    assert all(run(random, 2 * stated, alpha=1e-4, rows=100_000) for _ in range(8))
    assert not run(random, stated / 20, alpha=1e-4, rows=100_000)


def test_too_few_rows_state_no_power():
    stated = smallest_share(nulls(), NAMES.index(LENIENT), 10, alpha=1e-4, tests=100)
    assert math.isnan(stated)


def test_the_test_stops_early_on_a_fault():
    found = given_draft(
        CATALOGUE["no-residual"].make(),
        declared(object(), randomness="own"),
        tables(),
        rows=1_000_000,
        alpha=1e-4,
    )
    assert found.evidence.rejects
    assert found.evidence.rows < 50_000


def test_an_emission_of_probability_0_is_proof():
    facts = declared(object(), randomness="own")
    p, q = [0.5, 0.5, 0.0], [0.2, 0.2, 0.6]
    found = given_draft(
        CATALOGUE["keeps-all"].make(),
        facts,
        list(drafts(turning("zeros", p, q, chain(1)))),
        rows=1000,
        alpha=1e-4,
    )
    assert found.evidence.value == math.inf
    assert "probability under the target is 0" in found.malformed[1]


def test_the_value_is_a_martingale_under_the_null_law():
    """Its mean over every outcome of one row is at most 1, and not far from it."""
    laws = nulls()
    null, mean = laws[0], 0.0
    for outcome, probability in enumerate(null.law):
        evidence = Evidence(laws[:1], NAMES, alpha=1e-4, tolerance=0.0)
        counts = np.zeros(len(null.law))
        counts[outcome] = 1
        evidence.add(0, counts)
        mean += probability * math.exp(evidence.value)
    assert mean == pytest.approx(1, abs=1e-6)
