"""Where a kernel's chance comes from: seeds, shared draws, and draws at the ends of coins."""

import numpy as np
import pytest
import torch

from draftproof.conformance.check_result import Status
from draftproof.kernels.chance import GIVEN, NUMPY, PYTHON, TORCH, chance_of
from draftproof.kernels.contract import declared
from draftproof.kernels.edges import ENDS
from draftproof.kernels.examination import Examination
from draftproof.kernels.planted.catalogue import CATALOGUE
from draftproof.kernels.suite import examine


def finding(name, check, rows=20_000):
    planted = CATALOGUE[name]
    facts = declared(object(), **planted.facts)
    examination = Examination(kernel=planted.make(), facts=facts, rows=rows)
    (found,) = examine(examination, [check])
    return found.finding


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("manual-seed", "seeds torch's own generator (torch.manual_seed?)"),
        ("manual-seed-generator", "seeds torch's own generator (torch.manual_seed?)"),
        ("manual-seed-uniforms", "seeds torch's own generator (torch.manual_seed?)"),
        ("seeds-theirs", "seeds the generator that it is given"),
        ("python-seed", "seeds Python's own generator (random.seed?)"),
        ("numpy-seed", "draws from a constant seed"),
        ("seeded", "draws from a constant seed"),
        ("seeded-by-tokens", "draws from a constant seed"),
        ("numpy-global", "numpy's own generator is drawn from, although another generator"),
        ("global-draws", "torch's own generator is drawn from, although another generator"),
    ],
)
def test_a_seeded_kernel_is_called_so(name, said):
    found = finding(name, "draws")
    assert found.status is Status.FAILED
    assert said in found.lines[0]


@pytest.mark.parametrize("name", ["manual-seed", "numpy-seed"])
def test_repeated_draws_are_not_described_as_another_fault(name):
    found = finding(name, "law by counting")
    assert found.status is Status.FAILED
    assert "not drawn anew" in found.lines[0]
    assert "suspect" not in found.facts


def test_generators_are_left_as_they_were():
    torch.manual_seed(5)
    np.random.seed(5)
    expected = float(torch.rand(1)), float(np.random.random())
    torch.manual_seed(5)
    np.random.seed(5)
    planted = CATALOGUE["python-seed"]
    chance = chance_of(planted.make(), declared(object(), **planted.facts))
    assert chance.seeded == (PYTHON,)
    assert (float(torch.rand(1)), float(np.random.random())) == expected


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("rejection", ()),
        ("rejection-own", (TORCH,)),
        ("rejection-generator", (GIVEN,)),
        ("numpy-draws", ()),
    ],
)
def test_a_right_kernels_chance_is_right(name, drawn):
    planted = CATALOGUE[name]
    chance = chance_of(planted.make(), declared(object(), **planted.facts))
    assert chance.drawn == drawn
    assert chance.problem is None
    assert NUMPY not in chance.seeded


@pytest.mark.parametrize(
    "name", ["period", "third-row", "systematic", "calls-share", "match-small-batch-own"]
)
def test_shared_draws_are_seen_at_any_distance(name):
    assert finding(name, "independence").status is Status.FAILED


def test_independent_rows_share_nothing():
    for name in ("rejection-own", "multi-round-own", "match-own", "races"):
        assert finding(name, "independence").status is Status.PASSED, name


def test_torch_draws_the_ends_where_they_are_said_to_be():
    for seed, before, value in ENDS.values():
        generator = torch.Generator().manual_seed(seed)
        torch.rand(before, generator=generator)
        assert float(torch.rand(1, generator=generator)) == value


@pytest.mark.parametrize("name", ["zero-kept-own", "zero-kept-generator"])
def test_a_draw_of_0_keeps_nothing_impossible(name):
    found = finding(name, "ends of coins")
    assert found.status is Status.FAILED
    assert "with a draw of 0" in found.lines[0]


def test_right_kernels_survive_the_ends_of_their_draws():
    for name in ("rejection-own", "rejection-generator", "races", "by-multinomial"):
        assert finding(name, "ends of coins").status is Status.PASSED, name
