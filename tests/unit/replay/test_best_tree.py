"""The best tree of every size, against all trees; and what a step with it costs."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import SHAPES, info_of, seeded_table, synthetic

from draftproof.errors import UsageError
from draftproof.replay.alignment import align
from draftproof.replay.best_tree import best_trees, neighbours, transplants
from draftproof.replay.matching import replay_trees
from draftproof.replay.path_counts import count_paths
from draftproof.replay.pricing import Widths
from draftproof.replay.steps import step_roots
from draftproof.replay.trees import tree_paths
from draftproof.shapes import KAryShape, parse_tree

INFO = info_of(seeded_table(0), {"draft": seeded_table(1)})
RANKS, DEPTH = 3, 3


def is_tree(paths):
    nodes = set(paths)
    return all(
        (path[:-1] in nodes or len(path) == 1)
        and (not path[-1] or (*path[:-1], path[-1] - 1) in nodes)
        for path in paths
    )


def all_trees(size, depth=DEPTH):
    """Every tree of a size, grown node by node."""
    found = {((0,),)}
    for _ in range(size - 1):
        found = {
            tree
            for smaller in found
            for tree in neighbours(smaller, ranks=RANKS, depth=depth)
            if len(tree) == len(smaller) + 1
        }
    return found


def expected_length(alignment, tree):
    """The mean number of nodes of a tree on the trajectory, over all roots, by hand."""
    nodes, total, roots = set(tree), 0, 0
    for ranks, committed in zip(alignment.ranks, alignment.committed, strict=True):
        for root in range(committed - 1):
            roots += 1
            path = ()
            for rank in ranks[root + 1 :]:
                path = (*path, int(rank))
                if path not in nodes:
                    break
                total += 1
    return total / roots


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=12), min_size=1, max_size=3),
    st.integers(1, 3),
)
@settings(max_examples=25)
def test_no_tree_of_a_size_keeps_more(ranks, depth):
    cases = [synthetic(row, case_id=str(number)) for number, row in enumerate(ranks)]
    alignment = align(cases, "draft", INFO)
    weights = np.arange(alignment.ranks.shape[1]) < (alignment.committed - 1)[:, None]
    counts = count_paths(alignment, weights.astype(float), depth=DEPTH, ranks=RANKS, most=10_000)
    for tree, gain in best_trees(counts, depth=depth, most_nodes=5):
        assert is_tree(tree)
        assert max(map(len, tree)) <= depth
        assert gain == pytest.approx(expected_length(alignment, tree))
        most = max(expected_length(alignment, other) for other in all_trees(len(tree), depth))
        assert gain == pytest.approx(most)


@given(st.lists(st.integers(0, 4), min_size=3, max_size=14))
@settings(max_examples=25)
def test_shares_of_paths_are_counted(ranks):
    alignment = align([synthetic(ranks)], "draft", INFO)
    weights = np.zeros(alignment.ranks.shape)
    weights[0, : len(ranks) - 1] = 1
    counts = count_paths(alignment, weights, depth=2, ranks=3, most=100)
    for path, share in zip(counts.paths, counts.shares, strict=True):
        after = [tuple(ranks[root + 1 : root + 1 + len(path)]) for root in range(len(ranks) - 1)]
        assert share == pytest.approx(after.count(path) / (len(ranks) - 1))


def test_shares_end_where_a_context_does():
    """After 4 prompt tokens the target has room for 3 more: two drafted from the first root."""
    info = info_of(seeded_table(0, max_length=7), {"draft": seeded_table(1)})
    alignment = align([synthetic([0] * 6)], "draft", info)
    weights = np.zeros(alignment.ranks.shape)
    weights[0, :3] = 1
    counts = count_paths(alignment, weights, depth=4, ranks=2, most=100)
    shares = dict(zip(counts.paths, counts.shares.tolist(), strict=True))
    assert alignment.room[0, :3].tolist() == [2, 1, 0]
    assert shares[(0,)] == pytest.approx(2 / 3)
    assert shares[0, 0] == pytest.approx(1 / 3)
    assert (0, 0, 0) not in shares


@given(st.lists(st.integers(0, 3), min_size=6, max_size=20), SHAPES)
@settings(max_examples=25)
def test_roots_are_where_steps_begin(ranks, shape):
    alignment = align([synthetic(ranks), synthetic(ranks[::-1])], "draft", INFO)
    paths = tree_paths(shape)
    roots = step_roots(alignment, paths, np.array([1]))
    sums = replay_trees(alignment, [paths])
    assert not roots[0].any()
    assert roots[1].sum() == sums.steps[0, 1]
    prompt = alignment.prompt_tokens[1]
    assert (np.flatnonzero(roots[1]) + prompt).sum() == sums.root_positions[0, 1]


def test_a_transplant_exchanges_what_two_nodes_of_a_level_have_below():
    tree = parse_tree("static:[[0],[1],[0,0],[0,1],[0,1,0],[1,0]]").paths
    found = transplants(tree)
    assert len(set(found)) == len(found)
    for other in found:
        assert is_tree(other)
        assert Widths.of_tree(other).nodes == 6
        assert Widths.of_tree(other).levels == Widths.of_tree(tree).levels
    exchanged = parse_tree("static:[[0],[1],[0,0],[1,0],[1,1],[1,1,0]]").paths
    assert exchanged in found
    assert transplants(((0,), (1,))) == []


def test_neighbours_are_trees_of_one_node_more_or_less():
    tree = parse_tree("static:[[0],[1],[0,0]]").paths
    around = neighbours(tree, ranks=RANKS, depth=DEPTH)
    assert all(is_tree(other) and abs(len(other) - len(tree)) == 1 for other in around)
    assert len(set(around)) == len(around)
    grown = {other for other in all_trees(4) if set(tree) < set(other)}
    assert {other for other in around if len(other) == 4} == grown


def test_the_levels_of_a_tree_are_what_its_draft_model_scores():
    assert Widths.of_tree(KAryShape(3, 2).paths) == Widths(nodes=14, levels=(1, 2, 4))
    assert Widths.of_tree(()) == Widths(nodes=0, levels=())
    assert Widths.of_tree(tree_paths(parse_tree("chain:3"))).levels == (1, 1, 1)


@pytest.mark.parametrize(
    "text", ["best-first:8", "sampled:2x2", "distinct:2x2", "chain:3,stop=0.4", "chain:3,gain=0.4"]
)
def test_shapes_that_a_recording_does_not_decide_are_refused(text):
    with pytest.raises(UsageError, match="a recording does not decide the drafts of"):
        tree_paths(parse_tree(text))


def test_many_trees_at_once_are_each_alone():
    rows = np.random.default_rng(0).integers(0, 4, (3, 20))
    alignment = align([synthetic(row, case_id=str(i)) for i, row in enumerate(rows)], "draft", INFO)
    trees = [tree for size in (1, 2, 3) for tree in sorted(all_trees(size))] + [()]
    together = replay_trees(alignment, trees)
    for number, tree in enumerate(trees):
        alone = replay_trees(alignment, [tree])
        for name in ("steps", "drafted", "accepted", "root_positions"):
            assert getattr(together, name)[number].tolist() == getattr(alone, name)[0].tolist()
    assert together.steps[-1].tolist() == [19, 19, 19]
    assert list(itertools.chain(*together.drafted[-1:].tolist())) == [0, 0, 0]
