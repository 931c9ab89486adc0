"""Wall time, accelerators included, read from a clock that can be stopped."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

Mark = float | torch.cuda.Event
"""A moment on a clock."""


class Clock:
    """Seconds that pass while decoding; they stop passing for whatever only watches it.

    Every stopwatch of an engine reads one clock, so that what is left out of an output's seconds is
    left out of the seconds of its phases too, and on both sides of a speedup alike.

    Args:
        device: An accelerator that is waited for before each reading.

    Attributes:
        stopped_seconds: For how long the clock has been stopped so far.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.stopped_seconds = 0.0
        self._device = device
        self._is_stopped = False

    def now(self) -> float:
        """Seconds since some moment, less those in which the clock was stopped."""
        return self._wall() - self.stopped_seconds

    def mark(self) -> Mark:
        """A moment, taken without waiting for the device; see `between`.

        On a CUDA device it is an event in the current stream, which tells when the device came so
        far; elsewhere it is `now`, and an accelerator is waited for.
        """
        if self._device is None or self._device.type != "cuda":
            return self.now()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def between(self, begin: Mark, end: Mark) -> float:
        """Seconds from one mark to a later one.

        On a CUDA device, waits for the later one, and does not know of a clock that was stopped in
        between.
        """
        if isinstance(begin, float) and isinstance(end, float):
            return end - begin
        if isinstance(begin, float) or isinstance(end, float):
            raise TypeError("two marks of one clock are of one kind")
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1000

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What happens inside takes no time; for recording, judging and logs.

        The clock stops while facts are recorded instead of keeping the step for later: a step holds
        logits and probabilities of every node, some 20 MB where a vocabulary has 150,000 ids.
        """
        if self._is_stopped:
            yield
            return
        start = self._wall()
        self._is_stopped = True
        try:
            yield
        finally:
            self._is_stopped = False
            self.stopped_seconds += self._wall() - start

    def _wall(self) -> float:
        if self._device is not None and self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return time.perf_counter()


_NEVER = 2**31 - 1


@contextmanager
def full_collections_wait() -> Iterator[None]:
    """Python's full garbage collections come after what happens inside.

    Beside large libraries one takes longer than many an output, and it falls into one of many: of
    that output's seconds, it would be most. Young objects are collected as ever.
    """
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)


class Stopwatch:
    """Adds up the seconds of a clock.

    Args:
        clock: Read at the beginning and at the end.

    Attributes:
        seconds: Total so far.
    """

    def __init__(self, clock: Clock) -> None:
        self.seconds = 0.0
        self._clock = clock

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what happens inside."""
        start = self._clock.now()
        try:
            yield
        finally:
            self.seconds += self._clock.now() - start

    def take(self) -> float:
        """The total so far, which starts again from 0."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds
