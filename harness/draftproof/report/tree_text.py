"""A step's tree as text, and two of them side by side: node columns in, lines out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

MARK = "►"
"""Stands before the node that a message is about."""
_GAP = "   "
_MORE = 40
"""Lines of a tree that are shown; larger trees are cut around the marked node."""


def tree_lines(
    nodes: Mapping[str, Sequence[Any]], root_position: int, *, marked: int | None = None
) -> list[str]:
    r"""One line for the root and one a node, children under their parents in proposal order.

    Args:
        nodes: `NODE_COLUMNS` of one step.
        root_position: Position of the root in the sequence.
        marked: A node to mark.

    Returns:
        Lines: token id, p (target), q (draft model), ``kept`` or ``reached``.

    Example:
        >>> nodes = {"node": [0, 1], "parent": [-1, 0], "token_id": [7, 9],
        ...          "target_probability": [0.5, 0.25], "draft_probability": [0.75, 0.5],
        ...          "reached": [True, True], "accepted": [True, False]}
        >>> print("\n".join(tree_lines(nodes, 12, marked=1)))
          root at 12
          └─ 7  p .500 q .750 kept
        ►    └─ 9  p .250 q .500 reached
    """
    below: dict[int, list[int]] = {}
    for row, parent in enumerate(nodes["parent"]):
        below.setdefault(int(parent), []).append(row)
    lines = [f"  root at {root_position}"]

    def add(rows: Sequence[int], indent: str) -> None:
        for row in rows:
            last = row == rows[-1]
            mark = MARK if nodes["node"][row] == marked else " "
            lines.append(f"{mark} {indent}{'└─' if last else '├─'} {_node(nodes, row)}")
            add(below.get(int(nodes["node"][row]), []), indent + ("   " if last else "│  "))

    add(below.get(-1, []), "")
    return lines


def side_by_side(left: Sequence[str], right: Sequence[str], titles: tuple[str, str]) -> str:
    """Two blocks of lines beside each other, each under its title.

    Example:
        >>> print(side_by_side(["a", "bb"], ["c"], ("old", "new")))
        old   new
        a     c
        bb
    """
    first, second = _window(left), _window(right)
    width = max(len(line) for line in (titles[0], *first))
    rows = [titles, *zip_longest(first, second, fillvalue="")]
    return "\n".join(f"{a:<{width}}{_GAP}{b}".rstrip() for a, b in rows)


def _window(lines: Sequence[str]) -> list[str]:
    """At most `_MORE` lines, the marked one among them."""
    if len(lines) <= _MORE:
        return list(lines)
    marked = next((i for i, line in enumerate(lines) if line.startswith(MARK)), 0)
    start = max(0, min(marked - _MORE // 2, len(lines) - _MORE))
    shown = list(lines[start : start + _MORE])
    if start:
        shown.insert(0, f"  … {start} lines above")
    if rest := len(lines) - start - _MORE:
        shown.append(f"  … {rest} lines below")
    return shown


def _node(nodes: Mapping[str, Sequence[Any]], row: int) -> str:
    state = "kept" if nodes["accepted"][row] else "reached" if nodes["reached"][row] else ""
    p, q = nodes["target_probability"][row], nodes["draft_probability"][row]
    return f"{nodes['token_id'][row]}  p {_shown(p)} q {_shown(q)} {state}".rstrip()


def _shown(value: Any) -> str:
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.3f}".removeprefix("0")
