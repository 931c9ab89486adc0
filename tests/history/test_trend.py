"""Which runs belong in one line, in which order, and which of them are tested."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from history_entries import FACTS, commit, entry, line

from draftproof.errors import UsageError
from draftproof.history.trend import metric_of, trend
from draftproof.report.history_text import markdown_trend, terminal_trend

LEVELS = [2.0] * 10 + [1.8] * 10


def test_a_change_is_placed_between_two_commits_whatever_the_order_of_the_lines():
    runs = line(LEVELS)
    random.Random(1).shuffle(runs)
    [series] = trend(runs).series
    assert [run.provenance.commit for run in series.runs] == [commit(n) for n in range(20)]
    assert series.scopes == ("overall", "code")
    places = {place.scope: place for place in series.places}
    assert set(places) == {"overall", "code"}
    found = places["code"]
    assert (found.before.provenance.commit, found.after.provenance.commit) == (
        commit(9),
        commit(10),
    )
    assert (found.change.before, found.change.after) == (2.0, 1.8)


def test_an_upgrade_at_the_change_is_named():
    runs = line(LEVELS)
    runs[10:] = [replace(run, versions={**run.versions, "torch": "2.10.0"}) for run in runs[10:]]
    [series] = trend(runs).series
    assert series.places[0].also == ("torch 2.9.0 → 2.10.0",)
    assert "there too: torch 2.9.0 → 2.10.0" in terminal_trend(trend(runs))


@pytest.mark.parametrize(
    "other",
    [
        {"facts": {**FACTS, "setting tree": "chain:4"}},
        {"facts": {**FACTS, "target sha256": "cc"}},
        {"prompts": {"code": "6" * 64}},
        {"branch": "faster"},
        {"branch": None},
    ],
)
def test_other_settings_models_prompts_or_branches_are_another_line(other):
    """Twenty runs of two levels, of which each belongs to a line of its own: nothing changed."""
    found = trend([*line(LEVELS[:10]), *[entry(n, 1.8, **other) for n in range(10, 20)]])
    assert [len(series.runs) for series in found.series] == [10, 10]
    assert not any(series.places for series in found.series)
    # What tells them apart is said.
    described = [series.described for series in found.series]
    assert described[0] != described[1]


def test_another_processor_parts_the_speedup_and_nothing_else():
    runs = line([2.0] * 20, speedup=1.4)
    runs[10:] = [replace(run, timing={**run.timing, "cpu": "Another"}) for run in runs[10:]]
    assert len(trend(runs).series) == 1
    found = trend(runs, "speedup")
    assert len(found.series) == 2
    assert any("cpu Another" in fact for fact in found.series[0].described)


def test_partial_runs_and_dirty_trees_are_shown_and_not_tested():
    runs = line([2.0] * 10)
    runs += [entry(n, 1.0, missing={"code": 20}, measured=30) for n in range(10, 16)]
    runs += [entry(n, 1.0, dirty=True) for n in range(16, 22)]
    found = trend(runs)
    [series] = found.series
    assert len(series.runs) == 22
    assert series.tested == tuple(range(10))
    assert series.places == ()
    text = terminal_trend(found, last=30)
    assert "partial: 30 of 50 prompts" in text
    assert f"{commit(16)[:10]}+" in text
    assert "6 of 22 runs lack prompts" in text


def test_the_line_with_the_newest_run_stands_first_also_within_a_second():
    chains = {**FACTS, "setting tree": "chain:4"}
    first, second = entry(0, 2.0), entry(0, 1.8, facts=chains)
    for runs in ([first, second], [second, first]):
        assert [series.facts for series in trend(runs).series] == [runs[1].facts, runs[0].facts]


def test_of_a_commit_that_was_measured_again_the_first_run_counts():
    runs = line([2.0] * 8)
    again = [
        replace(runs[7], started=f"2027-01-0{day}T00:00:00+00:00", figures=entry(0, 1.0).figures)
        for day in range(1, 9)
    ]
    [series] = trend([*runs, *again]).series
    assert len(series.runs) == 16
    assert series.tested == tuple(range(8))
    assert series.places == ()


def test_runs_without_a_commit_each_count_by_themselves():
    runs = line(LEVELS, commit=None, commit_time=None)
    [series] = trend(runs).series
    assert len(series.tested) == 20
    assert series.places[0].before.started == runs[9].started
    assert "unknown" in terminal_trend(trend(runs))


def test_lines_that_are_too_short_take_no_share_of_alpha():
    branches = [entry(n, 2.0, branch=f"branch-{n}") for n in range(100, 400)]
    alone, beside = trend(line(LEVELS)), trend([*line(LEVELS), *branches])
    assert alone.lines == beside.lines == 2
    main = next(series for series in beside.series if series.branch == "main")
    assert len(main.places) == 2
    assert len(beside.series) == 301
    text = terminal_trend(beside)
    assert "297 more series" in text
    assert len(text.splitlines()) < 120


def test_too_few_commits_are_said():
    text = terminal_trend(trend(line([2.0, 2.1, 2.0])))
    assert "3 runs are tested: too few to show any change, which needs 8" in text


def test_a_domain_that_came_later_has_a_line_of_its_own_length():
    runs = [
        *line([2.0] * 10),
        *[entry(n, 2.0, scopes=("overall", "code", "chat")) for n in range(10, 20)],
    ]
    [series] = trend(runs).series
    assert series.scopes == ("overall", "code", "chat")
    assert series.figure(series.runs[0], "chat") is None
    assert "–" in terminal_trend(trend(runs))


def test_thousands_of_runs_are_tested_and_the_newest_are_shown():
    runs = line([2.0] * 2000 + [1.9] * 1000)
    found = trend(runs)
    assert [place.after.provenance.commit for place in found.series[0].places] == [commit(2000)] * 2
    text = terminal_trend(found)
    assert "2980 older runs are tested too and not shown" in text
    assert commit(2999)[:10] in text
    assert len(text.splitlines()) < 70


def test_a_branch_and_a_figure_that_are_not_there_are_refused():
    runs = line([2.0])
    with pytest.raises(UsageError, match="did you mean 'main'"):
        trend(runs, branch="mane")
    with pytest.raises(UsageError, match="has the figure speedup; it has block_efficiency"):
        trend(runs, "speedup")
    with pytest.raises(UsageError, match="--alpha: 2 is not between 0 and 1"):
        trend(runs, alpha=2)
    assert metric_of("acceptance_rate") == "acceptance_rate_drafted"
    with pytest.raises(UsageError, match="did you mean 'block_efficiency'"):
        metric_of("block_eficiency")


def test_markdown_does_not_let_a_branch_write_markup():
    name = "x|<img src=x>`*"
    text = markdown_trend(trend(line([2.0] * 3, branch=name)))
    assert "<img" not in text.replace("\\<img", "")
    assert "\\|" in text


def test_the_text_names_the_rate_of_false_alarms():
    text = terminal_trend(trend(line(LEVELS), alpha=0.01))
    assert "with a chance of at most 0.01" in text
    assert "0.005 for each of 2 lines" in text
