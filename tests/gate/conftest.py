"""Runs to compare: synthetic traces, as they are and changed in one place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from study_traces import study_run

from draftproof.gate import measured_run
from draftproof.report import RunInfo

RUN = RunInfo(
    name="nightly",
    started="2026-01-02T03:04:05Z",
    config={"target": "builtin", "tree": "3x2", "seed": 7, "limit": 6, "sampling": {"top_k": 0}},
    fingerprint="0123456789abcdef",
    models={
        "target": {"name": "builtin", "sha256": "aa", "dtype": "float32", "device": "cpu"},
        "draft": {"name": "builtin", "sha256": "bb", "dtype": "float32", "device": "cpu"},
    },
    versions={"python": "3.11.7", "torch": "2.9.0", "draftproof": "0.1.0"},
    hardware={"machine": "x86_64", "cpu": "Example CPU"},
)


@pytest.fixture
def run():
    """What the runs were."""
    return RUN


@pytest.fixture(scope="session")
def cases():
    """Four domains, 6 prompts each."""
    return study_run(prompts=6, steps=8, between=0.1, seed=3)


@pytest.fixture(scope="session")
def earlier(cases):
    return measured_run("earlier", RUN, cases)


@pytest.fixture
def later(cases):
    """A function that makes a later run of changed cases."""

    def make(changed=None, run=RUN):
        return measured_run("later", run, cases if changed is None else changed)

    return make


@pytest.fixture
def with_column(cases):
    """A function that changes one value of one case: (case, what, column, row, value)."""

    def change(index, what, column, row, value, among=None):
        among = list(cases if among is None else among)
        columns = dict(getattr(among[index], what))
        column_values = columns[column].copy()
        column_values[row] = value
        columns[column] = column_values
        among[index] = replace(among[index], **{what: columns})
        return among

    return change


@pytest.fixture
def first_accepted_is_lost(cases):
    """The same run in which a share of the steps lost the last token that it kept."""

    def change(share, domains=None):
        changed = []
        for number, case in enumerate(cases):
            if domains is not None and case.domain not in domains:
                changed.append(case)
                continue
            generator = np.random.default_rng([5, number])
            steps = dict(case.steps)
            struck = generator.random(len(steps["step"])) < share
            kept = np.where(struck, steps["accepted_length"] - 1, steps["accepted_length"])
            steps["accepted_length"] = np.maximum(kept, 0).astype("<i2")
            changed.append(replace(case, steps=steps))
        return changed

    return change
