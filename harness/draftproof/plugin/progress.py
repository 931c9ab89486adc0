"""A line now and then on how far a run is, and how it is going."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from draftproof.errors import printable
from draftproof.trace import CaseRecord, Verdict

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Says how many cases are done, what they show so far, and how long the rest may take.

    Args:
        write: Prints a line.
        clock: Monotonic seconds.
        reused: How many cases an earlier session measured: they take no time.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        reused: int = 0,
    ) -> None:
        self.total = 0
        self._reused = reused
        self._measured = 0
        self._write = write
        self._clock = clock
        self._start = self._last_line = clock()
        self._done = self._problems = 0
        self._steps = self._committed = self._nodes = 0
        self._acceptance = 0.0

    def add(self, record: CaseRecord, *, is_reused: bool = False) -> None:
        """Count a case, and print a line if the last one is long enough ago."""
        self._done += 1
        if is_reused:
            self._reused -= 1
        else:
            self._measured += 1
        self._problems += record.verdict in (Verdict.ALGORITHMIC, Verdict.ERROR)
        self._steps += len(record.steps["step"])
        self._committed += int(record.steps["committed_tokens"].sum())
        acceptance = record.nodes["acceptance_probability"]
        known = acceptance[acceptance == acceptance]
        self._nodes += len(known)
        self._acceptance += float(known.sum())
        now = self._clock()
        if now - self._last_line >= SECONDS_BETWEEN_LINES and self._done < self.total:
            self._last_line = now
            self._write(self.line(now - self._start))

    def line(self, elapsed_seconds: float) -> str:
        """How far the run is after some seconds."""
        parts = [f"{self._done}/{self.total} cases"]
        if self._nodes:
            parts.append(f"acceptance probability {self._acceptance / self._nodes:.3f}")
        if self._steps:
            parts.append(f"block efficiency {self._committed / self._steps:.2f}")
        if self._problems:
            parts.append(f"{self._problems} not as plain decoding")
        parts.append(f"{_clock_text(elapsed_seconds)} elapsed")
        ahead = self.total - self._done - self._reused
        if self._measured and ahead > 0:
            left = elapsed_seconds / self._measured * ahead
            parts.append(f"about {_clock_text(left)} left")
        return ", ".join(parts)


def print_line(config: pytest.Config, line: str) -> None:
    """Print a line of draftproof's own; nothing without a terminal.

    pytest knows of an unfinished line where it began it with a file's name. The letters of results
    that stand alone, as those of workers do and those after a line of ours, it does not know of.
    """
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:
        return
    terminal.ensure_newline()
    writer = config.get_terminal_writer()
    if writer.width_of_current_line:
        writer.line()
    terminal.write_line(printable(f"draftproof: {line}"))


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
