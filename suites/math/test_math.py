"""Math: built-in word problems, or GSM8K."""

import pytest

pytestmark = pytest.mark.suite("math")


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
