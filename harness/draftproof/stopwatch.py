"""Wall time, accelerators included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up wall time, waiting for an accelerator to finish before each reading.

    Attributes:
        seconds: Total so far.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.seconds = 0.0
        self._device = device
        self._is_running = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what happens inside."""
        start = self._now()
        self._is_running = True
        try:
            yield
        finally:
            self._is_running = False
            self.seconds += self._now() - start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave what happens inside out of what `running` measures."""
        start = self._now()
        try:
            yield
        finally:
            if self._is_running:
                self.seconds -= self._now() - start

    def take(self) -> float:
        """The total so far, which starts again from 0."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds

    def _now(self) -> float:
        if self._device is not None and self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return time.perf_counter()
