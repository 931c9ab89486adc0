"""One case and one tree, step by step: the columns that a live run would have recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from draftproof.replay.alignment import Alignment, align
from draftproof.replay.matching import accepted_lengths
from draftproof.replay.recorded import RecordedCase, RecordingInfo
from draftproof.replay.trees import Paths, make_table

STEP_FACTS = ("step", "nodes", "depth", "accepted_length", "committed_tokens", "root_position")
"""Those of `draftproof.trace.STEP_COLUMNS` that are not times."""


class ReplayedSteps(NamedTuple):
    """A case as it would have been decoded.

    Attributes:
        steps: `STEP_FACTS`, each ``[steps]``.
        reached: `draftproof.trace.NODE_COLUMNS` of every node that the rule would have looked at,
            by step and then in the order of the tree. The others are not known, nor are those
            beyond the overrun of the recording.
    """

    steps: dict[str, np.ndarray]
    reached: dict[str, np.ndarray]


def replay_steps(
    case: RecordedCase, draft: str, paths: Paths, info: RecordingInfo
) -> ReplayedSteps:
    """The steps of a case with a deterministic tree, and the nodes that were reached.

    Args:
        case: Of the recording.
        draft: Name of a draft model.
        paths: The tree, by the sibling ranks that lead to each node.
        info: Of the recording.
    """
    alignment = align([case], draft, info)
    ordered = sorted(paths, key=lambda path: (len(path), path))
    index = {path: node for node, path in enumerate(ordered)}
    lengths = accepted_lengths(alignment, make_table([paths]))[0, 0]
    ranks, room = alignment.ranks[0], alignment.room[0]
    steps: list[tuple[int, ...]] = []
    reached: list[tuple[int, int, tuple[int, ...], bool]] = []
    for root, kept, added in walk(lengths, case.committed):
        drafted = [path for path in ordered if len(path) <= room[root]]
        position = len(case.prompt_token_ids) + root
        depth = max(map(len, drafted), default=0)
        steps.append((len(steps), len(drafted), depth, kept, added, position))
        walked = tuple(int(rank) for rank in ranks[root + 1 : root + 1 + kept])
        for level in range(kept + 1):
            siblings = [path for path in drafted if path[:-1] == walked[:level]]
            siblings = [path for path in siblings if len(path) == level + 1]
            last = walked[level] if level < kept else len(siblings)
            if root + level + 1 >= len(case.token_ids):
                break  # beyond what was recorded
            reached.extend(
                (len(steps) - 1, root, path, path == walked[: level + 1])
                for path in siblings[: last + 1]
            )
    columns = np.array(steps, int).reshape(-1, len(STEP_FACTS)).T
    return ReplayedSteps(
        dict(zip(STEP_FACTS, columns, strict=True)), _nodes(case, draft, reached, index)
    )


def walk(lengths: Sequence[int] | np.ndarray, committed: int) -> Iterator[tuple[int, int, int]]:
    """The steps of an output.

    Args:
        lengths: ``[≥ committed − 1]`` the accepted length of a step from each token of the output.
        committed: How many tokens the output has, the first of which no step drafts.

    Yields:
        The index of the token that a step goes on from, its accepted length, and by how many tokens
        the output grows.

    Example:
        >>> list(walk([2, 0, 0, 1], 6))
        [(0, 2, 3), (3, 1, 2)]
    """
    root = 0
    while root < committed - 1:
        kept = int(lengths[root])
        yield root, kept, min(kept + 1, committed - 1 - root)
        root += kept + 1


def step_roots(alignment: Alignment, paths: Paths, rows: np.ndarray) -> np.ndarray:
    """Where the steps of some cases begin with a tree.

    Args:
        alignment: The cases.
        paths: The tree.
        rows: ``[n]`` indices of the cases that count.

    Returns:
        ``[cases, tokens]`` 1 at every root of theirs, else 0.
    """
    roots = np.zeros(alignment.ranks.shape)
    lengths = accepted_lengths(alignment, make_table([paths]))[0]
    for row in rows:
        for root, _, _ in walk(lengths[row], int(alignment.committed[row])):
            roots[row, root] = 1
    return roots


def _nodes(
    case: RecordedCase,
    draft: str,
    reached: list[tuple[int, int, tuple[int, ...], bool]],
    index: dict[tuple[int, ...], int],
) -> dict[str, np.ndarray]:
    """Node columns of reached nodes, from what was recorded where each was proposed."""
    recorded = case.drafts[draft]
    step = np.array([entry[0] for entry in reached], int)
    depth = np.array([len(path) for _, _, path, _ in reached], int)
    at = np.array([root for _, root, _, _ in reached], int) + depth
    rank = np.array([path[-1] for _, _, path, _ in reached], int)
    top = {name: column[at, rank] for name, column in recorded.top.items()}
    p, q = (np.exp(top[name].astype(float)) for name in _PROBABILITIES)
    return {
        "step": step,
        "node": np.array([index[path] for _, _, path, _ in reached], int),
        "parent": np.array([index.get(path[:-1], -1) for _, _, path, _ in reached], int),
        "depth": depth,
        "sibling_rank": rank,
        "position": len(case.prompt_token_ids) + at,
        "token_id": top["top_token_id"],
        "target_probability": p,
        "draft_probability": q,
        "acceptance_probability": np.minimum(1.0, p / q),
        "overlap": recorded.columns["overlap"][at],
        "target_entropy": case.target["entropy"][at],
        "draft_entropy": recorded.columns["entropy"][at],
        "target_rank": top["top_target_rank"].astype(int),
        "draft_rank": rank,
        "reached": np.ones(len(reached), bool),
        "accepted": np.array([kept for *_, kept in reached], bool),
    }


_PROBABILITIES = ("top_target_log_probability", "top_log_probability")
