"""What a kernel returned, read: the forms that no row may have."""

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

from draftproof.kernels import DraftTable, require_law
from draftproof.kernels.calling import OUTSIDE, Reading, malformed
from draftproof.kernels.planted.catalogue import CATALOGUE
from draftproof.kernels.regression import LawError

TREE = DraftTable(
    tokens=(0, 1, 2),
    parents=(-1, -1, 0),
    target=np.full((4, 3), 1 / 3),
    draft=np.full((4, 3), 1 / 3),
)


@pytest.mark.parametrize(
    ("row", "accepted", "said"),
    [
        ([-1, -1, -1], None, "no token was emitted"),
        ([0, -1, 2], None, "a -1 stands between"),
        ([0, 2, 1, 1], None, "4 tokens were emitted for a draft of depth 2"),
        ([2, 1, -1], None, "the kept tokens (2,) are no path"),
        ([1, 2, 0], None, "the kept tokens (1, 2) are no path"),
        ([0, 2, 1], 3, "3 tokens are said to be accepted, and 2 were emitted"),
        ([0, 2, 1], 2, None),
        ([1, 0, -1], None, None),
        ([2, -1, -1], 0, None),
        ([OUTSIDE, -1, -1], None, None),
    ],
)
def test_the_form_of_a_row(row, accepted, said):
    reading = Reading(
        tokens=np.array([row]), accepted=None if accepted is None else np.array([accepted])
    )
    found = malformed(reading, TREE, 0)
    assert (found is None) == (said is None), found
    assert said is None or said in found


@st.composite
def chains(draw):
    """Chains of one or two tokens over three ids, no drafted token of probability 0."""
    length = draw(st.integers(1, 2))
    weights = st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any)
    target = [draw(weights) for _ in range(length + 1)]
    draft = [draw(weights) for _ in range(length + 1)]
    tokens = [draw(st.sampled_from([i for i in range(3) if row[i]])) for row in draft[:length]]
    normal = [[value / sum(row) for value in row] for row in (*target, *draft)]
    return DraftTable(tokens=tuple(tokens), target=normal[: length + 1], draft=normal[length + 1 :])


@settings(max_examples=25)
@given(chains())
def test_right_kernels_have_the_law_of_every_table_that_hypothesis_draws(table):
    require_law(CATALOGUE["rejection"].make(), table)


@pytest.mark.parametrize("name", ["no-residual", "stale-bonus", "counted"])
def test_hypothesis_finds_a_table_that_shows_a_fault(name):
    kernel = CATALOGUE[name].make()

    def shows(table):
        try:
            require_law(kernel, table)
        except LawError:
            return True
        return False

    found = find(chains(), shows, settings=settings(max_examples=300, database=None))
    assert len(found) <= 2
