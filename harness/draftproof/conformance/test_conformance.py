"""The conformance kit as tests: ``pytest --pyargs draftproof.conformance --spec-engine NAME``."""

from __future__ import annotations

import pytest

from draftproof.conformance.kit import CHECKS, examine
from draftproof.conformance.rendering import result_line
from draftproof.conformance.subject import Status, Subject


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Subject:
    """The engine that the run's settings name, with a few prompts of each domain."""
    from draftproof.conformance.making import make_subject
    from draftproof.plugin.state import RUN_CONFIG

    return make_subject(pytestconfig.stash[RUN_CONFIG])


@pytest.mark.parametrize("name", CHECKS)
def test_conformance(name: str, subject: Subject) -> None:
    """One check of the kit."""
    (examined,) = examine(subject, [name])
    if examined.finding.status is Status.NOT_AVAILABLE:
        pytest.skip("; ".join(examined.finding.lines))
    if examined.finding.status is Status.FAILED:
        pytest.fail(f"{examined.claim}\n{result_line(examined)}", pytrace=False)
