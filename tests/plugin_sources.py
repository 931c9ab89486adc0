"""Sources of suites and rules that the plugin's tests run."""

SUITE = """
import pytest

pytestmark = pytest.mark.suite("letters", prompts=["a b c", "c b a", "d e"])


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
"""

WRONG_RULE = """
import pytest
from draftproof.acceptance import GreedyRule


class KeepsTheFirstChild(GreedyRule):
    def accept(self, draft, target, randomness):
        right = super().accept(draft, target, randomness)
        if right.path or not len(draft.tree):
            return right
        extra = int(target[1].argmax())
        return type(right)(path=(0,), extra_token=extra, reached=(0,))


@pytest.fixture(scope="session")
def acceptance_rule():
    return KeepsTheFirstChild()
"""
