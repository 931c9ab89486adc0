"""Chooses the fastest setting of each kind on some prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.replay.adaptive import fit_keep
from draftproof.replay.best_tree import best_trees, moves, neighbours
from draftproof.replay.candidates import LOOKUP, NONE, PLAIN, Candidate, Sweep
from draftproof.replay.matching import Paths
from draftproof.replay.path_counts import PathCounts, count_paths
from draftproof.replay.pricing import Widths, step_cost
from draftproof.shapes import ChainShape, KAryShape, LookupShape, StaticShape

CHAIN, K_ARY, TREE = "chain", "k-ary tree", "tree"
EARLY, EARLY_ENTROPY = "early chain", "early chain, entropy"
"""Chains that end early: by the draft model's largest probability alone, and by its entropy too."""
_PATHS, _SHORTLIST, _CLIMBS = 160, 24, 24
_MOVES, _BEAM = 48, 3
_LOOKUP_NGRAM = 3
_GAINS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is looked at.

    Attributes:
        nodes: Of the largest tree.
        depth: Of the deepest draft.
        ranks: Siblings at most.
    """

    nodes: int = 32
    depth: int = 10
    ranks: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The fastest setting of a kind.

    Attributes:
        kind: `CHAIN`, `K_ARY`, `TREE`, or the name of a drafter without a model.
        candidate: The setting.
        speedup: On the prompts that it was chosen on, which flatters it.
    """

    kind: str
    candidate: Candidate
    speedup: float


def choose(
    sweep: Sweep, rows: np.ndarray, drafters: Sequence[str], limits: Limits
) -> dict[tuple[str, str], Choice]:
    """The fastest setting of each drafter and kind, over some of the prompts.

    Args:
        sweep: The prompts.
        rows: ``[n]`` indices of those that count.
        drafters: Names of draft models, `LOOKUP` and `NONE`.
        limits: What is looked at.

    Returns:
        By drafter and kind.
    """
    found: dict[tuple[str, str], Choice] = {}
    for drafter in drafters:
        if drafter == NONE:
            found[drafter, NONE] = Choice(kind=NONE, candidate=PLAIN, speedup=1.0)
            continue
        for kind, candidates in _simple(drafter, limits):
            found[drafter, kind] = _fastest(sweep, rows, kind, candidates)
        if drafter != LOOKUP and sweep.recording.info.rollout:
            for kind, with_entropy in ((EARLY, False), (EARLY_ENTROPY, True)):
                candidates = _early(sweep, rows, drafter, limits, with_entropy=with_entropy)
                found[drafter, kind] = _fastest(sweep, rows, kind, candidates)
        if drafter != LOOKUP:
            found[drafter, TREE] = _best_tree(sweep, rows, drafter, limits, found[drafter, CHAIN])
    return found


def _simple(drafter: str, limits: Limits) -> Iterator[tuple[str, list[Candidate]]]:
    """Settings of which all are tried."""
    depths = range(1, limits.depth + 1)
    if drafter == LOOKUP:
        lookups = [LookupShape(length, _LOOKUP_NGRAM) for length in depths]
        yield LOOKUP, [Candidate(draft=drafter, shape=shape) for shape in lookups]
        return
    yield CHAIN, [Candidate(draft=drafter, shape=ChainShape(depth)) for depth in depths]
    k_ary = [KAryShape(depth, k) for depth in depths for k in range(2, limits.ranks + 1)]
    fitting = [Candidate(draft=drafter, shape=s) for s in k_ary if s.most_nodes <= limits.nodes]
    if fitting:
        yield K_ARY, fitting


def _early(
    sweep: Sweep, rows: np.ndarray, draft: str, limits: Limits, *, with_entropy: bool
) -> list[Candidate]:
    """Chains that end early, with the chance of a token fitted on the prompts that count."""
    keep = fit_keep([sweep.cases[row] for row in rows], draft, with_entropy=with_entropy)
    length = min(limits.depth, sweep.recording.info.rollout)
    return [Candidate(draft=draft, shape=ChainShape(length, 0.0, gain, keep)) for gain in _GAINS]


