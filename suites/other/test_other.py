"""Everything that --spec-prompts gives and that has no suite of its own: other domains."""

import pytest

pytestmark = pytest.mark.suite("other")


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
