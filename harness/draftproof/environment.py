"""What a run ran on: versions and hardware, as every report states them."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("draftproof", "torch", "transformers", "tokenizers", "datasets", "numpy", "pytest")

WORKERS = "workers"
"""Key of the processes that measured cases at the same time, where there was more than one."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can move a number; absent ones are left out."""
    return dict(_versions())


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Read once a process: the metadata of each package is a file to parse."""
    found = [("python", platform.python_version())]
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found.append((package, metadata.version(package)))
    return tuple(found)


def hardware() -> dict[str, Any]:
    """The processor, the memory and the accelerators, as far as the system tells."""
    import torch

    found: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["accelerators"] = [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ]
    return found


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
