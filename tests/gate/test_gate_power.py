"""The benchmark that counts what gates do where the truth is known."""

import sys
from pathlib import Path

import pytest

from draftproof.gate.expression import parse_gate
from draftproof.gate.judging import Outcome

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import gate_power


@pytest.mark.parametrize(
    "text",
    ["acceptance_rate:-0.05", "accepted_length@overall:-5%", "block_efficiency:-5%"],
)
@pytest.mark.parametrize(
    ("fall", "outcome"), [(0.0, Outcome.PASS), (0.5, Outcome.FAIL)], ids=["alike", "fallen"]
)
def test_a_simulated_fall_fails_and_no_fall_passes(text, fall, outcome):
    counts = gate_power.shares(
        [parse_gate(text)], gate_power.simulated(2, 200, fall, 0, same_texts=True)
    )
    assert counts[outcome] == 2, counts


def test_steps_of_a_report_drawn_anew_are_judged():
    counts = gate_power.shares(
        [parse_gate("acceptance_rate@overall:-20%")], gate_power.resampled_report(1, 0)
    )
    assert counts[Outcome.PASS] == 1, counts
