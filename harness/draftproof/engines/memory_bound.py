"""How far a process may grow while a thread that nobody can end is left behind in it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

GROWTH = 0.25
"""Share of the memory that is free which is left to the process; a report takes far less."""


class MemoryBound:
    """Holds the data of this process to what it has and a share of what is free.

    A thread that goes on to allocate then meets a `MemoryError`, and gives back what it took, long
    before the kernel ends the process. On Linux alone; elsewhere nothing is held. What the threads
    of a program are handed by a driver for a device is not counted.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: tuple[int, int] | None = None

    def hold(self) -> None:
        """Set the limit; nothing where one is set, or where the system has none."""
        if sys.platform != "linux":
            return
        import resource

        with self._lock:
            if self._before is not None:
                return
            try:
                limit = _bytes("/proc/self/status", "VmData") + round(
                    GROWTH * _bytes("/proc/meminfo", "MemAvailable")
                )
                soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
                if soft != resource.RLIM_INFINITY:
                    limit = min(limit, soft)
                resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
            except (OSError, ValueError, KeyError):
                return
            self._before = soft, hard

    def release(self) -> None:
        """Set the limit that was there before; the thread came to its end."""
        if sys.platform != "linux":
            return
        import resource

        with self._lock:
            if self._before is not None:
                resource.setrlimit(resource.RLIMIT_DATA, self._before)
                self._before = None


def _bytes(file: str, name: str) -> int:
    """A size of those that the kernel lists in kB."""
    lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines()
    sizes = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(sizes[name].split()[0]) * 1024
