"""Options that name files, with names that no file can have: one line, and no run begun."""

import contextlib

import pytest

from draftproof.cli.main import main
from draftproof.errors import USAGE_EXIT_CODE, DraftproofError
from draftproof.models.source import model_source
from draftproof.plugin.options import OPTIONS, value_of
from draftproof.plugin.settings import _CONFIG_FIELDS, _SAMPLING_FIELDS, settings_of

LONG = "x" * 5000
ODD = [LONG, "x/" * 3000, f"{LONG}.gguf", "a\0b", "m" * 400 + ":N"]
WITH_VALUE = [option for option in OPTIONS if option.metavar]


@pytest.mark.parametrize("option", WITH_VALUE, ids=lambda option: option.name)
@pytest.mark.parametrize("text", ODD, ids=["long", "deep", "gguf", "nul", "module"])
def test_a_setting_is_refused_with_a_reason_or_taken(option, text):
    with contextlib.suppress(DraftproofError):
        value = value_of(option, [text])
        if option.name in {**_CONFIG_FIELDS, **_SAMPLING_FIELDS}:
            settings_of({option.name: value})


@pytest.mark.parametrize("text", ODD[:4])
def test_no_model_has_such_a_name(text):
    with pytest.raises(DraftproofError, match="--spec-target"):
        model_source(text, "target")


@pytest.mark.parametrize(
    "words",
    [
        ["report", LONG],
        ["metrics", LONG],
        ["study", LONG],
        ["compare", LONG, LONG],
        ["concurrency", LONG],
        ["import", LONG],
        ["history", LONG],
        ["replay", LONG, "--tree", "3x2"],
        ["advise", LONG],
        ["selftest", "--json", LONG],
    ],
    ids=lambda words: words[0],
)
def test_a_command_says_that_it_cannot_use_the_file(words, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(words) == USAGE_EXIT_CODE
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.err.strip()


@pytest.mark.parametrize(
    "option",
    [
        "--report-dir",
        "--spec-compare",
        "--spec-save",
        "--spec-storage",
        "--spec-finished",
        "--spec-budget",
    ],
)
def test_a_run_ends_before_it_begins(run, option):
    more = ["--spec-save=main"] if option == "--spec-storage" else []
    result = run("--report", f"{option}={LONG}", *more)
    assert result.ret == USAGE_EXIT_CODE
    result.stderr.no_fnmatch_line("*INTERNALERROR*")
    assert "passed" not in result.stdout.str()
