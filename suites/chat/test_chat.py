"""Chat: built-in requests to an assistant, or the first turns of MT-Bench."""

import pytest

pytestmark = pytest.mark.suite("chat")


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
