"""Where two runs of one greedy configuration part: the first case, step and node, and what changed.

A run is compared node for node where both runs' traces are at hand. A stored baseline has a few
numbers a step instead: they still say which step is the first to differ, and in what.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from draftproof.trace import CaseRecord, Columns

ROUNDING = 1e-5
"""Probabilities that are no further apart are the same: sums in float32 depend on their order."""

KEPT_WHOLE, KEPT_ASIDE = 1, 2
"""Bits of a step's kept path: it reaches the draft's full depth; it has a node that was not the
first proposed among its siblings."""


class Aspect(StrEnum):
    """What of a step changed; in the order in which one follows from another."""

    TREE = "tree"
    DRAFT = "draft model's probabilities"
    TARGET = "target's probabilities"
    ACCEPTANCE = "acceptance"
    COMMIT = "commit"
    LENGTH = "number of steps"


_STEP = np.dtype(
    [
        *((name, "<u4") for name in ("tree", "ranks", "acceptance", "commit")),
        *((name, "<f4") for name in ("target", "draft")),
        ("kept", "|u1"),
    ]
)


_STEP_FACTS = ("step", "depth", "accepted_length", "committed_tokens", "root_position")
_NODE_FACTS = (
    "step",
    "parent",
    "token_id",
    "sibling_rank",
    "target_rank",
    "reached",
    "accepted",
    "target_probability",
    "draft_probability",
)
"""The columns that facts of steps are made of."""


@dataclass(frozen=True, slots=True)
class StepFacts:
    """A case's steps in a few bytes each.

    Attributes:
        rows: ``[steps]`` checksums of the tree (parents, tokens), of the target's ranks, of which
            nodes were reached and accepted, and of how many tokens were kept and committed where;
            the sums of both models' probabilities; and `KEPT_WHOLE` and `KEPT_ASIDE` of the kept
            path.
    """

    rows: np.ndarray

    def to_bytes(self) -> bytes:
        """The rows; `from_bytes`'s inverse."""
        return self.rows.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> StepFacts:
        """The facts from their bytes.

        Raises:
            ValueError: The bytes are not a whole number of rows.
        """
        return cls(np.frombuffer(data, _STEP))


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTree:
    """A step's tree with everything known of its nodes: plain values, fit for JSON.

    Attributes:
        root_position: Position of the root in the sequence.
        accepted_length: Drafted tokens kept.
        committed_tokens: Tokens added to the output.
        nodes: The step's rows of `NODE_COLUMNS`, each a list.
    """

    root_position: int
    accepted_length: int
    committed_tokens: int
    nodes: Mapping[str, list[Any]]

    def to_json(self) -> dict[str, Any]:
        """The tree as JSON values; NaN becomes null."""
        return {
            "root_position": self.root_position,
            "accepted_length": self.accepted_length,
            "committed_tokens": self.committed_tokens,
            "nodes": {
                name: [_known(value) for value in column] for name, column in self.nodes.items()
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstDifference:
    """The first place where a run parts from an earlier one.

    Attributes:
        case_id: The first case that differs, in the order of their ids.
        step: Its first step that differs.
        node: The first node of it that differs; None where no node does, or where the earlier
            run's traces were not kept.
        aspect: What changed first.
        detail: The values, before and now.
        before: The earlier run's tree at the step; None where it is not known.
        now: The later run's.
    """

    case_id: str
    step: int
    node: int | None
    aspect: Aspect
    detail: str
    before: StepTree | None
    now: StepTree | None

    def to_json(self) -> dict[str, Any]:
        """The difference as JSON values."""
        return {
            "case_id": self.case_id,
            "step": self.step,
            "node": self.node,
            "changed": str(self.aspect),
            "detail": self.detail,
            "before": None if self.before is None else self.before.to_json(),
            "now": None if self.now is None else self.now.to_json(),
        }


def step_facts(case: CaseRecord) -> StepFacts:
    """The facts of a case's steps."""
    # Read once a case: of a saved run, every look-up of a column goes to its file.
    steps = {name: case.steps[name] for name in _STEP_FACTS}
    nodes = {name: case.nodes[name] for name in _NODE_FACTS}
    rows = np.zeros(len(steps["step"]), _STEP)
    ends = np.searchsorted(nodes["step"], steps["step"], side="right")
    starts = np.searchsorted(nodes["step"], steps["step"], side="left")
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        own = slice(start, end)
        rows["tree"][index] = _checksum(nodes, own, ("parent", "token_id"))
        rows["ranks"][index] = _checksum(nodes, own, ("target_rank",))
        rows["acceptance"][index] = _checksum(nodes, own, ("reached", "accepted"))
        rows["target"][index] = np.nansum(nodes["target_probability"][own], dtype=np.float64)
        rows["draft"][index] = np.nansum(nodes["draft_probability"][own], dtype=np.float64)
    committed = np.stack(
        [steps[name] for name in ("accepted_length", "committed_tokens", "root_position")], axis=1
    ).astype("<i4")
    rows["commit"] = [zlib.crc32(row.tobytes()) for row in committed]
    whole = (steps["accepted_length"] == steps["depth"]) & (steps["depth"] > 0)
    aside = nodes["step"][nodes["accepted"] & (nodes["sibling_rank"] > 0)]
    rows["kept"] = KEPT_WHOLE * whole + KEPT_ASIDE * np.isin(steps["step"], aside)
    return StepFacts(rows)


def first_changed_step(before: StepFacts, now: StepFacts) -> tuple[int, Aspect] | None:
    """The first step at which two runs of a case differ, and in what; None where none does."""
    common = min(len(before.rows), len(now.rows))
    old, new = before.rows[:common], now.rows[:common]
    changed = {
        Aspect.TREE: old["tree"] != new["tree"],
        Aspect.DRAFT: np.abs(old["draft"] - new["draft"]) > ROUNDING,
        Aspect.TARGET: (old["ranks"] != new["ranks"])
        | (np.abs(old["target"] - new["target"]) > ROUNDING),
        Aspect.ACCEPTANCE: old["acceptance"] != new["acceptance"],
        Aspect.COMMIT: old["commit"] != new["commit"],
    }
    anything = np.logical_or.reduce(list(changed.values()))
    if anything.any():
        step = int(anything.argmax())
        return step, next(aspect for aspect, where in changed.items() if where[step])
    if len(before.rows) != len(now.rows):
        return common, Aspect.LENGTH
    return None


def locate(
    case_id: str,
    found: tuple[int, Aspect],
    before: CaseRecord | None,
    now: CaseRecord | None,
) -> FirstDifference:
    """A changed step with its trees and the first node that differs.

    Args:
        case_id: The case.
        found: From `first_changed_step`.
        before: The earlier run's record of it, where it was kept.
        now: The later run's.
    """
    step, aspect = found
    old, new = _tree_of(before, step), _tree_of(now, step)
    node, detail = None, ""
    if old is not None and new is not None:
        node, detail = _first_node(aspect, old, new)
    return FirstDifference(
        case_id=case_id,
        step=step,
        node=node,
        aspect=aspect,
        detail=detail,
        before=old,
        now=new,
    )


_COLUMNS: dict[Aspect, tuple[str, ...]] = {
    Aspect.TREE: ("parent", "token_id"),
    Aspect.DRAFT: ("draft_probability",),
    Aspect.TARGET: ("target_probability", "target_rank"),
    Aspect.ACCEPTANCE: ("accepted", "reached"),
}


def _first_node(aspect: Aspect, old: StepTree, new: StepTree) -> tuple[int | None, str]:
    common = min(len(old.nodes["node"]), len(new.nodes["node"]))
    for node in range(common):
        for column in _COLUMNS.get(aspect, ()):
            before, now = old.nodes[column][node], new.nodes[column][node]
            if _apart(before, now, ROUNDING / common):
                return node, f"{column} {_shown(before)} → {_shown(now)}"
    if len(old.nodes["node"]) != len(new.nodes["node"]):
        return common, f"nodes {len(old.nodes['node'])} → {len(new.nodes['node'])}"
    return None, (
        f"accepted length {old.accepted_length} → {new.accepted_length}, committed tokens "
        f"{old.committed_tokens} → {new.committed_tokens}, root position {old.root_position} → "
        f"{new.root_position}"
    )


def _apart(before: Any, now: Any, rounding: float) -> bool:
    """Where a step's sum of n probabilities moved, one of them moved by an n-th of that."""
    if isinstance(before, float):
        if math.isnan(before) or math.isnan(now):
            return math.isnan(before) != math.isnan(now)
        return bool(abs(before - now) > rounding)
    return bool(before != now)


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _shown(value: Any) -> str:
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def _tree_of(case: CaseRecord | None, step: int) -> StepTree | None:
    if case is None or step >= len(case.steps["step"]):
        return None
    rows = case.nodes["step"] == case.steps["step"][step]
    return StepTree(
        root_position=int(case.steps["root_position"][step]),
        accepted_length=int(case.steps["accepted_length"][step]),
        committed_tokens=int(case.steps["committed_tokens"][step]),
        nodes={name: column[rows].tolist() for name, column in case.nodes.items()},
    )


def _checksum(columns: Columns, rows: slice, names: Sequence[str]) -> int:
    checksum = 0
    for name in names:
        checksum = zlib.crc32(np.ascontiguousarray(columns[name][rows]).tobytes(), checksum)
    return checksum
