"""What is wrong with options ends the session in one line, with exit code 4."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from draftproof.errors import DraftproofError, file_problem


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Make errors of draftproof's, and of files that options name, usage errors of pytest."""
    try:
        yield
    except DraftproofError as error:
        raise pytest.UsageError(str(error)) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise pytest.UsageError(str(file_problem(error))) from error
