"""Systematic changes of source: each is there, differs, and is made in a process of its own."""

import ast
import subprocess
import sys
from types import SimpleNamespace

import pytest

from draftproof.errors import StateError
from draftproof.selftest import random_faults
from draftproof.selftest.source_mutants import (
    SourceMutant,
    changed,
    changes,
    every_mutant,
    same_change,
    sample,
    sizes,
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


def test_a_sample_is_stratified_by_file_and_begins_larger_ones():
    every = every_mutant()
    of, first = sizes(every), sample(every, 200, seed=2)
    assert sample(every, 60, seed=2) == first[:60]
    assert len({mutant.file for mutant in first[: len(of)]}) == len(of), "one of each comes first"
    drawn = sizes(first)
    rest = sum(size**0.5 for size in of.values())
    for file, size in of.items():
        assert abs(drawn[file] - 200 * size**0.5 / rest) <= 2, file
    whole = sample(every, len(every) + 1, seed=2)
    assert set(whole) == set(every)
    assert len(whole) == len(every)


def test_a_change_is_found_again_where_lines_were_written_before_it():
    old = SourceMutant("a.py", 3, 10, "< becomes <=", "if a < b:")
    moved = SourceMutant("a.py", 9, 14, "< becomes <=", "if a < b:")
    far = SourceMutant("a.py", 30, 90, "< becomes <=", "if a < b:")
    other = SourceMutant("a.py", 3, 10, "< becomes <=", "if a < c:")
    assert same_change([other, far, moved], old) is moved
    assert same_change([other], old) is None


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
