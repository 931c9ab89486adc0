"""The sample is stable, nested, balanced, and keeps the order of the data set."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.data.sample import check_limit, sample_indices
from draftproof.errors import UsageError

GROUP_SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=5)
SEEDS = st.integers(-(2**40), 2**40)
LIMITS = st.integers(1, 40)


def ids_of(group_sizes: list[int]) -> list[str]:
    return [f"set/{g}/{n}" for g, size in enumerate(group_sizes) for n in range(size)]


@given(st.lists(st.text(), min_size=1, max_size=30, unique=True), LIMITS, SEEDS)
def test_a_sample_has_the_size_asked_for_in_natural_order(
    ids: list[str], limit: int, seed: int
) -> None:
    chosen = sample_indices(ids, limit=limit, seed=seed)
    assert len(chosen) == min(limit, len(ids))
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(range(len(ids)))


@given(GROUP_SIZES, LIMITS, SEEDS)
def test_a_sample_is_part_of_every_larger_one(sizes: list[int], limit: int, seed: int) -> None:
    ids = ids_of(sizes)
    smaller = sample_indices(ids, limit=limit, seed=seed)
    larger = sample_indices(ids, limit=limit + 1, seed=seed)
    assert set(smaller) <= set(larger)


@given(GROUP_SIZES, LIMITS, SEEDS, st.randoms(use_true_random=False))
def test_a_sample_does_not_depend_on_the_order_of_the_rows(
    sizes: list[int], limit: int, seed: int, shuffler: random.Random
) -> None:
    ids = ids_of(sizes)
    shuffled = shuffler.sample(ids, len(ids))
    chosen = {ids[i] for i in sample_indices(ids, limit=limit, seed=seed)}
    assert {shuffled[i] for i in sample_indices(shuffled, limit=limit, seed=seed)} == chosen


@given(GROUP_SIZES, LIMITS, SEEDS)
def test_groups_differ_by_one_until_the_smaller_is_used_up(
    sizes: list[int], limit: int, seed: int
) -> None:
    ids = ids_of(sizes)
    counts = Counter(ids[i].rpartition("/")[0] for i in sample_indices(ids, limit=limit, seed=seed))
    most = max(counts.values())
    for group, size in enumerate(sizes):
        assert counts[f"set/{group}"] >= min(size, most - 1)


@given(GROUP_SIZES, SEEDS)
def test_no_limit_takes_everything(sizes: list[int], seed: int) -> None:
    ids = ids_of(sizes)
    assert sample_indices(ids, limit=None, seed=seed) == list(range(len(ids)))
    assert sample_indices(ids, limit=len(ids) + 1, seed=seed) == list(range(len(ids)))


def test_a_sample_is_the_same_on_every_machine() -> None:
    # Order of the SHA-256 digests of "0:set/0" … "0:set/9", computed with sha256sum.
    ids = [f"set/{n}" for n in range(10)]
    assert sample_indices(ids, limit=4, seed=0) == [1, 2, 3, 9]


def test_seeds_choose_different_prompts() -> None:
    ids = [f"set/{n}" for n in range(1000)]
    samples = {tuple(sample_indices(ids, limit=10, seed=seed)) for seed in range(50)}
    assert len(samples) == 50


def test_every_prompt_is_chosen_about_as_often_as_any_other() -> None:
    # 2,000 fixed seeds, so no false alarms: each of 20 prompts is expected 500 times, with a
    # standard deviation of 19.4; a shuffle that favours early rows is off by hundreds.
    ids = [f"set/{n}" for n in range(20)]
    counts = Counter(i for seed in range(2000) for i in sample_indices(ids, limit=5, seed=seed))
    assert all(abs(counts[i] - 500) < 80 for i in range(20))


def test_which_groups_come_first_depends_on_the_seed() -> None:
    ids = ids_of([5, 5, 5, 5])
    firsts = {ids[sample_indices(ids, limit=1, seed=seed)[0]][:5] for seed in range(50)}
    assert firsts == {"set/0", "set/1", "set/2", "set/3"}


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match=rf"^limit: {limit} prompts .* at least 1"):
        check_limit(limit)
    with pytest.raises(UsageError, match=r"^limit"):
        sample_indices(["a"], limit=limit, seed=0)
