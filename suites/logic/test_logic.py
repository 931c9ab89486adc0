"""Logic: built-in deduction puzzles, or tasks of BIG-Bench Hard."""

import pytest

pytestmark = pytest.mark.suite("logic")


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
