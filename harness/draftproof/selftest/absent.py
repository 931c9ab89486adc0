"""Reported faults that cannot be planted here, each with the reason."""

from __future__ import annotations

from draftproof.selftest.mutant import Absent

ABSENT: tuple[Absent, ...] = (
    Absent(
        id="A01",
        title="an output that changes with preemption",
        source="several servers",
        reason="there is no preemption here; engines that have it are asked the same request twice "
        "by `draftproof verify`",
    ),
    Absent(
        id="A02",
        title="grammar or structured output applied to one of two paths",
        source="several servers",
        reason="there is no grammar here; V10 and W09 plant filters on one of two paths",
    ),
)
"""What the catalogue lacks, of the classes of fault that engines ship."""
