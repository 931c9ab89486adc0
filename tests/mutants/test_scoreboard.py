"""The scoreboard itself: it reports a miss where the instrument that catches is left out."""

import json

import pytest

from draftproof.cli.main import main
from draftproof.conformance.check_result import Status
from draftproof.errors import FAULT_EXIT_CODE, USAGE_EXIT_CODE, UsageError
from draftproof.selftest import instruments as module
from draftproof.selftest.catalogue import CATALOGUE, chosen
from draftproof.selftest.false_alarms import false_alarms, interval
from draftproof.selftest.figures import figures, wrong_figures
from draftproof.selftest.instruments import INSTRUMENTS, Family, Outcome, Surroundings
from draftproof.selftest.rendering import SelfTest, json_document, markdown, terminal
from draftproof.selftest.scoreboard import Score, by_class, class_score, examine


def outcome(instrument, status=Status.PASSED, **values):
    return Outcome(instrument=instrument, status=status, **values)


def scored(name, *outcomes):
    return Score(mutant=CATALOGUE[name], outcomes=outcomes)


CAUGHT = scored(
    "K01",
    outcome("exact law", laws=3),
    outcome(
        "state equivalence", Status.FAILED, tokens=6, steps=2, requests=1, message="a | b\nmore"
    ),
)
AT_ONCE = scored("V01", outcome("exact law", Status.FAILED, laws=1, message="law"))
MISSED = scored("V02", outcome("exact law"), outcome("greedy output", Status.NOT_AVAILABLE))
CONTROL = scored("L01", outcome("exact law"))
FLAGGED = scored("L02", outcome("exact law", Status.FAILED, laws=1, message="cried wolf"))


def found(*scores, all_instruments=False):
    model = {"name": "builtin", "parameters": 1e6, "dtype": "float32", "device": "cpu"}
    return SelfTest(
        scores=scores,
        all_instruments=all_instruments,
        alarms=None,
        command="draftproof selftest",
        models={"target": model},
        versions={"torch": "2"},
        hardware={"cpus": 2, "cpu": "a processor"},
    )


def test_a_fault_is_missed_where_what_catches_it_is_left_out(around):
    for name, catcher in (
        ("V01", "exact law"),
        ("M04", "worked example"),
        ("W33", "metric identities"),
    ):
        mutant = CATALOGUE[name]
        [with_it] = examine([mutant], around, instruments=(catcher,))
        others = tuple(other for other in ("worked example", "exact law") if other != catcher)
        [without] = examine([mutant], around, instruments=others)
        assert with_it.right
        assert not without.right
        assert "MISSED" not in terminal(found(with_it))
        assert name in terminal(found(without)).split("missed:")[1]


def test_an_instrument_that_sees_nothing_makes_a_miss(around, monkeypatch):
    blind = {
        name: (family, lambda *_: (Status.PASSED, "")) for name, (family, _) in INSTRUMENTS.items()
    }
    monkeypatch.setattr(module, "INSTRUMENTS", blind)
    [score] = examine([CATALOGUE["V01"]], around, instruments=("exact law",))
    assert not score.caught


def test_faults_stop_at_the_first_catch_and_controls_never(around):
    names = ("worked example", "exact law", "acceptance counts")
    [fault] = examine([CATALOGUE["V01"]], around, instruments=names)
    [every] = examine([CATALOGUE["V01"]], around, instruments=names, all_instruments=True)
    [control] = examine([CATALOGUE["L08"]], around, instruments=names)
    assert [len(score.outcomes) for score in (fault, every, control)] == [2, 3, 3]


def test_rows_count_the_first_catch_and_medians_leave_out_what_took_no_tokens():
    rows = by_class([CAUGHT, AT_ONCE, MISSED, CONTROL])
    assert [(row.name, row.planted, row.caught, row.median_tokens) for row in rows] == [
        ("verification", 2, 1, None),
        ("cache", 1, 1, 6),
    ]
    assert class_score("all", [CAUGHT, AT_ONCE, MISSED]).by == {Family.STATE: 1, Family.EXACT: 1}


def test_pages_name_what_was_missed_and_what_was_flagged():
    text = markdown(found(CAUGHT, AT_ONCE, MISSED, CONTROL, FLAGGED, all_instruments=True))
    assert "2 of 3 planted faults caught (66.7%)" in text
    assert "missed: V02 (no residual: the correction token is drawn from p)" in text
    assert "1 of 2 lossless controls flagged" in text
    assert "a \\| b more" in text
    assert "after 6 tokens (2 steps)" in text
    document = json_document(found(CAUGHT, MISSED, FLAGGED))
    assert document["summary"]["missed"] == ["V02"]
    assert document["summary"]["flagged"] == ["L02"]
    assert json.loads(json.dumps(document)) == document


def test_exit_codes(around, monkeypatch, capsys, tmp_path):
    def made(*_, **__):
        return around

    page = tmp_path / "board.md"
    assert main(["selftest", "--mutant", "M04", "--markdown", str(page)]) == 0
    assert "1 of 1 planted faults caught" in page.read_text(encoding="utf-8")
    monkeypatch.setitem(
        module.INSTRUMENTS, "worked example", (Family.IDENTITIES, lambda *_: (Status.PASSED, ""))
    )
    monkeypatch.setattr(
        "draftproof.selftest.scoreboard.examine.__kwdefaults__",
        {"instruments": ("worked example",), "all_instruments": False},
    )
    assert main(["selftest", "--mutant", "M04"]) == FAULT_EXIT_CODE
    assert "missed: M04" in capsys.readouterr().out


def test_unknown_names_are_refused_with_the_nearest(capsys):
    assert main(["selftest", "--mutant", "V1"]) == USAGE_EXIT_CODE
    assert "V01" in capsys.readouterr().err
    with pytest.raises(UsageError, match="cache"):
        chosen(classes=["cach"])


def test_the_catalogue_is_listed_by_class(capsys):
    assert main(["selftest", "--list", "--class", "cache", "--mutant", "V01"]) == 0
    listed = capsys.readouterr().out.split("\n")
    assert any(line.startswith("V01") for line in listed)
    assert all(" cache " in line or line.startswith("V01") for line in listed if line)


def test_a_flagged_run_is_named_with_its_seed():
    around = Surroundings(pair=None, prompts=())
    wrong = [CATALOGUE["V01"]]
    sound = false_alarms([CATALOGUE["L08"]], around, runs=2)
    assert (sound.runs, sound.flagged) == (2, ())
    assert sound.tokens >= 2000
    assert 0.8 < sound.high < 0.9
    assert interval(1, 2)[0] > 0
    assert not any(mutant.lossless for mutant in wrong)


def test_a_run_that_cries_wolf_is_counted():
    from dataclasses import replace

    pretender = replace(CATALOGUE["V01"], lossless=True)
    alarms = false_alarms([pretender], Surroundings(pair=None, prompts=()), runs=2, first_seed=7)
    assert len(alarms.flagged) == 2
    assert alarms.flagged[0].startswith("V01, seed 7: ")
    assert alarms.low > 0


def test_the_worked_example_is_what_production_computes():
    assert wrong_figures(figures) == []
    assert wrong_figures(lambda cases: {**figures(cases), "sglang": 1.0}) == [
        "sglang of the worked example is 1, and by hand 4"
    ]
