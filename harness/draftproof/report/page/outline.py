"""A step's tree as an outline: one row a node, in the order of the terminal, with what is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from draftproof.gate.exact import StepTree
from draftproof.report.labels import NOT_ESTIMABLE

THROUGH, TEE, END, NOTHING = "through", "tee", "end", "nothing"
"""What is drawn left of a node, once a depth: an ancestor's line that goes on, a branch with
siblings below it, the last branch, and no line."""

_NODE_FACTS = {
    "p, target": "target_probability",
    "q, draft model": "draft_probability",
    "acceptance probability": "acceptance_probability",
    "overlap": "overlap",
    "target entropy, nats": "target_entropy",
    "draft entropy, nats": "draft_entropy",
    "target rank": "target_rank",
    "draft rank": "draft_rank",
}
_VISIBLE = str.maketrans({" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A node as it is shown.

    Attributes:
        node: Its index in the draft.
        guides: Lines left of it, from depth 1 to its own.
        token: Its text, white space made visible; its id where the text was not kept.
        token_id: Its id.
        state: ``kept``, ``reached`` or ``unreached``.
        p: Its probability under the target, as text.
        q: Its probability under the draft model, as text.
        p_percent: The first in percent; 0 where it is not known.
        q_percent: The second.
        marked: Whether it is the node that the page is about.
    """

    node: int
    guides: tuple[str, ...]
    token: str
    token_id: int
    state: str
    p: str
    q: str
    p_percent: float
    q_percent: float
    marked: bool


def outline(tree: StepTree, texts: Mapping[int, str], *, marked: int | None = None) -> list[Row]:
    """The rows of a tree, children under their parents in proposal order."""
    nodes = tree.nodes
    below: dict[int, list[int]] = {}
    for row, parent in enumerate(nodes["parent"]):
        below.setdefault(int(parent), []).append(row)
    rows: list[Row] = []
    # A stack in place of recursion: a chain may be deeper than the interpreter's limit.
    waiting: list[tuple[int, tuple[str, ...]]] = [(row, ()) for row in below.get(-1, [])[::-1]]
    while waiting:
        row, above = waiting.pop()
        siblings = below[int(nodes["parent"][row])]
        last = row == siblings[-1]
        rows.append(_row(nodes, row, (*above, END if last else TEE), texts, marked))
        children = below.get(int(nodes["node"][row]), [])
        waiting += [(child, (*above, NOTHING if last else THROUGH)) for child in children[::-1]]
    return rows


def node_facts(
    before: StepTree, now: StepTree, node: int, texts: Mapping[int, str]
) -> list[tuple[str, str, str]]:
    """Everything recorded of a node in both trees: name, before, now; absent ones as –."""
    return [
        (name, earlier, later)
        for (name, earlier), (_, later) in zip(
            _facts(before, node, texts), _facts(now, node, texts), strict=True
        )
    ]


def shown_token(token_id: int, texts: Mapping[int, str]) -> str:
    """A token's text with its white space made visible, or its id.

    Example:
        >>> shown_token(7, {7: " the"}), shown_token(8, {})
        ('·the', '⟨8⟩')
    """
    text = texts.get(token_id)
    return f"⟨{token_id}⟩" if text is None else text.translate(_VISIBLE)


def fraction(value: float | None) -> str:
    """A probability in few characters.

    Example:
        >>> [fraction(value) for value in (0.5, 0.99999, 1.0, 0.00012, 0.00002, float("nan"))]
        ['.500', '>.999', '1', '.0001', '<.0001', '–']
    """
    if value is None or math.isnan(value):
        return NOT_ESTIMABLE
    if value < 0.00005:
        return "<.0001"
    if value == 1.0:
        return "1"
    if value >= 0.9995:
        return ">.999"
    return f"{value:.{4 if value < 0.001 else 3}f}".removeprefix("0")


def _row(
    nodes: Mapping[str, Sequence[Any]],
    row: int,
    guides: tuple[str, ...],
    texts: Mapping[int, str],
    marked: int | None,
) -> Row:
    p, q = nodes["target_probability"][row], nodes["draft_probability"][row]
    token_id = int(nodes["token_id"][row])
    return Row(
        node=int(nodes["node"][row]),
        guides=guides,
        token=shown_token(token_id, texts),
        token_id=token_id,
        state=_state(nodes, row),
        p=fraction(p),
        q=fraction(q),
        p_percent=_percent(p),
        q_percent=_percent(q),
        marked=nodes["node"][row] == marked,
    )


def _facts(tree: StepTree, node: int, texts: Mapping[int, str]) -> list[tuple[str, str]]:
    nodes = tree.nodes
    if node >= len(nodes["node"]):
        return [(name, NOT_ESTIMABLE) for name in ("token", "after", *_NODE_FACTS, "the rule")]
    token_id, parent = int(nodes["token_id"][node]), int(nodes["parent"][node])
    above = "the root" if parent < 0 else f"“{shown_token(nodes['token_id'][parent], texts)}”"
    states = {"kept": "kept", "reached": "reached, rejected", "unreached": "not reached"}
    return [
        ("token", f"“{shown_token(token_id, texts)}” ({token_id})"),
        ("after", above),
        *((name, _value(nodes[column][node])) for name, column in _NODE_FACTS.items()),
        ("the rule", states[_state(nodes, node)]),
    ]


def _value(value: float) -> str:
    if isinstance(value, int):
        return NOT_ESTIMABLE if value < 0 else str(value)
    return NOT_ESTIMABLE if math.isnan(value) else f"{value:.4f}"


def _state(nodes: Mapping[str, Sequence[Any]], row: int) -> str:
    if nodes["accepted"][row]:
        return "kept"
    return "reached" if nodes["reached"][row] else "unreached"


def _percent(value: float | None) -> float:
    return 0.0 if value is None or math.isnan(value) else 100 * min(max(value, 0.0), 1.0)
