"""How far a run is: one line kept up to date on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import pytest

from draftproof.errors import printable
from draftproof.trace import CaseRecord, Verdict

SECONDS_BETWEEN_LINES = 10.0
_LEAST_COLUMNS = 40
_PREFIX = "draftproof: "
PROGRESS = "draftproof-progress"
"""The name under which `ShowsProgress` is registered."""


class Progress:
    """Counts how many cases are done, what they show so far, and how long the rest may take.

    Args:
        clock: Monotonic seconds.
        reused: How many cases an earlier session measured: they take no time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, reused: int = 0) -> None:
        self.total = 0
        self._reused = reused
        self._measured = 0
        self._clock = clock
        self._start = clock()
        self._begun: float | None = None
        self._done = self._problems = 0
        self._steps = self._committed = self._nodes = 0
        self._acceptance = 0.0

    @property
    def is_done(self) -> bool:
        """Whether every case has been counted."""
        return self._done >= self.total

    def add(
        self, record: CaseRecord, *, is_reused: bool = False, since_loaded: float | None = None
    ) -> None:
        """Count a case.

        Args:
            record: What was measured.
            is_reused: By an earlier session.
            since_loaded: Seconds that passed since the models were loaded where it was measured:
                loading says nothing of how long other cases take.
        """
        self._done += 1
        if is_reused:
            self._reused -= 1
        else:
            self._measured += 1
            if self._begun is None and since_loaded is not None:
                self._begun = max(self._start, self._clock() - since_loaded)
        self._problems += record.verdict in (Verdict.ALGORITHMIC, Verdict.ERROR)
        self._steps += len(record.steps["step"])
        self._committed += int(record.steps["committed_tokens"].sum())
        acceptance = record.nodes["acceptance_probability"]
        known = acceptance[acceptance == acceptance]
        self._nodes += len(known)
        self._acceptance += float(known.sum())

    def line(self, columns: int = 10_000) -> str:
        """How far the run is, in so many columns: what matters least is left out where it must be.

        Cases, time left and cases that are not as plain decoding matter most.
        """
        now = self._clock()
        found = {"done": f"{self._done}/{self.total} cases"}
        if self._nodes:
            found["acceptance"] = f"acceptance probability {self._acceptance / self._nodes:.3f}"
        if self._steps:
            found["efficiency"] = f"block efficiency {self._committed / self._steps:.2f}"
        if self._problems:
            found["problems"] = f"{self._problems} not as plain decoding"
        found["elapsed"] = f"{_clock_text(now - self._start)} elapsed"
        ahead = self.total - self._done - self._reused
        if self._measured and ahead > 0:
            began = self._start if self._begun is None else self._begun
            left = (now - began) / self._measured * ahead
            found["left"] = f"about {_clock_text(left)} left"
        for name in ("elapsed", "acceptance", "efficiency", "problems", "left"):
            if len(", ".join(found.values())) <= columns:
                break
            found.pop(name, None)
        return ", ".join(found.values())


class ShowsProgress:
    """A plugin object that shows a run's progress.

    On a terminal, a line stands under pytest's own and is drawn anew with every result. Elsewhere,
    as in CI, a line is printed where the last one is long enough ago.

    Args:
        config: pytest's.
        progress: Of the run.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        config: pytest.Config,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._progress = progress
        self._clock = clock
        self._last_line = clock()
        self._is_drawn = self._is_over = False

    def update(self) -> None:
        """A case was counted, between tests or within one."""
        if self._is_live:
            with _uncaptured(self._config):
                self.erase()
                self._draw()
            return
        now = self._clock()
        if now - self._last_line >= SECONDS_BETWEEN_LINES and not self._progress.is_done:
            self._last_line = now
            print_line(self._config, self._progress.line())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, Any, Any]:
        return (yield from self._around())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, Any, Any]:
        return (yield from self._around())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self.erase()
        self._is_over = True

    @cached_property
    def _is_live(self) -> bool:
        """Asked when tests run: pytest's own reporter may be registered after this one."""
        return is_live(self._config)

    def erase(self) -> None:
        """Take the line away, so that something else can be written."""
        if self._is_drawn:
            self._is_drawn = False
            self._write("\x1b[J")

    def _around(self) -> Generator[None, Any, Any]:
        """Whatever pytest writes, it writes without the line."""
        self.erase()
        result = yield
        if self._is_live:
            self._draw()
        return result

    def _draw(self) -> None:
        """Draw the line under the one that pytest is writing, and go back to where it was."""
        writer = self._config.get_terminal_writer()
        columns = writer.fullwidth - 1
        if self._is_over or self._progress.is_done or columns < _LEAST_COLUMNS:
            return
        text = _PREFIX + self._progress.line(columns - len(_PREFIX))
        self._write(f"\n{text}\x1b[1A\x1b[{writer.width_of_current_line + 1}G")
        self._is_drawn = True

    def _write(self, text: str) -> None:
        # Not through pytest's writer, which counts the columns that it has written.
        file = self._config.get_terminal_writer()._file
        file.write(text)
        file.flush()


def is_live(config: pytest.Config) -> bool:
    """Whether a line can be kept up to date: on a terminal that obeys, and that nobody records."""
    if config.pluginmanager.get_plugin("terminalreporter") is None:
        return False
    if sys.platform == "win32" or os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        return False
    if config.getoption("capture") == "no":
        return False  # tests write wherever the cursor is
    file = config.get_terminal_writer()._file
    return bool(getattr(file, "isatty", lambda: False)())


def print_line(config: pytest.Config, line: str) -> None:
    """Print a line of draftproof's own; nothing without a terminal.

    pytest knows of an unfinished line where it began it with a file's name. The letters of results
    that stand alone, as those of workers do and those after a line of ours, it does not know of.
    """
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:
        return
    with _uncaptured(config):
        shown = config.pluginmanager.get_plugin(PROGRESS)
        if shown is not None:
            shown.erase()
        terminal.ensure_newline()
        writer = config.get_terminal_writer()
        if writer.width_of_current_line:
            writer.line()
        terminal.write_line(printable(f"{_PREFIX}{line}"))


def _uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    """What is written within goes to the terminal although pytest captures output."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is None:
        return nullcontext()
    found: AbstractContextManager[None] = capture.global_and_fixture_disabled()
    return found


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
