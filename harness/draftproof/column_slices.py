"""Columns of a case that lie in a longer table, perhaps on disk, and are read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from draftproof.trace import Columns


class ColumnTable(Protocol):
    """Columns of many cases, one after another."""

    @property
    def names(self) -> Sequence[str]:
        """The columns."""

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """``[stop − start]`` the rows of a column; not to be written to.

        Raises:
            TraceError: They cannot be read.
        """


class ColumnSlice(Mapping[str, np.ndarray]):
    """The columns of one case: rows ``start`` to ``stop`` of a table.

    Args:
        table: Holds them.
        start: Row of the table at which the case's begin.
        stop: Row behind its last.
    """

    __slots__ = ("start", "stop", "table")

    def __init__(self, table: ColumnTable, start: int, stop: int) -> None:
        self.table = table
        self.start = start
        self.stop = stop

    def __getitem__(self, name: str) -> np.ndarray:
        return self.table.rows(name, self.start, self.stop)

    def __iter__(self) -> Iterator[str]:
        return iter(self.table.names)

    def __len__(self) -> int:
        return len(self.table.names)


def length_of(columns: Columns) -> int:
    """How many rows the columns of a case have; nothing is read for it."""
    if isinstance(columns, ColumnSlice):
        return columns.stop - columns.start
    return len(columns["step"])


def joined(parts: Sequence[Columns], name: str) -> np.ndarray:
    """A column of several cases end to end; at least one case.

    Cases that follow each other in one table are read in one piece.
    """
    first, last = parts[0], parts[-1]
    if isinstance(first, ColumnSlice) and isinstance(last, ColumnSlice) and _adjoin(parts):
        return first.table.rows(name, first.start, last.stop)
    return np.concatenate([part[name] for part in parts])


def _adjoin(parts: Sequence[Columns]) -> bool:
    before: ColumnSlice | None = None
    for part in parts:
        if not isinstance(part, ColumnSlice):
            return False
        if before is not None and (part.table is not before.table or part.start != before.stop):
            return False
        before = part
    return True
