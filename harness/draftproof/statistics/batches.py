"""Columns of many cases laid end to end, and what must hold of them before they are summed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from draftproof.column_slices import joined, length_of
from draftproof.errors import TraceError
from draftproof.trace import CaseRecord

_STEP_COLUMNS = ("step", "nodes", "depth", "accepted_length", "committed_tokens")
_NODE_COLUMNS = (
    "step",
    "node",
    "parent",
    "depth",
    "sibling_rank",
    "position",
    "acceptance_probability",
    "draft_entropy",
    "target_rank",
    "reached",
    "accepted",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The columns that metrics read, of several cases, end to end.

    Attributes:
        cases: Number of cases.
        case_of_step: ``[steps]`` index in the batch of each step's case.
        case_of_node: ``[nodes]`` the same of each node.
        step_of_node: ``[nodes]`` row of each node's step.
        parent_row: ``[nodes]`` row of each node's parent, −1 for a child of the root.
        steps: Step columns, each ``[steps]``.
        nodes: Node columns, each ``[nodes]``.
    """

    cases: int
    case_of_step: np.ndarray
    case_of_node: np.ndarray
    step_of_node: np.ndarray
    parent_row: np.ndarray
    steps: dict[str, np.ndarray]
    nodes: dict[str, np.ndarray]


BATCH_ROWS = 1 << 20
"""Rows looked at at once: enough to be fast, few enough to fit anywhere (about 100 MB)."""


class CaseColumns(NamedTuple):
    """Some step or node columns of several cases, end to end.

    Attributes:
        cases: The cases.
        counts: ``[cases]`` rows of each.
        columns: By name, each ``[rows]``.
    """

    cases: Sequence[CaseRecord]
    counts: np.ndarray
    columns: dict[str, np.ndarray]

    @property
    def case_of_row(self) -> np.ndarray:
        """``[rows]`` index of each row's case among these."""
        return np.repeat(np.arange(len(self.cases)), self.counts)


def batches(cases: Sequence[CaseRecord], max_rows: int) -> Iterator[Batch]:
    """The cases in order, in batches of about `max_rows` nodes and steps, at least one case each.

    Raises:
        TraceError: A case's columns are not a trace; the message names the case and the rule.
    """
    for part in _parts(cases, max_rows):
        yield _batch(part)


def node_columns(cases: Sequence[CaseRecord], names: Sequence[str]) -> Iterator[CaseColumns]:
    """Some node columns of the cases in order, about `BATCH_ROWS` rows at once.

    Raises:
        TraceError: They cannot be read.
    """
    return _columns(cases, "nodes", names)


def step_columns(cases: Sequence[CaseRecord], names: Sequence[str]) -> Iterator[CaseColumns]:
    """Some step columns of the cases in order, likewise.

    Raises:
        TraceError: They cannot be read.
    """
    return _columns(cases, "steps", names)


def _columns(cases: Sequence[CaseRecord], what: str, names: Sequence[str]) -> Iterator[CaseColumns]:
    for part in _parts(cases, BATCH_ROWS):
        columns = [getattr(case, what) for case in part]
        yield CaseColumns(
            part,
            np.array([length_of(each) for each in columns], np.int64),
            {name: joined(columns, name) for name in names},
        )


def rows_by_domain(cases: Sequence[CaseRecord], domains: Sequence[str]) -> dict[str, np.ndarray]:
    """By domain, the rows of its cases among all, in the order of their ids."""
    rows: dict[str, list[int]] = {domain: [] for domain in domains}
    for row in sorted(range(len(cases)), key=lambda row: cases[row].case_id):
        if (domain := cases[row].domain) in rows:
            rows[domain].append(row)
    return {domain: np.array(own, np.intp) for domain, own in rows.items()}


def _parts(cases: Sequence[CaseRecord], max_rows: int) -> Iterator[Sequence[CaseRecord]]:
    start, rows = 0, 0
    for end, case in enumerate(cases):
        size = length_of(case.steps) + length_of(case.nodes)
        if end > start and rows + size > max_rows:
            yield cases[start:end]
            start, rows = end, 0
        rows += size
    if start < len(cases):
        yield cases[start:]


def _batch(cases: Sequence[CaseRecord]) -> Batch:
    steps = {name: joined([case.steps for case in cases], name) for name in _STEP_COLUMNS}
    nodes = {name: joined([case.nodes for case in cases], name) for name in _NODE_COLUMNS}
    step_counts = np.array([length_of(case.steps) for case in cases])
    node_counts = np.array([length_of(case.nodes) for case in cases])
    index = np.arange(len(cases))
    first_step = np.cumsum(step_counts) - step_counts
    case_of_step = np.repeat(index, step_counts)
    case_of_node = np.repeat(index, node_counts)

    def refuse(broken: np.ndarray, case_of_row: np.ndarray, what: str, rule: str) -> None:
        if broken.any():
            row = int(np.flatnonzero(broken)[0])
            case = int(case_of_row[row])
            within = row - int(np.searchsorted(case_of_row, case))
            raise TraceError(f"case {cases[case].case_id}, {what} row {within}: {rule}")

    step_in_case = np.arange(len(case_of_step)) - first_step[case_of_step]
    refuse(steps["step"] != step_in_case, case_of_step, "step", "steps are not numbered 0, 1, 2, …")
    for name in ("nodes", "depth", "accepted_length", "committed_tokens"):
        refuse(steps[name] < 0, case_of_step, "step", f"{name} is negative")

    unknown_step = (nodes["step"] < 0) | (nodes["step"] >= step_counts[case_of_node])
    refuse(unknown_step, case_of_node, "node", "its step is not one of the case's")
    step_of_node = first_step[case_of_node] + nodes["step"]
    rows = np.arange(len(step_of_node))
    begins = np.diff(step_of_node, prepend=-1) != 0
    first_row = np.maximum.accumulate(np.where(begins, rows, 0))
    refuse(
        (np.diff(step_of_node, prepend=0) < 0) | (nodes["node"] != rows - first_row),
        case_of_node,
        "node",
        "nodes are not ordered by step and numbered 0, 1, 2, … in each",
    )
    refuse(
        (nodes["parent"] < -1) | (nodes["parent"] >= nodes["node"]),
        case_of_node,
        "node",
        "its parent is neither the root (−1) nor an earlier node",
    )
    parent_row = np.where(nodes["parent"] < 0, -1, first_row + nodes["parent"])
    # Row −1 reads the last node's depth; `where` throws it away.
    parent_depth = np.where(parent_row < 0, 0, nodes["depth"][parent_row])
    refuse(
        nodes["depth"] != parent_depth + 1,
        case_of_node,
        "node",
        "its depth is not one more than its parent's",
    )
    return Batch(
        cases=len(cases),
        case_of_step=case_of_step,
        case_of_node=case_of_node,
        step_of_node=step_of_node,
        parent_row=parent_row,
        steps=steps,
        nodes=nodes,
    )
