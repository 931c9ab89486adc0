"""What the plugin keeps in pytest's stashes, under typed keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from draftproof.config import RunConfig
    from draftproof.data import Prompt
    from draftproof.data.load import LoadedRecords, PromptLoader
    from draftproof.trace import CaseRecord

RUN_CONFIG: pytest.StashKey[RunConfig] = pytest.StashKey()
"""The run's settings; in the configuration, of a session that is about draftproof."""

AGAINST: pytest.StashKey[RunConfig] = pytest.StashKey()
"""Settings that every case is run with too; in the configuration."""

PROMPTS = pytest.StashKey[dict[str, "LoadedRecords"]]()
"""Prompts that were loaded, by domain; in the configuration."""

LOADER: pytest.StashKey[PromptLoader] = pytest.StashKey()
"""Loads them, and has read what it was asked for; in the configuration."""

OWN_PROMPTS = pytest.StashKey[dict[str, "list[Prompt]"]]()
"""All prompts of suites that list them themselves, by domain; in the configuration."""

PROBLEM = pytest.StashKey[str]()
"""Why prompts could not be loaded; in the configuration."""

FINISHED = pytest.StashKey[dict[str, "CaseRecord"]]()
"""Cases that an unfinished run measured, by case id; in the configuration."""

RECORD = pytest.StashKey[dict[str, Any]]()
"""What a test measured, as plain values; in the test."""

FATAL = pytest.StashKey[str]()
"""Why no case of the run can be measured, as a worker of pytest-xdist found; in the test."""

NOTES = pytest.StashKey[tuple[str, ...]]()
"""Which of the options that were given do nothing in this run; in the configuration."""

REPORTER = "draftproof-reporter"
"""The name under which the plugin that keeps the journal is registered."""
