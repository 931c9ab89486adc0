"""Kernels called another way: what each way changes, and what it leaves."""

import numpy as np
import pytest
import torch

from draftproof.kernels.adversarial import chains_of_all_lengths
from draftproof.kernels.calling import Tables
from draftproof.kernels.contract import declared
from draftproof.kernels.planted.parts import Chain
from draftproof.kernels.wrapping import POISONS, alone, beside, repadded, shuffled


class Spy:
    """A right kernel that keeps the calls that it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, call):
        self.calls.append(call)
        return Chain()(call)


@pytest.fixture
def call():
    tables = chains_of_all_lengths(declared(object()), range(1, 4), copies=4)
    batch = Tables(tables, declared(object()))
    uniforms = np.random.default_rng(0).random((12, batch.coins))
    return batch.call(np.arange(12), uniforms)


def test_rows_are_shuffled_and_put_back(call):
    spy = Spy()
    returned = shuffled(spy, 1)(call)
    assert torch.equal(returned, Chain()(call))
    assert not torch.equal(spy.calls[0].uniforms, call.uniforms)
    assert torch.equal(spy.calls[0].uniforms.sort(0).values, call.uniforms.sort(0).values)


def test_rows_are_called_alone(call):
    spy = Spy()
    assert torch.equal(alone(spy)(call), Chain()(call))
    assert [len(each.draft_tokens) for each in spy.calls] == [1] * 12


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", POISONS)
def test_others_stand_beside_the_rows(call, name, last):
    spy = Spy()
    assert torch.equal(beside(spy, POISONS[name], last=last)(call), Chain()(call))
    (seen,) = spy.calls
    own = slice(0, 12) if last else slice(1, None, 2)
    others = slice(12, None) if last else slice(0, None, 2)
    assert torch.equal(seen.target_probabilities[own], call.target_probabilities)
    same = [
        torch.equal(getattr(seen, field)[others], getattr(call, field))
        for field in ("target_probabilities", "draft_lengths")
    ]
    assert not all(same)


@pytest.mark.parametrize("law", [0.0, float("nan")])
def test_padding_is_changed_and_nothing_else(call, law):
    spy = Spy()
    repadded(spy, law, 3)(call)
    (seen,) = spy.calls
    for row, length in enumerate(call.draft_lengths.tolist()):
        for name, own in (
            ("draft_tokens", length),
            ("draft_probabilities", length),
            ("target_probabilities", length + 1),
        ):
            before, after = getattr(call, name)[row], getattr(seen, name)[row]
            assert torch.equal(before[:own], after[:own])
            wanted = 3 if name == "draft_tokens" else law
            assert torch.equal(
                torch.nan_to_num(after[own:].double(), nan=-9),
                torch.nan_to_num(torch.full_like(after[own:].double(), wanted), nan=-9),
            )
