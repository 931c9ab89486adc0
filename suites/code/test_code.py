"""Code: built-in function stubs, or HumanEval."""

import pytest

pytestmark = pytest.mark.suite("code")


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
