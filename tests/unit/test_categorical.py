"""Tokens by numbers: against exact arithmetic, in batches, and without float64 on the device."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from draftproof.categorical import NO_LAW, drawn, fixed_point, inverse_cdf
from draftproof.randomness import BOUNDARY_DRAWS

UNIFORMS = st.floats(0, BOUNDARY_DRAWS[1])


class NoFloat64(TorchDispatchMode):
    """Fails on any operation that makes a float64 tensor."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                assert value.dtype != torch.float64, func
        return result


def weights(dtype):
    numbers = st.floats(0, 4, width=32).map(lambda x: 0.0 if x < 1e-30 else x)
    return (
        st.lists(numbers, min_size=1, max_size=9)
        .filter(any)
        .map(lambda values: torch.tensor(values, dtype=dtype))
    )


def passed(values, share):
    """The first index at which exact sums pass an exact share of the exact total."""
    values = [Fraction(value) for value in values]
    total, so_far = sum(values), Fraction(0)
    for index, value in enumerate(values):
        so_far += value
        if so_far > share * total:
            return index
    raise AssertionError("a share below 1 is always passed")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(st.data())
def test_exact_sums_decide(dtype, data):
    """Up to the rounding that is stated, by which a number may fall on a boundary's other side."""
    given_weights, uniform = data.draw(weights(dtype)), data.draw(UNIFORMS)
    token = inverse_cdf(given_weights, uniform)
    near = Fraction(1, 10**6) if dtype is torch.float32 else Fraction(1, 10**13)
    below = max(Fraction(uniform) - near, Fraction(0))
    above = min(Fraction(uniform) + near, Fraction(BOUNDARY_DRAWS[1]))
    assert passed(given_weights.tolist(), below) <= token <= passed(given_weights.tolist(), above)


@given(st.lists(UNIFORMS, min_size=1, max_size=4))
def test_numbers_become_integers_exactly(uniforms):
    for uniform, (high, low) in zip(uniforms, fixed_point(uniforms).tolist(), strict=True):
        assert Fraction(high, 2**31) + Fraction(low, 2**62) <= Fraction(uniform)
        assert Fraction(uniform) - Fraction(high, 2**31) - Fraction(low, 2**62) < Fraction(1, 2**62)


def test_a_row_draws_the_same_beside_others_and_whatever_their_number():
    generator = torch.Generator().manual_seed(0)
    many = torch.rand(64, 5000, generator=generator) ** 8
    uniforms = torch.rand(64, generator=generator).tolist()
    numbers = torch.from_numpy(fixed_point(uniforms))
    together = drawn(many, numbers).tolist()
    assert together == [inverse_cdf(row, u) for row, u in zip(many, uniforms, strict=True)]
    assert together == drawn(many.flip(0), numbers.flip(0)).flip(0).tolist()


def test_a_row_that_is_no_law_says_so_and_leaves_the_others_alone():
    rows = torch.tensor([[0.0, 0.0], [float("nan"), 1.0], [-1.0, 2.0], [float("inf"), 1.0], [0, 1]])
    numbers = torch.from_numpy(fixed_point([0.5] * 5))
    assert drawn(rows, numbers).tolist() == [NO_LAW] * 4 + [1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_nothing_on_the_device_is_float64(dtype):
    rows = torch.rand(3, 50).to(dtype)
    numbers = torch.from_numpy(fixed_point([0.0, 0.3, BOUNDARY_DRAWS[1]]))
    with NoFloat64():
        drawn(rows, numbers)
