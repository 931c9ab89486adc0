"""Chooses the fastest setting of each kind on some prompts."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.replay.adaptive import fit_keep
from draftproof.replay.alignment import Alignment
from draftproof.replay.best_tree import best_trees, moves, neighbours, transplants
from draftproof.replay.candidates import LOOKUP, NONE, PLAIN, Candidate, Sweep
from draftproof.replay.path_counts import PathCounts, count_paths
from draftproof.replay.pricing import Widths, step_cost, within_costs
from draftproof.replay.steps import step_roots
from draftproof.replay.trees import Paths, tree_paths
from draftproof.shapes import ChainShape, KAryShape, LookupShape, StaticShape, TreeShape

CHAIN, K_ARY, TREE = "chain", "k-ary tree", "tree"
EARLY, EARLY_ENTROPY = "early chain", "early chain, entropy"
"""Chains that end early: by the draft model's largest probability alone, and by its entropy too."""
_PATHS, _SHORTLIST, _CLIMBS = 160, 24, 24
_MOVES, _BEAM, _ROUNDS = 48, 6, 4
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
        for kind, candidates in _simple(sweep, drafter, limits).items():
            if candidates:
                found[drafter, kind] = _fastest(sweep, rows, kind, candidates)
        if drafter != LOOKUP and sweep.recording.info.rollout:
            for kind, with_entropy in ((EARLY, False), (EARLY_ENTROPY, True)):
                candidates = _early(sweep, rows, drafter, limits, with_entropy=with_entropy)
                found[drafter, kind] = _fastest(sweep, rows, kind, candidates)
        if drafter != LOOKUP:
            found[drafter, TREE] = _best_tree(sweep, rows, drafter, limits, found[drafter, CHAIN])
    return found


def simple_candidates(sweep: Sweep, model: str, limits: Limits) -> dict[str, list[Candidate]]:
    """Chains and k-ary trees of every size with a draft model, as far as the costs reach."""
    depths = range(1, limits.depth + 1)
    chains = [ChainShape(depth) for depth in depths]
    k_ary = [KAryShape(depth, k) for depth in depths for k in range(2, limits.ranks + 1)]
    fitting = [shape for shape in k_ary if shape.most_nodes <= limits.nodes]
    return {
        kind: [
            Candidate(draft=model, shape=shape)
            for shape in shapes
            if within_costs(Widths.of_tree(tree_paths(shape)), sweep.costs, model)
        ]
        for kind, shapes in ((CHAIN, chains), (K_ARY, fitting))
    }


def _simple(sweep: Sweep, drafter: str, limits: Limits) -> dict[str, list[Candidate]]:
    """Settings of which all are tried, by kind."""
    if drafter != LOOKUP:
        return simple_candidates(sweep, drafter, limits)
    lookups = [LookupShape(length, _LOOKUP_NGRAM) for length in range(1, limits.depth + 1)]
    return {LOOKUP: [Candidate(draft=drafter, shape=shape) for shape in lookups]}


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
    """The fastest static tree that is found.

    For every depth and number of nodes there is a tree that keeps the most after given roots. The
    most promising of these, by that and by their costs, are replayed; the fastest few are then
    improved, replayed each time, until none with a node more, less or elsewhere is among the
    fastest few. At first steps are taken to begin everywhere alike. Where they truly begin depends
    on the tree, so that it is done again after the roots of the fastest tree, until that stays.
    """
    alignment = sweep.alignment(draft)
    start = tree_paths(chain.candidate.shape)
    speedups: dict[Paths, float] = {}
    expanded: set[Paths] = set()
    best: Paths = ()
    weights = _everywhere(alignment, rows)
    for _ in range(_ROUNDS):
        counts = count_paths(
            alignment, weights, depth=limits.depth, ranks=limits.ranks, most=_PATHS
        )
        promising = sorted(_promising(counts, sweep, draft, limits), key=lambda pair: -pair[0])
        trees = list(dict.fromkeys(tree for _, tree in promising[:_SHORTLIST]))
        _climb(sweep, rows, draft, limits, [*trees, start], counts, speedups, expanded)
        found = _fastest_few(speedups, 1)[0]
        if found == best:
            break
        best = found
        weights = step_roots(alignment, best, rows)
    shape: TreeShape = StaticShape(best)
    if shape.is_chain and not sweep.recording.info.temperature:
        # At temperature 0 the two are the same, and a chain has the shorter name.
        shape = ChainShape(shape.deepest)
    candidate = Candidate(draft=draft, shape=shape)
    return Choice(kind=TREE, candidate=candidate, speedup=speedups[best])


def _climb(
    sweep: Sweep,
    rows: np.ndarray,
    draft: str,
    limits: Limits,
    trees: list[Paths],
    counts: PathCounts,
    speedups: dict[Paths, float],
    expanded: set[Paths],
) -> None:
    """Replay trees, and those around the fastest few of all, until these stay the fastest.

    Mutates: `speedups`, of every tree that was replayed, and `expanded`, of those whose neighbours
    were.
    """
    shares = dict(zip(counts.paths, counts.shares.tolist(), strict=True))
    for _ in range(_CLIMBS):
        new = [tree for tree in dict.fromkeys(trees) if tree not in speedups]
        new = [t for t in new if within_costs(Widths.of_tree(t), sweep.costs, draft)]
        candidates = [Candidate(draft=draft, shape=StaticShape(tree)) for tree in new]
        if new:
            found = sweep.measure(candidates).speedups(sweep.plain, rows).tolist()
            speedups.update(zip(new, found, strict=True))
        open_trees = [tree for tree in _fastest_few(speedups, _BEAM) if tree not in expanded]
        if not open_trees:
            return
        expanded.update(open_trees)
        trees = [each for tree in open_trees for each in _around(tree, shares, limits)]


def _fastest_few(speedups: Mapping[Paths, float], few: int) -> list[Paths]:
    """The fastest trees; of equal ones first the smaller."""
    return heapq.nsmallest(few, speedups, key=lambda tree: (-speedups[tree], len(tree), tree))


def _around(tree: Paths, shares: Mapping[tuple[int, ...], float], limits: Limits) -> list[Paths]:
    """The trees with a node more, less or elsewhere, or with the descendants of two exchanged."""
    ranks, depth = limits.ranks, limits.depth
    grown = neighbours(tree, ranks=ranks, depth=depth)
    around = [each for each in grown if len(each) <= limits.nodes]
    around += moves(tree, shares, ranks=ranks, depth=depth, most=_MOVES)
    return around + transplants(tree)


def _everywhere(alignment: Alignment, rows: np.ndarray) -> np.ndarray:
    """``[cases, tokens]`` weights of roots: 1 wherever a step of some cases may begin."""
    cases, tokens = alignment.ranks.shape
    weights = np.zeros((cases, tokens))
    weights[rows] = np.less.outer(np.arange(tokens), alignment.committed - 1).T[rows]
    return weights


def _promising(
    counts: PathCounts, sweep: Sweep, draft: str, limits: Limits
) -> Iterator[tuple[float, Paths]]:
    """Trees by the tokens that a millisecond would commit if steps began everywhere alike."""
    context = float(np.mean(sweep.workload.prompt_tokens + sweep.committed / 2))
    deepest = max(map(len, counts.paths), default=0)
    for depth in range(1, min(limits.depth, deepest) + 1):
        for tree, gain in best_trees(counts, depth=depth, most_nodes=limits.nodes):
            widths = Widths.of_tree(tree)
            if within_costs(widths, sweep.costs, draft):
                step = step_cost(widths, sweep.costs, draft, context)
                yield (1 + gain) / float(step.target + step.draft), tree
