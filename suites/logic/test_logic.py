"""Logic: built-in deduction puzzles, tasks of BIG-Bench Hard, or FOLIO."""

import pytest

pytestmark = pytest.mark.suite("logic")


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
