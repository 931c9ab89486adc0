"""A saved run for the commands to read."""

from __future__ import annotations

import pytest
from study_traces import study_run

from draftproof.report import RunInfo, write_report


@pytest.fixture(scope="session")
def run_info():
    return RunInfo(
        name="nightly",
        started="2026-01-02T03:04:05Z",
        config={"target": "builtin", "draft": "builtin", "tree": "3x2", "seed": 7},
        fingerprint="0123456789abcdef",
        command=("pytest", "suites/", "--report"),
    )


@pytest.fixture(scope="session")
def saved(tmp_path_factory, run_info):
    """A run of the four domains, 8 prompts each."""
    directory = tmp_path_factory.mktemp("reports") / "run"
    write_report(directory, run_info, study_run(prompts=8, steps=6))
    return directory
