"""Every check of a kernel as a parametrised test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from draftproof.conformance.check_result import Status
from draftproof.kernels.contract import Kernel, declared
from draftproof.kernels.examination import Examination
from draftproof.kernels.rendering import result_line
from draftproof.kernels.suite import CHECKS, examine


def pytest_checks(kernel: Kernel, *, rows: int = 200_000, **facts: Any) -> Callable[[str], None]:
    """A parametrised test with a case for each check: assign it to a name that begins with `test`.

    Args:
        kernel: Under test.
        rows: The most rows that a sequential test draws.
        facts: Fields of `KernelFacts`, where they are not declared.

    Example:
        In a test file::

            from draftproof.kernels import pytest_checks
            from my_engine import rejection_sample

            def kernel(call):
                return rejection_sample(call.draft_tokens, call.draft_lengths, ...)

            test_rejection_sample = pytest_checks(kernel, rule="rejection")
    """
    import pytest

    examination = Examination(kernel=kernel, facts=declared(kernel, **facts), rows=rows)

    @pytest.mark.parametrize("check", CHECKS)
    def test_kernel(check: str) -> None:
        (examined,) = examine(examination, [check])
        status = examined.finding.status
        if status in (Status.NOT_AVAILABLE, Status.NOT_TRIED):
            pytest.skip(f"{status}: {'; '.join(examined.finding.lines)}")
        if status is Status.FAILED:
            pytest.fail(f"{examined.claim}\n{result_line(examined)}", pytrace=False)

    return test_kernel
