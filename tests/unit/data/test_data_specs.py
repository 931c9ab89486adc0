"""The table of data sets: one for each domain, never an unnamed split or task."""

from __future__ import annotations

import pytest

from draftproof.data import DOMAINS
from draftproof.data.rows import final_number
from draftproof.data.specs import DATASETS
from draftproof.prompt_sources import BBH_TASKS, PARTS, REAL


def test_real_is_one_data_set_for_each_domain() -> None:
    assert [DATASETS[name].domains for name in REAL] == [(domain,) for domain in DOMAINS]


def test_options_and_table_know_the_same_names_and_parts() -> None:
    assert set(DATASETS) == set(PARTS)
    for name, spec in DATASETS.items():
        assert spec.name == name
        parts = {table.part for table in spec.tables} - {None}
        assert parts == (set(PARTS[name]) if spec.part_of is None else set())
        assert bool(PARTS[name]) == bool(parts or spec.part_of)
        assert set(spec.default_parts) <= set(PARTS[name])


def test_every_data_set_comes_from_the_hub_from_a_hashed_file_or_says_how_to_get_it() -> None:
    for spec in DATASETS.values():
        for table in spec.tables:
            on_the_web = table.url is not None
            assert on_the_web == (table.sha256 is not None)
            assert sum([spec.hub_id is not None, on_the_web, bool(spec.obtain)]) == 1, spec.name


def test_no_local_path_leads_out_of_the_folder() -> None:
    for spec in DATASETS.values():
        for table in spec.tables:
            folder, _, name = table.local_path.partition("/")
            assert folder.isidentifier()
            assert "/" not in name
            assert not name.startswith(".")


def test_bbh_names_its_task_everywhere() -> None:
    spec = DATASETS["bbh"]
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
