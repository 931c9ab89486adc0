"""Systematic changes of source: each is there, differs, and is made in a process of its own."""

import ast
import subprocess
import sys
from types import SimpleNamespace

import pytest

from draftproof.errors import StateError
from draftproof.selftest import random_faults
from draftproof.selftest.random_faults import Ending, RandomFault, summary, table
from draftproof.selftest.source_mutants import (
    SourceMutant,
    changed,
    changes,
    every_mutant,
    sample,
    source_of,
)

SOURCE = """
def f(a: int = 1) -> bool:
    "One 1."
    if not a and g(a, a + 1) > 2:
        h(a)
    raise ValueError(1 + 2)
"""


def test_every_kind_of_change_is_made_once():
    told = [change for _, change in changes(SOURCE)]
    assert told == [
        "1 becomes 2",
        "and becomes or",
        "not is left out",
        "> becomes >=",
        "the first two arguments of 'g(a, a + 1)' are swapped",
        "+ becomes -",
        "1 becomes 2",
        "2 becomes 3",
        "'h(a)' is left out",
    ]
    made = {changed(SOURCE, index) for index in range(len(told))}
    assert len(made) == len(told)
    assert ast.unparse(ast.parse(SOURCE)) not in made
    assert all("ValueError(1 + 2)" in source and '"""One 1."""' in source for source in made)
    with pytest.raises(IndexError):
        changed(SOURCE, len(told))


def test_the_package_has_changes_in_every_part_that_is_named():
    every = every_mutant()
    assert {m.file.split("/")[0] for m in every} >= {"acceptance", "batch", "drafting", "models"}
    assert sample(every, 5, seed=3) == sample(every, 5, seed=3) != sample(every, 5, seed=4)
    for mutant in sample(every, 10, seed=0):
        path, source = source_of(mutant.name)
        assert source != ast.unparse(ast.parse(path.read_text(encoding="utf-8")))
        compile(source, str(path), "exec")


@pytest.mark.parametrize("name", ["stopping.py", "stopping.py:99999", "nothing.py:0"])
def test_a_mutant_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match="mutant"):
        source_of(name)


def test_a_change_is_in_force_in_its_process_alone():
    [mutant] = [m for m in every_mutant() if str(m).endswith("== becomes !=")][-1:]
    assert mutant.file == "tree.py"
    code = f"""
import sys
from draftproof.selftest.mutated import plant
plant({mutant.name!r})
import inspect, draftproof.tree
print(draftproof.tree.__spec__.loader.__class__.__name__, draftproof.tree.__file__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("_Changed ")


def test_the_table_counts_by_file_and_names_survivors():
    caught = SourceMutant("a.py", 0, 3, "< becomes <=")
    alive = SourceMutant("b.py", 7, 9, "1 becomes 2")
    faults = [
        RandomFault(mutant=caught, ending=Ending.CAUGHT, message="self-draft", seconds=1.0),
        RandomFault(mutant=alive, ending=Ending.SURVIVED, message="", seconds=1.0),
    ]
    text = table(faults)
    assert "| a.py | 1 | 1 | 0 | 0 | 0 |" in text
    assert "| all | 2 | 1 | 0 | 0 | 1 |" in text
    assert "- b.py:9: 1 becomes 2 (`b.py:7`)" in text
    assert summary(faults, 5).startswith(
        "of 2 changes of the source (seed 5) 1 were caught by a check, 0 ended in an error"
    )


@pytest.mark.parametrize(
    ("code", "out", "says"),
    [(1, "✗ greedy output   failed  3", "caught: greedy output"), (4, "no such file", "no such")],
)
def test_nothing_is_said_of_changes_where_the_source_itself_does_not_pass(
    monkeypatch, code, out, says
):
    """A setup that is broken would count every change as caught."""
    ended = SimpleNamespace(stdout=out, stderr="", returncode=code)
    monkeypatch.setattr(random_faults.subprocess, "run", lambda *a, **k: ended)
    with pytest.raises(StateError, match=f"does not pass on the source as it is .*{says}"):
        random_faults.require_sound()
    monkeypatch.setattr(
        random_faults.subprocess,
        "run",
        lambda *a, **k: SimpleNamespace(stdout="✓ all", stderr="", returncode=0),
    )
    random_faults.require_sound()
