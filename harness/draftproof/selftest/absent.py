"""Reported faults that cannot be planted here, each with the reason."""

from __future__ import annotations

from draftproof.selftest.mutant import Absent

ABSENT: tuple[Absent, ...] = (
    Absent(
        id="B01",
        title="a fault that lives between rows of one batch",
        source="Blaizzy/mlx-vlm #1962 (its batch half)",
        reason="a request is decoded alone here; K08 plants its effect on one sequence",
    ),
    Absent(
        id="B02",
        title="an output that changes with its batch mates or with preemption",
        source="several servers",
        reason="there are no batches and no preemption here; engines that have them are asked the "
        "same request twice by `draftproof verify`",
    ),
    Absent(
        id="B03",
        title="grammar or structured output applied to one of two paths",
        source="several servers",
        reason="there is no grammar here; V10 and W09 plant filters on one of two paths",
    ),
)
"""What the catalogue lacks, of the classes of fault that engines ship."""
