"""What a long run says of how far it is."""

import os
import pty
import re
import select
import subprocess
import sys
from types import SimpleNamespace

import pytest
from plugin_sources import SUITE
from study_traces import study_run

import draftproof.plugin.progress
from draftproof.plugin.progress import Progress


@pytest.fixture
def told():
    """A run of 8 cases, one of them every 20 s after loading; the line after each."""

    def run(reused=0, total=8, measured=8, loading=0, columns=10_000):
        now, lines = [0.0], []
        progress = Progress(lambda: now[0], reused=reused)
        progress.total = total
        now[0] = float(loading)
        for index, case in enumerate(study_run(prompts=2, steps=3)[: reused + measured]):
            is_reused = index < reused
            now[0] += 0 if is_reused else 20
            progress.add(case, is_reused=is_reused, since_loaded=now[0] - loading)
            lines.append(progress.line(columns))
        return lines

    return run


def test_a_line_says_how_far_how_well_and_how_long(told):
    lines = told(measured=3)
    assert lines[1].startswith("2/8 cases, acceptance probability 0.")
    assert "block efficiency" in lines[1]
    assert lines[1].endswith("0:40 elapsed, about 2:00 left")


def test_loading_is_elapsed_and_says_nothing_of_what_is_left(told):
    assert told(measured=2, loading=90)[1].endswith("2:10 elapsed, about 2:00 left")


def test_what_an_earlier_session_measured_takes_no_time(told):
    lines = told(reused=5, measured=2)
    assert lines[5].startswith("6/8 cases")
    assert lines[5].endswith("0:20 elapsed, about 0:40 left")


def test_reused_cases_that_are_still_to_come_take_none_either():
    now = [0.0]
    progress = Progress(lambda: now[0], reused=5)
    progress.total = 8
    now[0] = 20.0
    progress.add(study_run(prompts=1, steps=3)[0])
    assert progress.line().endswith("0:20 elapsed, about 0:40 left")


@pytest.mark.parametrize("columns", [100, 68, 50, 30])
def test_a_narrow_line_leaves_out_what_matters_least(told, columns):
    line = told(measured=2, total=400_000, columns=columns)[-1]
    assert len(line) <= columns
    assert line.startswith("2/400000 cases")
    assert line.endswith(" left") == (columns > 30)
    assert ("block efficiency" in line) == (columns > 50)
    assert ("acceptance probability" in line) == (columns > 68)


def test_lines_are_as_far_apart_as_they_are_to_be(run, monkeypatch):
    monkeypatch.setattr(draftproof.plugin.progress, "SECONDS_BETWEEN_LINES", 1e9)
    result = run("--report", "--report-dir=out")
    assert not [line for line in result.outlines if " cases, acceptance probability" in line]
    monkeypatch.setattr(draftproof.plugin.progress, "SECONDS_BETWEEN_LINES", 0.0)
    result = run("--report", "--report-dir=two")
    # The last case needs no line.
    assert len([line for line in result.outlines if " cases, acceptance" in line]) == 2


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_line_does_not_stick_to_the_letter_of_a_result(run, pytester, monkeypatch, workers):
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    monkeypatch.setattr(draftproof.plugin.progress, "SECONDS_BETWEEN_LINES", 0.0)
    result = run("--report", "--report-dir=out", *workers)
    lines = [line for line in result.outlines if " cases, acceptance probability" in line]
    assert len(lines) == 2
    assert all(line.startswith("draftproof: ") for line in lines), lines


# On a terminal ---------------------------------------------------------------------------------


def on_a_terminal(words, folder, columns, environment):
    """All that a command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    ours_alone = {name: value for name, value in os.environ.items() if name != "CI"}
    environment = {**ours_alone, "COLUMNS": str(columns), "TERM": "xterm", **environment}
    process = subprocess.Popen(
        words, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    written = b""
    while True:
        ready, _, _ = select.select([ours], [], [], 120)
        try:
            piece = os.read(ours, 65536) if ready else b""
        except OSError:  # the other side is closed
            piece = b""
        if not piece:
            break
        written += piece
    os.close(ours)
    assert process.wait() == 0, written.decode()
    return written.decode()


class Screen:
    """What a terminal without an end shows, and every line that stood below the cursor."""

    def __init__(self):
        self.lines, self.row, self.column, self.below = [""], 0, 0, []

    def write(self, text):
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[^\x1b]", text):
            if part == "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            elif part == "\r":
                self.column = 0
            elif part.startswith("\x1b"):
                self.obey(part)
            else:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + part + line[self.column + 1 :]
                self.column += 1

    def obey(self, part):
        kind, number = part[-1], part[2:-1]
        if kind == "A":
            self.row -= int(number)
            self.below.append(self.lines[self.row + 1])
        elif kind == "G":
            self.column = int(number) - 1
        elif kind == "J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        else:
            assert kind in "mhlK", part


def command(pair, *options):
    return [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", *pair,
        "--spec-max-new-tokens=8", "--report", "--report-dir=out", *options,
    ]  # fmt: skip


@pytest.mark.parametrize("options", [(), ("-n1",)])
def test_on_a_terminal_one_line_is_kept_up_to_date_under_those_of_pytest(pytester, pair, options):
    if "-n1" in options:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    pytester.makepyfile(test_letters=SUITE)
    (pytester.path / "pytest.ini").write_text("[pytest]\n")
    words = command(pair, *options)
    written = on_a_terminal(words, pytester.path, 80, {})
    screen = Screen()
    screen.write(written.replace("\r\n", "\n\r"))
    drawn = [line for line in screen.below if line.startswith("draftproof: ")]
    assert drawn
    assert all(len(line) < 80 for line in drawn)
    assert {re.search(r"(\d)/3 cases", line)[1] for line in drawn} >= {"1", "2"}
    # Nothing is left of them, and nothing of pytest's is lost.
    assert not [line for line in screen.lines if "/3 cases" in line]
    shown = "\n".join(screen.lines)
    assert "3 passed" in shown
    if options == ():
        assert re.search(r"^test_letters.py \.{1,3}|^\.{1,3} +\[100%\]", shown, re.MULTILINE)


class Terminal:
    """A file that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "live"), [({}, True), ({"CI": "true"}, False), ({"TERM": "dumb"}, False)]
)
def test_in_ci_no_line_is_drawn_anew(monkeypatch, environment, live):
    # Not this run's own, which would write to it, too.
    config = SimpleNamespace(
        pluginmanager=SimpleNamespace(get_plugin=lambda name: name),
        getoption=lambda name: "fd",
        get_terminal_writer=lambda: SimpleNamespace(_file=Terminal()),
    )
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert draftproof.plugin.progress.is_live(config) == live