def _fastest(sweep: Sweep, rows: np.ndarray, kind: str, candidates: Sequence[Candidate]) -> Choice:
    """The fastest of some candidates; of equal ones the first, which is the smallest."""
    speedups = sweep.measure(candidates).speedups(sweep.plain, rows)
    best = int(np.argmax(speedups))
    return Choice(kind=kind, candidate=candidates[best], speedup=float(speedups[best]))


def _best_tree(sweep: Sweep, rows: np.ndarray, draft: str, limits: Limits, chain: Choice) -> Choice:
    """The fastest static tree.

    For every depth and number of nodes there is a tree that keeps the most, if steps began
    everywhere alike. The most promising of these, by that and by their costs, are replayed; the
    fastest few are then improved, replayed each time, until none with a node more, less or
    elsewhere is among the fastest few.
    """
    counts = _path_counts(sweep, rows, draft, limits)
    shares = dict(zip(counts.paths, counts.shares.tolist(), strict=True))
    promising = sorted(_promising(counts, sweep, draft, limits), key=lambda pair: -pair[0])
    trees: list[Paths] = list(dict.fromkeys(tree for _, tree in promising[:_SHORTLIST]))
    start = chain.candidate.shape
    trees.append(tuple((0,) * depth for depth in range(1, start.deepest + 1)))

    speedups: dict[Paths, float] = {}
    expanded: set[Paths] = set()
    for _ in range(_CLIMBS):
        new = [tree for tree in dict.fromkeys(trees) if tree not in speedups]
        candidates = [Candidate(draft=draft, shape=StaticShape(tree)) for tree in new]
        if new:
            found = sweep.measure(candidates).speedups(sweep.plain, rows).tolist()
            speedups.update(zip(new, found, strict=True))
        beam = sorted(speedups, key=lambda tree: (-speedups[tree], len(tree), tree))[:_BEAM]
        open_trees = [tree for tree in beam if tree not in expanded]
        if not open_trees:
            break
        expanded.update(open_trees)
        trees = [each for tree in open_trees for each in _around(tree, shares, limits)]
    best = Choice(
        kind=TREE,
        candidate=Candidate(draft=draft, shape=StaticShape(beam[0])),
        speedup=speedups[beam[0]],
    )
    shape = best.candidate.shape
    if shape.is_chain and not sweep.recording.info.temperature:
        # At temperature 0 the two are the same, and a chain has the shorter name.
        candidate = Candidate(draft=draft, shape=ChainShape(shape.deepest))
        best = Choice(kind=TREE, candidate=candidate, speedup=best.speedup)
    return best


def _around(tree: Paths, shares: Mapping[tuple[int, ...], float], limits: Limits) -> list[Paths]:
    """The trees with a node more, less or elsewhere."""
    ranks, depth = limits.ranks, limits.depth
    around = neighbours(tree, ranks=ranks, depth=depth)
    return [each for each in around if len(each) <= limits.nodes] + moves(
        tree, shares, ranks=ranks, depth=depth, most=_MOVES
    )


def _path_counts(sweep: Sweep, rows: np.ndarray, draft: str, limits: Limits) -> PathCounts:
    """Paths as if steps began everywhere alike."""
    alignment = sweep.alignment(draft)
    cases, tokens = alignment.ranks.shape
    weights = np.zeros((cases, tokens))
    is_root = np.less.outer(np.arange(tokens), alignment.committed - 1)
    weights[rows] = is_root.T[rows]
    return count_paths(alignment, weights, depth=limits.depth, ranks=limits.ranks, most=_PATHS)


def _promising(
    counts: PathCounts, sweep: Sweep, draft: str, limits: Limits
) -> Iterator[tuple[float, Paths]]:
    """Trees by the tokens that a millisecond would commit if steps began everywhere alike."""
    context = float(np.mean(sweep.workload.prompt_tokens + sweep.committed / 2))
    deepest = max(map(len, counts.paths), default=0)
    for depth in range(1, min(limits.depth, deepest) + 1):
        for tree, gain in best_trees(counts, depth=depth, most_nodes=limits.nodes):
            widths = Widths.of_tree(tree)
            step = step_cost(widths, sweep.costs, draft, context)
            yield (1 + gain) / float(step.target + step.draft), tree
