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
EDGES = ["rate .02", "rate .02, uneven prompts", "rate .95", "rate .98"]
UNEVEN = [name for name in benchmark.RATIOS if "σ = 1" in name and ".1" not in name]
HARD = "rate .1, lognormal lengths (σ = 1) that go with it"


@pytest.mark.parametrize("name", list(benchmark.RATIOS))
def test_ratios_of_50_prompts_are_covered(name):
    rows = benchmark.ratio_rows(name, RUNS, 50, 400, seed=11)
    covered = {method: coverage for _, method, _, coverage, _, _ in rows}
    assert (0.86 if name == HARD else LEAST) <= covered[benchmark.OURS] <= MOST
    # What is not used is narrower, and none of it covers more.
    assert covered["percentile"] <= covered[benchmark.OURS] + 0.01
    assert covered["BCa"] <= covered[benchmark.OURS] + 0.01


@pytest.mark.parametrize("prompts", [3, 5, 8])
@pytest.mark.parametrize("name", [*EDGES, *UNEVEN])
def test_ratios_of_few_prompts_are_covered_or_not_estimated(name, prompts):
    ((*_, coverage, width, missing),) = benchmark.ratio_rows(name, RUNS, prompts, 400, seed=12)
    # Of fewer runs with an interval: 5 standard errors below 95% at the most.
    assert coverage >= 0.95 - 5 * (0.95 * 0.05 / (RUNS * (1 - missing))) ** 0.5
    assert missing < 0.8
    assert width <= 1, "a rate's interval within 0 and 1"


def test_rank_correlations_of_50_prompts_are_covered():
    *_, coverage, _, missing = benchmark.spearman_row("Spearman's ρ", RUNS, 50, 400, seed=11)
    assert LEAST <= coverage <= MOST
    assert missing == 0


def test_speedups_of_few_uneven_prompts_are_covered():
    *_, coverage, _, _ = benchmark.speedup_row(RUNS, 8, 400, seed=11)
    assert coverage >= LEAST


def test_task_or_depth_is_covered():
    rows = benchmark.dependence_rows("both matter", (0.025, 0.015), RUNS, 50, 400, seed=11)
    for name, _, _, coverage, _, missing in rows:
        assert LEAST <= coverage <= MOST, name
        assert missing == 0


def documented():
    """Coverage in percent by figure, interval and number of prompts; cells without one left out."""
    page = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    table = page.split(benchmark.BEGIN)[1].split(benchmark.END)[0]
    head, _, *rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    return {
        (name, method, int(prompts)): float(cell.partition("%")[0])
        for name, method, *cells in rows
        for prompts, cell in zip(head[2:], cells, strict=True)
        if "%" in cell
    }


def test_the_documented_coverage_is_about_what_it_says_with_any_number_of_prompts():
    ours = (benchmark.OURS, benchmark.OURS_RESAMPLED)
    used = {key: coverage for key, coverage in documented().items() if key[1] in ours}
    assert {prompts for _, _, prompts in used} == set(benchmark.PROMPTS)
    assert {name for name, _, _ in used} >= {*benchmark.RATIOS, *benchmark.PAIRS}
    for (name, _, prompts), coverage in used.items():
        # The page names the ones that are covered too rarely.
        least = 89 if name == HARD else 91
        assert coverage >= least, (name, prompts)
        # Information that is not there is covered always: bounded below, it is around its edge.
        conservative = "neither matters" in name and "rise" not in name
        assert conservative or prompts < 50 or coverage <= 98, (name, prompts)
