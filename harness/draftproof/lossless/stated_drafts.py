"""What a shape proposes, stated the shortest way and sharing no code with the drafters.

A draft that is shorter, wider or a token late leaves the output lossless: acceptance is lost, and
nothing else says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from draftproof.laws import ProposalLaw
from draftproof.lossless.stated_law import Context, Weights
from draftproof.shapes import (
    BestFirstShape,
    ChainShape,
    KAryShape,
    LookupShape,
    SampledShape,
    StaticShape,
    TreeShape,
)

Nodes = tuple[tuple[int, int], ...]
"""Of each node, in order: its parent's index, −1 for the root, and its token."""


def stated_drafts(
    shape: TreeShape, sequence: Context, weights: Weights, drawn_from: Weights, room: int
) -> dict[Nodes, float]:
    """The probability of every draft that a shape may propose.

    Args:
        shape: Of the drafts; a chain without an early end.
        sequence: Prompt and output so far.
        weights: The draft model's own probabilities, which rank tokens.
        drawn_from: The same after temperature and filters, which sampled tokens are drawn from.
        room: The greatest depth.

    Example:
        >>> from draftproof.shapes import parse_tree
        >>> stated_drafts(parse_tree("2x1"), (0,), lambda _: [0.3, 0.7], lambda _: [0.3, 0.7], 9)
        {((-1, 1), (0, 1)): 1.0}
    """
    match shape:
        case LookupShape():
            return {_chain(_looked_up(shape, sequence)[: min(shape.length, room)]): 1.0}
        case KAryShape() | StaticShape():
            return {_ranked(shape.paths, sequence, weights, room): 1.0}
        case BestFirstShape():
            return {_surest(shape, sequence, weights, room): 1.0}
        case ChainShape():
            return _drawn(1, min(shape.length, room), False, sequence, drawn_from)
        case SampledShape():
            is_distinct = shape.law is ProposalLaw.WITHOUT_REPLACEMENT
            return _drawn(
                shape.branching, min(shape.depth, room), is_distinct, sequence, drawn_from
            )


def _chain(tokens: Sequence[int]) -> Nodes:
    return tuple((index - 1, token) for index, token in enumerate(tokens))


def _by_probability(p: Sequence[float]) -> list[int]:
    return sorted(range(len(p)), key=lambda token: (-p[token], token))


def _looked_up(shape: LookupShape, sequence: Context) -> Context:
    """What followed the latest earlier occurrence of the longest run of last tokens."""
    for run in range(min(shape.ngram, len(sequence) - 1), 0, -1):
        for start in range(len(sequence) - run - 1, -1, -1):
            if sequence[start : start + run] == sequence[-run:]:
                return sequence[start + run :]
    return ()


def _ranked(
    paths: Sequence[tuple[int, ...]], sequence: Context, weights: Weights, room: int
) -> Nodes:
    """Each path of ranks as tokens."""
    tokens: dict[tuple[int, ...], Context] = {(): ()}
    order: list[tuple[int, ...]] = []
    nodes = []
    for path in paths:
        ranked = _by_probability(weights((*sequence, *tokens.get(path[:-1], ()))))
        if len(path) > room or path[:-1] not in tokens or path[-1] >= len(ranked):
            continue
        tokens[path] = (*tokens[path[:-1]], ranked[path[-1]])
        nodes.append((order.index(path[:-1]) if path[:-1] else -1, tokens[path][-1]))
        order.append(path)
    return tuple(nodes)


def _surest(shape: BestFirstShape, sequence: Context, weights: Weights, room: int) -> Nodes:
    """The most probable paths of those that are reached by growing the most probable ones."""
    found: dict[Context, float] = {}
    grown: list[Context] = [()]
    for _ in range(min(shape.depth, room)):
        level = {}
        for path in grown:
            p = weights((*sequence, *path))
            for token in _by_probability(p)[: shape.branching]:
                level[*path, token] = found.get(path, 1.0) * p[token]
        found |= level
        best = sorted(level, key=lambda path: -level[path])[: shape.branching]
        grown = [path for path in level if path in best]
    kept = sorted(found, key=lambda path: -found[path])[: shape.nodes]
    order = [path for path in found if path in kept]
    return tuple((order.index(path[:-1]) if path[:-1] else -1, path[-1]) for path in order)


def _drawn(
    branching: int, depth: int, is_distinct: bool, sequence: Context, drawn_from: Weights
) -> dict[Nodes, float]:
    """Level by level, every way of drawing the siblings after every node of the last level."""
    drafts: dict[Nodes, float] = {(): 1.0}
    for level in range(depth):
        grown: dict[Nodes, float] = {}
        for nodes, probability in drafts.items():
            paths = [_path(nodes, index) for index in range(len(nodes))]
            above = [(index, path) for index, path in enumerate(paths) if len(path) == level]
            families = [
                [
                    (tuple((index, token) for token in siblings), share)
                    for siblings, share in _siblings(
                        drawn_from((*sequence, *path)), branching, is_distinct
                    )
                ]
                for index, path in (above if level else [(-1, ())])
            ]
            for family in itertools.product(*families):
                more = nodes + tuple(node for siblings, _ in family for node in siblings)
                share = probability
                for _, part in family:
                    share *= part
                grown[more] = grown.get(more, 0.0) + share
        drafts = grown
    return drafts


def _path(nodes: Nodes, index: int) -> Context:
    path: Context = ()
    while index >= 0:
        index, token = nodes[index]
        path = (token, *path)
    return path


def _siblings(
    q: Sequence[float], branching: int, is_distinct: bool
) -> list[tuple[tuple[int, ...], float]]:
    """Every way of drawing siblings, with its probability."""
    drawn: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
    for _ in range(branching):
        more = []
        for tokens, share in drawn:
            left = [0.0 if is_distinct and token in tokens else w for token, w in enumerate(q)]
            total = sum(left)
            more += [
                ((*tokens, token), share * weight / total)
                for token, weight in enumerate(left)
                if weight
            ] or [(tokens, share)]
        drawn = more
    return drawn
