"""Which row of a batch took which seconds, told apart by what they went into."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from draftproof.recording import StepSeconds
from draftproof.stopwatch import Clock, Mark


class Phase(Enum):
    """What time goes into."""

    PREFILL = auto()
    """Reading prompts, and the first token."""
    DRAFT = auto()
    """Proposing, and the draft model's cache."""
    VERIFY = auto()
    """The target's forward pass of a step, and its cache."""
    OTHER = auto()
    """Everything else that decoding cannot do without."""
    WATCH = auto()
    """Recording and state checks, which decoding can do without."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time that some rows share equally.

    Attributes:
        phase: What it went into.
        step: The step of the batch, from 0.
        begin: On the clock.
        end: On the clock.
        rows: How many share it.
    """

    phase: Phase
    step: int
    begin: Mark
    end: Mark
    rows: int


@dataclass(slots=True)
class RowSeconds:
    """A row's share of the time.

    Attributes:
        total: From its prompt to its last token, without what only watches.
        watching: What only watches.
        steps: Of each of its steps.
    """

    total: float = 0.0
    watching: float = 0.0
    steps: list[StepSeconds] = field(default_factory=list)


class Timekeeper:
    """Ascribes the time of a batch to its rows, each of them an equal share.

    Rows of one forward pass cannot be told apart, and a row alone in it would have taken nearly as
    long. The shares of all rows add up to the time that passed.

    Args:
        clock: Read between the phases, and never waited for.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock.mark()
        self._step = 0
        self._spans: dict[int, list[Span]] = defaultdict(list)

    @contextmanager
    def away(self) -> Iterator[None]:
        """What happens inside is no part of decoding."""
        begin = self._clock.mark()
        try:
            yield
        finally:
            now = self._clock.mark()
            if isinstance(self._last, float) and isinstance(begin, float):
                self._last += self._clock.between(begin, now)
            else:  # what came before in this stretch is little, and events cannot be moved
                self._last = now

    def passed(self, phase: Phase, rows: Iterable[int]) -> None:
        """What has passed since the last call went into a phase, of these rows."""
        now = self._clock.mark()
        rows = tuple(rows)
        span = Span(phase, self._step, self._last, now, len(rows))
        for row in rows:
            self._spans[row].append(span)
        self._last = now

    def next_step(self) -> None:
        """What comes now belongs to another step."""
        self._step += 1

    def take(self, row: int) -> RowSeconds:
        """A row's time, which is forgotten here; waits for the device where it has not come so far.

        Args:
            row: Its index among the jobs.
        """
        seconds = RowSeconds()
        by_step: dict[int, list[float]] = {}
        for span in self._spans.pop(row, ()):
            share = self._clock.between(span.begin, span.end) / span.rows
            if span.phase is Phase.WATCH:
                seconds.watching += share
                continue
            seconds.total += share
            if span.phase in (Phase.DRAFT, Phase.VERIFY):
                phases = by_step.setdefault(span.step, [0.0, 0.0])
                phases[span.phase is Phase.VERIFY] += share
        seconds.steps = [StepSeconds(*phases) for phases in by_step.values()]
        return seconds
