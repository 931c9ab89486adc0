"""The conformance kit as tests: ``pytest --pyargs draftproof.conformance --spec-engine NAME``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from draftproof.conformance.check_result import Status
from draftproof.conformance.kit import CHECKS, begin, examine
from draftproof.conformance.rendering import result_line
from draftproof.conformance.subject import Subject


@pytest.fixture(scope="session")
def subject(pytestconfig: pytest.Config) -> Iterator[Subject]:
    """The engine that the run's settings name, with a few prompts of each domain."""
    from draftproof.conformance.making import make_subject
    from draftproof.plugin.session import configured

    made = make_subject(configured(pytestconfig))
    begin(made)
    yield made
    made.close()


@pytest.mark.parametrize("name", CHECKS)
def test_conformance(name: str, subject: Subject) -> None:
    """One check of the kit."""
    (examined,) = examine(subject, [name])
    if examined.finding.status in (Status.NOT_AVAILABLE, Status.NOT_TRIED):
        pytest.skip(f"{examined.finding.status}: {'; '.join(examined.finding.lines)}")
    if examined.finding.status is Status.FAILED:
        pytest.fail(f"{examined.claim}\n{result_line(examined)}", pytrace=False)
