import numpy as np
import pytest
from hypothesis import given
from strategies import parents, trees

from draftproof.decoding import contexts
from draftproof.errors import DraftError
from draftproof.laws import ProposalLaw
from draftproof.tree import ROOT, DraftTree, ancestor_mask, depths, path_to


def tree(token_ids, parents, law=ProposalLaw.DETERMINISTIC):
    return DraftTree(token_ids=token_ids, parents=parents, law=law)


@given(parents())
def test_mask_rows_are_the_paths(shape):
    mask = ancestor_mask(shape)
    for node in range(len(shape)):
        assert set(np.flatnonzero(mask[node])) == set(path_to(shape, node))


@given(parents())
def test_depth_counts_the_path(shape):
    assert depths(shape) == tuple(len(path_to(shape, node)) for node in range(len(shape)))


@given(trees())
def test_children_partition_the_nodes_in_proposal_order(drawn):
    listed = [child for node in range(ROOT, len(drawn)) for child in drawn.children(node)]
    assert sorted(listed) == list(range(len(drawn)))
    for node in range(ROOT, len(drawn)):
        ranks = [drawn.sibling_ranks[child] for child in drawn.children(node)]
        assert ranks == list(range(len(ranks)))


@given(trees())
def test_random_trees_pass_the_check(drawn):
    drawn.check()
    assert drawn.depth == max(drawn.depths, default=0)


def test_a_mask_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        ancestor_mask((-1, 0))[0, 0] = False


@pytest.mark.parametrize(
    ("token_ids", "parents", "message"),
    [
        ((1, 2), (-1,), "2 token ids but 1 parents"),
        (
            (1, 2),
            (-1, 1),
            r"node 1 has parent 1; a parent is -1 \(the root\) or a node before its child$",
        ),
        ((1, 2), (1, -1), "node 0 has parent 1"),
        ((1,), (-2,), "node 0 has parent -2"),
        ((-3,), (-1,), "negative token id -3"),
        ((4, 4), (-1, -1), r"children of node -1 repeat a token \(\(4, 4\)\)"),
    ],
)
def test_check_names_the_node_and_the_rule(token_ids, parents, message):
    with pytest.raises(DraftError, match=message):
        tree(token_ids, parents).check()


def test_independent_siblings_may_repeat_a_token():
    tree((4, 4), (-1, -1), ProposalLaw.INDEPENDENT).check()


def test_the_context_of_a_row_goes_down_to_its_node():
    made = tree((7, 8, 9), (-1, 0, -1))
    assert contexts((1, 2), made) == [[1, 2], [1, 2, 7], [1, 2, 7, 8], [1, 2, 9]]
