"""A few attacks of each kind; `tests/chaos/run.py` makes many, and the figures of docs/chaos.md."""

import json
import os
import random
import time

import profiles
import pytest
from chaos import faults, inputs, kills, run
from chaos.attack import held

NIGHTLY = pytest.mark.skipif(
    not profiles.IS_NIGHTLY, reason="takes minutes: HYPOTHESIS_PROFILE=nightly"
)


@pytest.mark.parametrize(
    "make",
    [
        inputs.options,
        inputs.flipped_journals,
        inputs.cut_journals,
        inputs.data_files,
        inputs.checkpoints,
        inputs.answers,
    ],
)
def test_bad_inputs_are_refused_with_a_reason(tmp_path, make):
    attempts = make(tmp_path, random.Random(7))
    few = attempts if profiles.IS_NIGHTLY else attempts[: 3 if make is inputs.checkpoints else 15]
    assert [lost for lost in held(few) if lost] == []


def test_a_defect_is_seen(tmp_path, monkeypatch):
    """Of an input that crashes, ends the process, hangs, or is read as something else."""
    monkeypatch.setattr("chaos.attack._SECONDS", 1)
    crashed, ended, hung, other = held(
        [lambda: 1 / 0, lambda: os._exit(0), lambda: time.sleep(60), lambda: "another figure"]
    )
    assert crashed.startswith("ZeroDivisionError in test_chaos.py")
    assert ended == "the process died with code 0"
    assert hung == "hung for 1 s"
    assert other == "another figure"
    written = inputs._journal(tmp_path / "journal.jsonl", random.Random(0))
    data = (tmp_path / "journal.jsonl").read_bytes()
    (lost,) = held([inputs._reads_as_prefix(tmp_path / "j", data, written[:1] * 4, 4)])
    assert lost == "a journal is read as other cases than were written"


def test_the_plan_is_the_seeds(tmp_path):
    names = [attack.name for attack in run.planned(3, 2, 2)]
    assert names == [attack.name for attack in run.planned(3, 2, 2)]
    assert len(set(names)) == len(names)
    assert sorted(names) != sorted(attack.name for attack in run.planned(4, 2, 2))


def test_figures_say_what_was_tried_and_lost():
    attacks = run.planned(0, 1, 1)
    found = {attack.name: {"lost": ""} for attack in attacks}
    found[attacks[0].name]["lost"] = "a case"
    kinds = run.document(attacks, found, "command")["kinds"]
    assert sum(row["tried"] for row in kinds.values()) == sum(attack.tried for attack in attacks)
    (lost,) = (loss for row in kinds.values() for loss in row["lost"])
    assert lost == {"attack": attacks[0].name, "lost": "a case"}
    json.dumps(kinds)


@NIGHTLY
@pytest.mark.parametrize("attack", kills.attacks(1, 1), ids=lambda attack: attack.kind)
def test_a_run_that_is_killed_goes_on_and_loses_nothing(tmp_path, attack):
    kills.make_pair(tmp_path)
    (tmp_path / "run").mkdir()
    assert attack.run(tmp_path / "run") == ""


@NIGHTLY
@pytest.mark.parametrize("attack", faults.attacks(), ids=lambda attack: attack.kind)
def test_a_fault_of_an_engine_ends_its_case_alone(tmp_path, attack):
    kills.make_pair(tmp_path)
    (tmp_path / "run").mkdir()
    assert attack.run(tmp_path / "run") == ""
