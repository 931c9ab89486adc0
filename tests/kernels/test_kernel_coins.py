"""The law of a function of uniforms: exact where coins decide one at a time, else not said."""

import numpy as np
import pytest

from draftproof.kernels.coins import decompose

RESOLUTION = 2.0**-50


def laws_of(function, coins, tables=1):
    boxes = decompose(
        lambda at, u: function(at, u).astype(np.int64), tables, coins, resolution=RESOLUTION
    )
    return boxes, boxes.laws(tables)


def test_a_coin_and_an_inverse_cumulative_sum():
    edges = np.array([0.1, 0.35, 0.350001, 0.9])
    boxes, (law,) = laws_of(
        lambda at, u: np.where(u[:, 0] < 0.3, 10, np.searchsorted(edges, u[:, 1], "right")), 2
    )
    assert not boxes.unresolved
    expected = {10: 0.3} | {
        i: 0.7 * share for i, share in enumerate(np.diff([0, *edges, 1])) if share > 1e-4
    }
    # A millionth that no point falls into is found: the bracket meets something else inside.
    assert law[2] == pytest.approx(0.7 * 1e-6, abs=1e-12)
    for code, share in expected.items():
        assert law[code] == pytest.approx(share, abs=1e-12)


def test_thresholds_may_depend_on_what_other_coins_decided():
    def function(at, u):
        bound = np.where(u[:, 0] < 0.25, 0.5, 0.125)
        return np.where(u[:, 1] < bound, 1, 0) + 2 * (u[:, 0] < 0.25)

    _, (law,) = laws_of(function, 2)
    assert law == pytest.approx({3: 0.125, 2: 0.125, 1: 0.09375, 0: 0.65625}, abs=1e-12)


def test_a_corner_that_no_line_through_the_middle_meets():
    _, (law,) = laws_of(lambda at, u: (u > 0.7).all(1), 3)
    assert law[1] == pytest.approx(0.027, abs=1e-12)


def test_tables_are_kept_apart():
    bounds = np.array([0.2, 0.7])
    _, laws = laws_of(lambda at, u: u[:, 0] < bounds[at], 1, tables=2)
    assert [law[1] for law in laws] == pytest.approx([0.2, 0.7], abs=1e-12)


def test_coins_that_are_compared_with_each_other_are_not_resolved():
    boxes, (law,) = laws_of(lambda at, u: u[:, 0] < u[:, 1], 2)
    assert boxes.unresolved == {0}
    assert law == {}


def test_a_function_that_draws_by_itself_is_not_resolved():
    random = np.random.default_rng(0)
    boxes, _ = laws_of(lambda at, u: random.integers(2, size=len(u)), 1)
    assert boxes.unresolved == {0}
