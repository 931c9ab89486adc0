"""What a long run says of how far it is."""

import pytest
from study_traces import study_run

import draftproof.plugin.progress
from draftproof.plugin.progress import Progress


@pytest.fixture
def told():
    """A run of 8 cases, one of them every 20 s; returns the lines it prints."""

    def run(reused=0, total=8, measured=8):
        now, lines = [0.0], []
        progress = Progress(lines.append, lambda: now[0], reused=reused)
        progress.total = total
        for index, case in enumerate(study_run(prompts=2, steps=3)[: reused + measured]):
            is_reused = index < reused
            now[0] += 0 if is_reused else 20
            progress.add(case, is_reused=is_reused)
        return lines

    return run


def test_a_line_says_how_far_how_well_and_how_long(told):
    lines = told(measured=3)
    assert len(lines) == 3
    assert lines[1].startswith("2/8 cases, acceptance probability 0.")
    assert "block efficiency" in lines[1]
    assert lines[1].endswith("0:40 elapsed, about 2:00 left")


def test_what_an_earlier_session_measured_takes_no_time(told):
    lines = told(reused=5, measured=2)
    assert lines[0].startswith("6/8 cases")
    assert lines[0].endswith("0:20 elapsed, about 0:40 left")


def test_reused_cases_that_are_still_to_come_take_none_either():
    now, lines = [0.0], []
    progress = Progress(lines.append, lambda: now[0], reused=5)
    progress.total = 8
    now[0] = 20.0
    progress.add(study_run(prompts=1, steps=3)[0])
    assert lines[0].endswith("0:20 elapsed, about 0:40 left")


def test_lines_are_not_more_frequent_than_one_in_ten_seconds():
    now, lines = [0.0], []
    progress = Progress(lines.append, lambda: now[0])
    progress.total = 9
    for case in study_run(prompts=2, steps=3):
        now[0] += 6.0
        progress.add(case)
    assert len(lines) == 4


def test_the_last_case_needs_no_line(told):
    assert len(told(measured=8)) == 7


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_line_does_not_stick_to_the_letter_of_a_result(run, pytester, monkeypatch, workers):
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    monkeypatch.setattr(draftproof.plugin.progress, "SECONDS_BETWEEN_LINES", 0.0)
    result = run("--report", "--report-dir=out", *workers)
    lines = [line for line in result.outlines if " cases, acceptance probability" in line]
    assert len(lines) == 2
    assert all(line.startswith("draftproof: ") for line in lines), lines
