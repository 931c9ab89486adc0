"""Entries of a history, made up: a line of commits with figures that are given."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from draftproof.history.entry import Figure, HistoryEntry
from draftproof.history.provenance import Provenance

FACTS = {"setting tree": "3x2", "target sha256": "aa", "draft sha256": "bb", "machine": "x86_64"}
START = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def commit(number):
    """A hash that no other number has."""
    return hashlib.sha1(str(number).encode()).hexdigest()


def entry(number, value, *, speedup=None, scopes=("overall", "code"), **changes):
    """The run of a commit, a day after the one before."""
    when = (START + timedelta(days=number)).isoformat(timespec="seconds")
    figures = {"block_efficiency": Figure(value, value - 0.1, value + 0.1, 400)}
    if speedup is not None:
        figures["speedup"] = Figure(speedup, None, None, 50)
    made = HistoryEntry(
        name="main",
        started=when,
        provenance=Provenance(
            commit=commit(number), commit_time=when, branch="main", dirty=False, shallow=False
        ),
        facts=FACTS,
        prompts={"code": "5" * 64},
        timing={"cpu": "Example CPU", "torch_threads": "1"},
        versions={"draftproof": "0.1.0", "torch": "2.9.0"},
        measured=50,
        verdicts={"identical": 50, "algorithmic": 0},
        figures=dict.fromkeys(scopes, figures),
    )
    of_commit = {
        name: changes.pop(name) for name in list(changes) if hasattr(made.provenance, name)
    }
    return replace(made, provenance=replace(made.provenance, **of_commit), **changes)


def line(values, **changes):
    """A run for each value, in order."""
    return [entry(number, value, **changes) for number, value in enumerate(values)]
