"""Pairs of table models: drawn by Hypothesis, and adversarial ones."""

import itertools
import json
from pathlib import Path

import torch
from hypothesis import strategies as st
from strategies import distributions

from harness.models.table import TableLM

ADVERSARIAL_FILE = Path(__file__).parent.parent / "fixtures" / "adversarial" / "distributions.json"


def adversarial():
    """Named pairs (p, q) on which a known fault shows most."""
    return {
        entry["name"]: (torch.tensor(entry["p"]).double(), torch.tensor(entry["q"]).double())
        for entry in json.loads(ADVERSARIAL_FILE.read_text(encoding="utf-8"))
    }


def remembering(rows):
    """A law that depends on the last token and on whether the context is of odd length."""
    cache = {}

    def law(context):
        key = (context[-1], len(context) % 2)
        if key not in cache:
            cache[key] = rows[key] / rows[key].sum()
        return cache[key]

    return law


def pair_from(p, q):
    """Table models from one adversarial pair, turned a little for each context.

    Rolling the rows with the last token makes contexts differ, so that a row of the wrong node or
    step shows.
    """
    size = len(p)

    def model(row):
        rows = {
            (last, odd): torch.roll(row, last if odd else 0)
            for last, odd in itertools.product(range(size), (0, 1))
        }
        return TableLM(remembering(rows), size)

    return model(p), model(q)


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
