"""Chat: built-in requests to an assistant, MT-Bench or Vicuna-80."""

import pytest

pytestmark = pytest.mark.suite("chat")


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
