"""The conformance kit as tests: ``pytest --pyargs harness.conformance --spec-engine NAME``."""

from __future__ import annotations

import pytest

from harness.conformance.kit import CHECKS, examine
from harness.conformance.rendering import result_line
from harness.conformance.subject import Status, Subject


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Subject:
    """The engine that the run's settings name, with a few prompts of each domain."""
    from harness.conformance.making import make_subject
    from harness.plugin.state import RUN_CONFIG

    return make_subject(pytestconfig.stash[RUN_CONFIG])


@pytest.mark.parametrize("name", CHECKS)
def test_conformance(name: str, subject: Subject) -> None:
    """One check of the kit."""
    (examined,) = examine(subject, [name])
    if examined.finding.status is Status.NOT_AVAILABLE:
        pytest.skip("; ".join(examined.finding.lines))
    if examined.finding.status is Status.FAILED:
        pytest.fail(f"{examined.claim}\n{result_line(examined)}", pytrace=False)
