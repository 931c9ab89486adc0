"""draftproof plan: what it prints, and how it refuses."""

from __future__ import annotations

import json

import pytest
from study_traces import study_run

from draftproof.cli import main
from draftproof.report import write_report


def run(capsys, *words):
    code = main(["plan", *(str(word) for word in words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def pilot(tmp_path_factory, run_info):
    """A run of the four domains, 24 prompts each."""
    directory = tmp_path_factory.mktemp("plan") / "pilot"
    write_report(directory, run_info, study_run(prompts=24, steps=6))
    return directory


def test_a_plan_says_prompts_hours_and_cost(capsys, pilot):
    words = (pilot, "--change=10%", "--gpus=2,50", "--price=3", "--seconds-a-prompt=30")
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    line = "Gate acceptance_rate_drafted:-0%, α 0.05 over 4 domains together (Holm)"
    assert line in " ".join(out.split())
    assert "One of the two runs" in out
    assert "cost" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_json_has_what_the_text_has(capsys, pilot):
    words = ("--width=0.05", "--domain=code", "--gpus=4", "--seconds-a-prompt=30", "--json")
    code, out, _ = run(capsys, pilot, *words)
    found = json.loads(out)
    assert code == 0
    assert set(found["domains"]) == {"code"}
    assert (found["runs"], found["prompts"]) == (1, found["domains"]["code"]["started"])
    (fleet,) = found["fleets"]
    assert fleet["gpus"] == 4
    assert fleet["cost"] is None
    # No losses in so short a run: the whole time is starting, and four GPUs working in turn.
    turns = -(-found["prompts"] // 4)
    assert fleet["seconds"] == pytest.approx(60 + 30 * turns, rel=0.35)


def test_two_runs_that_pair_need_fewer_prompts(capsys, pilot):
    needed = []
    for more in ([], ["--again", pilot]):
        words = ("--change=0.02", "--seconds-a-prompt=1", "--json")
        _, out, _ = run(capsys, pilot, *more, *words)
        needed.append(json.loads(out)["prompts"])
    assert needed[1] < needed[0]


def test_a_small_pilot_is_refused(capsys, saved):
    code, out, err = run(capsys, saved, "--change=0.02")
    assert (code, out) == (4, "")
    assert "code: the pilot has 8 prompts" in err
    assert "fewer than 20" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--change SIZE"),
        (("--change=1%", "--gpus=0"), "--gpus: '0' is not a list of numbers"),
        (("--change=1%", "--slow=0.1"), "--slow: '0.1' is not a share"),
        (("--change=1%", "--metric=speedup"), "--metric: unknown value 'speedup'"),
        (("--change=1%", "--domain=codes"), "did you mean 'code'"),
        (("--change=1%", "--price=-1"), "--price: -1 is not a number above 0"),
        (
            ("--change=10%", "--seconds-a-prompt=30", "--hours-between-losses=0.001"),
            "take fewer (--at-once)",
        ),
    ],
)
def test_what_cannot_be_planned_is_refused(capsys, pilot, words, message):
    code, out, err = run(capsys, pilot, *words)
    assert (code, out) == (4, "")
    assert message in err
