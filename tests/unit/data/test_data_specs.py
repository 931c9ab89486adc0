"""The table of data sets: one for each domain, never an unnamed split or task."""

from __future__ import annotations

import pytest

from harness.data import DOMAINS
from harness.data.specs import BBH_TASKS, REAL, final_number


def test_every_domain_has_a_data_set() -> None:
    assert tuple(REAL) == DOMAINS


def test_bbh_names_its_task_everywhere() -> None:
    spec = REAL["logic"]
    assert spec.local_field == "examples"
    assert tuple(table.hub_name for table in spec.tables) == BBH_TASKS
    assert [t.local_path for t in spec.tables] == [f"bbh/{task}.json" for task in BBH_TASKS]


@pytest.mark.parametrize(
    ("solution", "number"),
    [
        ("a\n#### 18", "18"),
        ("#### 1,450,000", "1450000"),
        ("#### -3", "-3"),
        ("#### 2.50 ", "2.50"),
        ("#### 1\n#### 2", "2"),
    ],
)
def test_the_final_number_of_a_solution(solution: str, number: str) -> None:
    assert final_number(solution) == number


@pytest.mark.parametrize(
    "solution", ["", "18", "#### ", "#### eighteen", "#### 18 apples", "#### ٣"]
)
def test_a_solution_without_a_number_is_refused(solution: str) -> None:
    with pytest.raises(ValueError, match="#### NUMBER"):
        final_number(solution)
