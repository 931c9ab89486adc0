"""Adapters of functions that need a GPU, on a restatement of each in plain torch."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from restated_kernels import Flashinfer, SglKernel

from draftproof.kernels.calling import Tables
from draftproof.kernels.contract import declared
from draftproof.kernels.known import (
    flashinfer_chain_speculative_sampling,
    sglang_tree_speculative_sampling_target_only,
    sglang_verify_tree_greedy,
)
from draftproof.kernels.laws import largest_gap, measure
from draftproof.kernels.regression import LawError, require_law
from draftproof.kernels.sampling import given_draft
from draftproof.kernels.tables import DraftTable, chain, drafts, turning


@pytest.fixture
def libraries(monkeypatch):
    """The two libraries, as what a test may put in their place."""
    made = SimpleNamespace(flashinfer=Flashinfer(), sgl=SglKernel())
    monkeypatch.setitem(sys.modules, "flashinfer", SimpleNamespace(sampling=made.flashinfer))
    monkeypatch.setitem(sys.modules, "flashinfer.sampling", made.flashinfer)
    monkeypatch.setitem(sys.modules, "sgl_kernel", made.sgl)
    return made


def some_tables(facts, parents):
    pair = turning("a", [0.1, 0.4, 0.5], [0.5, 0.3, 0.2], parents, proposals=facts.proposals)
    return list(drafts(pair))


def test_flashinfers_arguments_and_results(libraries):
    facts = declared(flashinfer_chain_speculative_sampling, device="cpu")
    tables = some_tables(facts, chain(2))
    kernel = flashinfer_chain_speculative_sampling
    found = given_draft(kernel, facts, tables, rows=3000, alpha=1e-4)
    assert not found.evidence.rejects, found.malformed
    libraries.flashinfer.residual = lambda p, q: p
    assert given_draft(kernel, facts, tables, rows=3000, alpha=1e-4).evidence.rejects


@pytest.mark.parametrize("parents", [(-1, -1), (-1, -1, 0, 0), (-1, -1, 1), (-1, 0, -1)])
def test_sglangs_tree_by_its_exact_law(libraries, parents):
    kernel = sglang_tree_speculative_sampling_target_only
    for table in some_tables(declared(kernel), parents):
        require_law(kernel, table, device="cpu")


def test_a_fault_of_sglangs_tree_shows(libraries):
    libraries.sgl.forgets = True
    kernel = sglang_tree_speculative_sampling_target_only
    (table,) = some_tables(declared(kernel), (-1, -1))
    with pytest.raises(LawError, match="are emitted with probability"):
        require_law(kernel, table, device="cpu")


def test_sglangs_greedy_tree_keeps_the_argmax(libraries):
    facts = declared(sglang_verify_tree_greedy, device="cpu")
    tables = [
        DraftTable(
            tokens=(1, 2, 0, 1),
            target=np.roll(np.array([[0.0, 1.0, 0.0]] * 5), shift, 1),
            draft=np.full((5, 3), 1 / 3),
            parents=(-1, -1, 0, 1),
            proposals="deterministic",
        )
        for shift in range(3)
    ]
    batch = Tables(tables, facts)
    reading = batch.run(sglang_verify_tree_greedy, np.arange(3), np.zeros((3, batch.coins)))
    assert [reading.emission(row) for row in range(3)] == [(1, 1), (2, 2), (0,)]
    measured = measure(sglang_verify_tree_greedy, facts, tables)
    assert largest_gap({(1, 1): 1.0}, measured.laws[0]) == 0
