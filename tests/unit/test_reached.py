"""The statements that a command reaches are noted where modules are imported."""

import json
import subprocess
import sys

import pytest

from draftproof.selftest import random_faults
from draftproof.selftest.random_faults import UNREACHED, Ending, Sound, examine
from draftproof.selftest.reached import is_reached, noted, read_reached
from draftproof.selftest.source_mutants import every_mutant, target_files

SOURCE = '''
"""Text."""
from __future__ import annotations
def f(a):
    "More."
    if a:
        return 1
    else:
        for b in a:
            try:
                b()
            except ValueError as error:
                raise error
    return 2
'''


def test_every_statement_is_noted_when_it_runs():
    seen = []
    names = {"_draftproof_reached_": seen.append}
    exec(compile(noted(SOURCE), "noted", "exec"), names)
    assert seen == [4]
    assert names["f"](()) == 2
    assert seen == [4, 6, 9, 14]
    assert names["f"](1) == 1
    assert seen[4:] == [6, 7]


def test_what_a_command_reaches_is_written(tmp_path):
    file = tmp_path / "reached.json"
    command = [sys.executable, "-m", "draftproof.selftest.noting", str(file), "docs", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = read_reached(file)
    assert len(found) == len(target_files()), done.stderr
    assert all(not lines for name, lines in found.items() if name.startswith("batch/"))


def test_a_change_belongs_to_its_statement():
    [mutant] = [m for m in every_mutant() if m.name == "stopping.py:5"]
    assert mutant.code.startswith("if len(output) + len(committed)")
    assert is_reached(mutant, {"stopping.py": frozenset({mutant.statement})})
    assert not is_reached(mutant, {"stopping.py": frozenset({mutant.statement + 1})})
    assert not is_reached(mutant, {})


def test_a_change_that_nothing_reaches_survives_unrun(monkeypatch):
    monkeypatch.setattr(random_faults, "_verified", lambda *a: pytest.fail("was run"))
    [mutant] = [m for m in every_mutant() if m.name == "stopping.py:5"]
    [found] = examine([mutant], Sound(seconds=1.0, reached={}))
    assert (found.ending, found.message) == (Ending.SURVIVED, UNREACHED)


def test_a_verification_that_uses_the_processor_for_too_long_is_endless():
    ending, message, _ = random_faults._verified([sys.executable, "-c", "while True: pass"], 1.0)
    assert ending is Ending.ENDLESS
    assert "1 s of the processor" in message


def test_the_reached_statements_of_a_journal_are_plain_json():
    sound = Sound(seconds=2.0, reached={"a.py": frozenset({3, 1})})
    run = json.loads(json.dumps(random_faults._as_json(sound)))
    assert run == {"seconds": 2.0, "reached": {"a.py": [1, 3]}}
    assert random_faults._sound_of(run) == sound
    assert random_faults._sound_of({}) is None
