"""Rank correlation of draft entropy and acceptance probability, with intervals over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from draftproof.column_slices import length_of
from draftproof.statistics.batches import node_columns
from draftproof.statistics.replicates import FEW_PROMPTS, Replicates
from draftproof.statistics.resampling import Resampling, resample_weights, units_of
from draftproof.trace import CaseRecord, Verdict

BINS = 32
"""Quantile bins of each variable in which nodes are counted before they are resampled."""

_CELLS_AT_ONCE = 1 << 24
_ABSENT = "no node has both a draft entropy and an acceptance probability that vary"


class NodePairs(NamedTuple):
    """Two variables of the nodes of a domain, and the prompt each node is of.

    Attributes:
        prompt: ``[nodes]`` index of the prompt.
        prompts: Number of prompts.
        x: ``[nodes]`` draft entropy.
        y: ``[nodes]`` acceptance probability.
    """

    prompt: np.ndarray
    prompts: int
    x: np.ndarray
    y: np.ndarray


def entropy_and_acceptance(cases: Sequence[CaseRecord]) -> NodePairs:
    """Draft entropy and acceptance probability of every node that has both, by prompt.

    Nodes are read in the order in which they lie, and stand in that of their prompts' ids.
    """
    measured = [case for case in cases if case.verdict is not Verdict.ERROR]
    order = sorted(range(len(measured)), key=lambda row: measured[row].case_id)
    counts = np.array([length_of(case.nodes) for case in measured], np.int64)
    starts = np.empty(len(measured), np.int64)
    starts[order] = np.cumsum(counts[order]) - counts[order]
    prompt = np.repeat(np.arange(len(measured)), counts[order])
    x, y = np.empty(len(prompt)), np.empty(len(prompt))
    done = 0
    for part in node_columns(measured, ("draft_entropy", "acceptance_probability")):
        own = slice(done, done + len(part.cases))
        first = np.cumsum(counts[own]) - counts[own]
        at = np.arange(len(part.case_of_row)) + (starts[own] - first)[part.case_of_row]
        x[at] = part.columns["draft_entropy"]
        y[at] = part.columns["acceptance_probability"]
        done = own.stop
    known = ~(np.isnan(x) | np.isnan(y))
    return NodePairs(prompt[known], len(measured), x[known], y[known])


def spearman(pairs: NodePairs, domain: str, resampling: Resampling) -> Replicates:
    """Spearman's ρ of two variables of nodes, and its values on resampled prompts.

    The value is exact: Pearson's correlation of average ranks. Of the resamples, each is
    ranked anew: nodes are counted once in `BINS` × `BINS` quantile bins per prompt, a resample's
    table is a weighted sum of the prompts' tables, and its ranks are the average ranks of the bins.
    Ranks that were fixed in the whole sample would leave out that the marginal distributions vary
    with the prompts drawn.

    Args:
        pairs: The nodes of a domain.
        domain: Its name: resampled as its other figures are.
        resampling: Number of resamples and seed.

    Returns:
        ρ in [−1, 1], for intervals of any level; n is the number of nodes.

    Source:
        Spearman 1904, with average ranks for ties.
    """
    value = float(_correlation(average_ranks(pairs.x), average_ranks(pairs.y)))
    units = units_of(pairs.prompts, domain, resampling)
    tables = prompt_tables(pairs, units)
    coarse = float(table_spearman(tables.sum(axis=0)[None])[0])
    replicates = np.full(resampling.resamples, np.nan)
    if pairs.prompts >= FEW_PROMPTS:
        step = max(1, _CELLS_AT_ONCE // max(1, tables[0].size))
        flat = tables.reshape(len(tables), -1)
        for rows, weights in resample_weights(len(tables), domain, resampling):
            for start in range(0, len(weights), step):
                drawn = (weights[start : start + step] @ flat).reshape(-1, *tables.shape[1:])
                at = slice(rows.start + start, rows.start + start + len(drawn))
                replicates[at] = table_spearman(drawn)
    # What binning costs is the same in every resample, and is put back.
    replicates = np.clip(replicates + (value - coarse), -1, 1)
    return Replicates(
        value=value,
        draws=replicates,
        n=len(pairs.x),
        weights=[np.bincount(pairs.prompt, minlength=pairs.prompts).astype(np.float64)],
        bounds=(-1.0, 1.0),
        absent=_ABSENT,
    )


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; ties share the mean of theirs.

    Example:
        >>> average_ranks(np.array([3.0, 1.0, 3.0])).tolist()
        [2.5, 1.0, 2.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], np.float64)


def prompt_tables(pairs: NodePairs, units: np.ndarray) -> np.ndarray:
    """``[units, bins of x, bins of y]`` how many nodes of each unit fall in each bin.

    Args:
        pairs: The nodes.
        units: ``[prompts]`` the unit that each prompt is resampled with.
    """
    x, y = _binned(pairs.x), _binned(pairs.y)
    width, height = int(x.max(initial=0)) + 1, int(y.max(initial=0)) + 1
    count = int(units.max(initial=-1)) + 1
    cell = (units[pairs.prompt] * width + x) * height + y
    counts = np.bincount(cell, minlength=count * width * height)
    return counts.reshape(count, width, height).astype(np.float64)


def table_spearman(tables: np.ndarray) -> np.ndarray:
    """ρ of each table of counts, ``[tables, bins of x, bins of y]``; NaN where one is constant."""
    across, down = tables.sum(axis=2), tables.sum(axis=1)
    total = across.sum(axis=1, keepdims=True)
    # Mid-ranks, taken from the mean rank.
    rank_x = np.cumsum(across, axis=1) - across / 2 - total / 2
    rank_y = np.cumsum(down, axis=1) - down / 2 - total / 2
    covariance = np.einsum("bx,bxy,by->b", rank_x, tables, rank_y, optimize=True)
    spread = (rank_x**2 * across).sum(axis=1) * (rank_y**2 * down).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, covariance / np.sqrt(spread), np.nan)


def _binned(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.zeros(0, np.int64)
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
    # A value that is an edge, as one that many nodes share (acceptance probability 1), has a bin of
    # its own.
    doubled = np.searchsorted(edges, values, "left") + np.searchsorted(edges, values, "right")
    # Bins without a value are left out; nothing is sorted for it.
    present = np.bincount(doubled) > 0
    return np.asarray((np.cumsum(present) - 1)[doubled])


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    spread = float((x @ x) * (y @ y))
    return float(x @ y) / spread**0.5 if spread > 0 else float("nan")
