"""Coverage of the intervals: measured anew on few runs, and held in the table of the documents."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def load_benchmark():
    path = ROOT / "benchmarks" / "statistics_coverage.py"
    spec = importlib.util.spec_from_file_location("statistics_coverage", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


benchmark = load_benchmark()
RUNS = 150
# 150 runs of a true 95%: a share outside these has a chance of under 1 in 1,000.
LEAST, MOST = 0.89, 0.995


@pytest.mark.parametrize("name", list(benchmark.RATIOS))
def test_ratios_of_50_prompts_are_covered(name):
    rows = benchmark.ratio_rows(name, RUNS, 50, 400, seed=11)
    covered = {method: coverage for _, method, _, coverage, _, _ in rows}
    assert LEAST <= covered["bootstrap-t"] <= MOST
    # What is not used is narrower, and none of it covers more.
    assert covered["percentile"] <= covered["bootstrap-t"] + 0.01
    assert covered["BCa"] <= covered["bootstrap-t"] + 0.01


def test_rank_correlations_of_50_prompts_are_covered():
    *_, coverage, _, missing = benchmark.spearman_row(RUNS, 50, 400, seed=11)
    assert LEAST <= coverage <= MOST
    assert missing == 0


def test_task_or_depth_is_covered():
    rows = benchmark.dependence_rows("both matter", (0.025, 0.015), RUNS, 50, 400, seed=11)
    for name, _, _, coverage, _, missing in rows:
        assert LEAST <= coverage <= MOST, name
        assert missing == 0


def documented():
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    table = page.split(benchmark.BEGIN)[1].split(benchmark.END)[0]
    rows = [line.strip("| \n").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {
        (name, method, int(prompts)): float(coverage.rstrip("%"))
        for name, method, prompts, coverage, *_ in rows[1:]
    }


def test_the_documented_coverage_at_50_prompts_is_between_93_and_97():
    used = {
        key: coverage
        for key, coverage in documented().items()
        if key[1] in ("bootstrap-t", "expanded percentile") and key[2] == 50
    }
    assert len(used) >= 15
    for (name, _, _), coverage in used.items():
        # Information that is not there is covered always: bounded below, it is around its edge.
        conservative = "neither matters" in name and "rise" not in name
        assert (93 <= coverage <= 97) or (conservative and coverage >= 97), name
