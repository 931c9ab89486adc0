"""What a test's report carries, from a worker of pytest-xdist too: its record, or why all ends."""

from __future__ import annotations

from typing import Any

import pytest

from draftproof.errors import USAGE_EXIT_CODE
from draftproof.plugin.guest import is_worker
from draftproof.plugin.state import FATAL, RECORD
from draftproof.plugin.wholeness import COLLECTED, Collected

_RECORD_ATTRIBUTE = "draftproof"
"""A test report's attribute that carries the record from a worker to the controller."""
_BEGUN_ATTRIBUTE = "draftproof_begun"
"""Likewise of which case it is, should the worker not live to tell its record."""
_COLLECTED_ATTRIBUTE = "draftproof_collected"
"""Likewise of what a worker collected, on the first report of it."""
_FATAL_ATTRIBUTE = "draftproof_fatal"
"""Likewise of the reason why no case can be measured."""


def attach_record(item: pytest.Item, report: pytest.TestReport) -> pytest.TestReport:
    """Give a test's report what the test measured, and before that, which case it is."""
    from draftproof.data.prompt import Prompt

    prompt = getattr(getattr(item, "callspec", None), "params", {}).get("case")
    if report.when == "setup" and isinstance(prompt, Prompt):
        setattr(report, _BEGUN_ATTRIBUTE, (prompt.prompt_id, prompt.domain))
    if report.when == "call" and RECORD in item.stash:
        setattr(report, _RECORD_ATTRIBUTE, item.stash[RECORD])
    if is_worker(item.config) and COLLECTED in item.config.stash:
        collected = item.config.stash[COLLECTED]
        del item.config.stash[COLLECTED]
        told = [list(collected.expected), list(collected.deselected)]
        setattr(report, _COLLECTED_ATTRIBUTE, told)
    if FATAL in item.stash:
        setattr(report, _FATAL_ATTRIBUTE, item.stash[FATAL])
    return report


class EndsRun:
    """Ends a run of pytest-xdist for the reason that one of its workers found."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reason = getattr(report, _FATAL_ATTRIBUTE, None)
        if reason is not None:
            pytest.exit(f"draftproof: {reason}", returncode=USAGE_EXIT_CODE)


def begun_case(report: pytest.TestReport) -> tuple[str, str] | None:
    """The id and the domain of the case that a test is about to measure."""
    found = getattr(report, _BEGUN_ATTRIBUTE, None)
    return None if found is None else (found[0], found[1])


def attached_collected(report: pytest.TestReport) -> Collected | None:
    """What the worker that a report comes from collected, on its first report."""
    told = getattr(report, _COLLECTED_ATTRIBUTE, None)
    return None if told is None else Collected(*map(tuple, told))


def attached_record(report: pytest.TestReport) -> dict[str, Any] | None:
    """What `attach_record` gave a report, here or in a worker."""
    return getattr(report, _RECORD_ATTRIBUTE, None)
