"""The change-point test: its statistic, its p-value, its false alarms and what it finds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import binomtest, mannwhitneyu

from draftproof.statistics.change_point import (
    change_points,
    change_test,
    fewest_values,
    smallest_p,
)

SERIES = st.lists(st.integers(0, 5).map(float), min_size=2, max_size=12)


def largest(values):
    """The statistic by scipy: the largest z of a Mann–Whitney test, over all divisions."""
    if len(set(values)) == 1:
        return 0.0
    found = []
    for k in range(1, len(values)):
        test = mannwhitneyu(values[:k], values[k:], method="asymptotic", use_continuity=False)
        u, n = test.statistic, k * (len(values) - k)
        p = min(test.pvalue, 1.0)
        z = 0.0 if u == n / 2 else -float(ndtri(p / 2))
        found.append(z)
    return max(found)


@settings(max_examples=30)
@given(SERIES)
def test_the_statistic_is_the_largest_of_mann_whitneys(values):
    assert change_test(values, 0.05).statistic == pytest.approx(largest(values), abs=1e-6)


@pytest.mark.parametrize("values", [(1, 2, 3, 4, 5), (1, 1, 1, 2, 2), (3, 1, 5, 5, 4)])
def test_the_p_value_is_that_of_all_orders(values):
    """Against every order; 999 draws leave a standard error of at most .016, and 4 are allowed."""
    own = largest(values)
    orders = list(itertools.permutations(values))
    cache = {order: largest(order) for order in set(orders)}
    exact = sum(cache[order] >= own - 1e-9 for order in orders) / len(orders)
    found = change_test(values, 0.05).p_value
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 999) + 1e-3)


def test_the_smallest_p_value_is_that_of_two_equal_halves():
    for n in (5, 6):
        values = [0.0] * (n // 2) + [1.0] * (n - n // 2)
        orders = {
            tuple(i in chosen for i in range(n))
            for chosen in itertools.combinations(range(n), n // 2)
        }
        own = largest(values)
        exact = sum(largest([float(x) for x in order]) >= own - 1e-9 for order in orders) / len(
            orders
        )
        assert exact == pytest.approx(smallest_p(n))
    assert fewest_values(0.05) == 8


@pytest.mark.parametrize("law", ["normal", "few values", "heavy tails"])
def test_false_alarms_are_at_most_alpha(law):
    """600 series of 20 runs that never changed, α .05; fails wrongly with a chance of 1e-4."""
    generator = np.random.default_rng(11)
    draw = {
        "normal": lambda: generator.normal(size=20),
        "few values": lambda: generator.integers(0, 3, 20),
        "heavy tails": lambda: generator.standard_cauchy(20),
    }[law]
    alarms = sum(bool(change_points(draw(), 0.05)) for _ in range(600))
    assert binomtest(alarms, 600, 0.05, alternative="greater").pvalue > 1e-4, alarms
    # The test is no empty one: that of a continuous law uses most of its level.
    assert law == "few values" or alarms > 12


def test_a_series_without_noise_shows_a_change_once_it_is_repeated():
    assert change_points([2.0] * 30, 0.05) == []
    assert change_points([2.0] * 30 + [1.9], 0.05) == []
    [found] = change_points([2.0] * 30 + [1.9] * 3, 0.05)
    assert (found.at, found.before, found.after) == (30, 2.0, 1.9)
    assert found.p_value <= 0.002


def test_a_change_amid_noise_is_found_where_it_is():
    generator = np.random.default_rng(3)
    values = generator.normal(0, 1, 60)
    values[40:] += 3
    [found] = change_points(values, 0.05)
    assert abs(found.at - 40) <= 1
    assert found.after - found.before == pytest.approx(3, abs=0.8)


def test_several_changes_are_found_in_their_order():
    values = [1.0] * 10 + [2.0] * 10 + [1.5] * 10
    found = change_points(values, 0.05)
    assert [(each.at, each.before, each.after) for each in found] == [
        (10, 1.0, 2.0),
        (20, 2.0, 1.5),
    ]


def test_one_outlier_is_no_change():
    values = [1.0, 1.1, 0.9] * 8
    values[13] = 100.0
    assert change_points(values, 0.05) == []


def test_thousands_of_values_are_tested_in_chunks():
    generator = np.random.default_rng(5)
    values = generator.normal(0, 1, 5000)
    values[3000:] += 0.3
    found = change_points(values, 0.01)
    assert any(abs(each.at - 3000) < 150 for each in found)


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        change_points([1.0, float("nan")], 0.05)
