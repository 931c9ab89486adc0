"""Pairs of table models: drawn by Hypothesis; the adversarial ones are the package's."""

import itertools

from hypothesis import strategies as st
from strategies import distributions

from draftproof.lossless.tables import adversarial, pair_from, remembering
from draftproof.models.table import TableLM

__all__ = ["adversarial", "pair_from", "pairs", "remembering"]


@st.composite
def pairs(draw, sizes=(2, 3), positive=1):
    """Two table models over the same few ids, each with some possible tokens everywhere."""
    size = draw(st.sampled_from(sizes))

    def model():
        rows = {
            key: draw(distributions(size, positive))
            for key in itertools.product(range(size), (0, 1))
        }
        return TableLM(remembering(rows), size)

    return model(), model()
