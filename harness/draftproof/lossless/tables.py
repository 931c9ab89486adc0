"""Pairs of table models on which faults of verification show most."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float

from draftproof.assets import asset_path
from draftproof.models.table import TableLM

Row = Float[torch.Tensor, " vocabulary"]
Rows = Mapping[tuple[int, int], Row]


def adversarial() -> dict[str, tuple[Row, Row]]:
    """Named pairs (p, q), float64, on each of which a known fault shows most."""
    path = asset_path("adversarial", "distributions.json")
    return {
        entry["name"]: (torch.tensor(entry["p"]).double(), torch.tensor(entry["q"]).double())
        for entry in json.loads(path.read_text(encoding="utf-8"))
    }


def remembering(rows: Rows) -> Callable[[tuple[int, ...]], Row]:
    """A law that depends on the last token and on whether the context is of odd length.

    Args:
        rows: Weights by (last token, length modulo 2).
    """
    cache: dict[tuple[int, int], Row] = {}

    def law(context: tuple[int, ...]) -> Row:
        key = (context[-1], len(context) % 2)
        if key not in cache:
            cache[key] = rows[key] / rows[key].sum()
        return cache[key]

    return law


def pair_from(p: Row, q: Row) -> tuple[TableLM, TableLM]:
    """A target and a draft model from one pair, turned a little for each context.

    Rolling the rows with the last token makes contexts differ, so that a row of the wrong node or
    step shows.
    """
    return _model(p), _model(q)


def _model(row: Row) -> TableLM:
    size = len(row)
    rows = {
        (last, odd): torch.roll(row, last if odd else 0)
        for last, odd in itertools.product(range(size), (0, 1))
    }
    law = remembering(rows)
    # A faulty engine may go on after an id that no token has.
    return TableLM(lambda context: law((*context[:-1], context[-1] % size)), size)
