"""Reads the Parquet files of a run: a record a case at once, steps and nodes when asked for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from draftproof.column_slices import ColumnSlice
from draftproof.errors import TraceError
from draftproof.report.columns import (
    CASES_FILE,
    NODES_FILE,
    STEPS_FILE,
    absent_columns,
    case_schema,
    row_schema,
    schema_version,
)
from draftproof.trace import (
    NODE_COLUMNS,
    STEP_COLUMNS,
    CaseRecord,
    DecodedOutput,
    Fork,
    Verdict,
    arrivals_from,
    counts_from,
    server_seconds_from,
    verdict_from,
)

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

WHOLE_ROWS = 1 << 20
"""Rows of a file up to which it is read whole, and verified, when a run is loaded."""

_KEPT_BYTES = 1 << 28
"""Of a larger file, how much of what was read last is kept."""


def read_cases(directory: Path) -> tuple[CaseRecord, ...]:
    """The records of the three files of a folder, bit for bit as they were written.

    Steps and nodes of a large run stay on disk: a record's columns read their row group when they
    are asked for, so that memory grows with cases, not with nodes. They are the cheaper the nearer
    cases that are looked at one after the other are in the order of the records.

    Raises:
        TraceError: A file is missing, corrupt, of a newer schema version, or not of the same run
            as the others; the message names it. Of a large file, a page that is corrupt is found
            when it is read.
    """
    path = directory / CASES_FILE
    with _naming(path), _opened(path) as file:
        schema, absent = _checked(path, file, case_schema)
        keys = file.read(columns=["case_id", "steps", "nodes"])
        case_ids = keys.column("case_id").to_pylist()
        steps, nodes = (
            _slices(
                StoredTable(directory / name, columns),
                case_ids,
                keys.column(what).to_numpy().tolist(),
            )
            for name, columns, what in (
                (STEPS_FILE, STEP_COLUMNS, "steps"),
                (NODES_FILE, NODE_COLUMNS, "nodes"),
            )
        )
        cases: list[CaseRecord] = []
        try:
            for group in range(file.metadata.num_row_groups):
                rows = _rows(file.read_row_group(group), schema, absent)
                cases.extend(_record(row, next(steps), next(nodes)) for row in rows)
        except (TypeError, ValueError) as error:
            raise _corrupt(path, str(error)) from error
    return tuple(cases)


def _record(row: Mapping[str, Any], steps: ColumnSlice, nodes: ColumnSlice) -> CaseRecord:
    return CaseRecord(
        case_id=row["case_id"],
        domain=row["domain"],
        prompt_tokens=row["prompt_tokens"],
        verdict=Verdict(row["verdict"]),
        message=row["message"],
        plain=_output(row, "plain"),
        speculative=_output(row, "speculative"),
        forks=tuple(Fork(**fork) for fork in row["forks"] or ()),
        contradictions=tuple(row["contradictions"] or ()),
        steps=steps,
        nodes=nodes,
        draws=dict(row["draws"]),
        counts=counts_from(row["counts"]),
        plain_score=_known(row["plain_score"]),
        speculative_score=_known(row["speculative_score"]),
        plain_verdict=verdict_from(row["plain_verdict"]),
    )


class StoredTable:
    """The columns of ``steps.parquet`` or of ``nodes.parquet``: a `ColumnTable` on disk.

    Args:
        path: The file; read whole where it has at most `WHOLE_ROWS` rows.
        columns: Its columns and their types.

    Raises:
        TraceError: It is missing, corrupt, of a newer version or of another kind.
    """

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self.path = path
        self.names = tuple(columns)
        self._types = columns
        self._file = _opened(path)
        with _naming(path):
            _, self._unknown = _checked(path, self._file, lambda version: row_schema(columns))
        metadata = self._file.metadata
        groups = range(metadata.num_row_groups)
        sizes: list[int] = [metadata.row_group(group).num_rows for group in groups]
        self._starts: list[int] = [0, *accumulate(sizes)]
        self._kept: OrderedDict[tuple[int, str], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._is_whole = len(self) <= WHOLE_ROWS
        if self._is_whole:
            for name in self.names:
                for group in groups:
                    self._column(group, name)

    def __len__(self) -> int:
        return self._starts[-1]

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """``[stop − start]`` the rows of a column; not to be written to.

        Raises:
            TraceError: A page of it is corrupt.
            KeyError: There is no such column.
        """
        if name not in self._types:
            raise KeyError(name)
        if stop <= start:
            return np.empty(0, self._types[name])
        first = bisect_right(self._starts, start) - 1
        if stop <= self._starts[first + 1]:
            begin = self._starts[first]
            return self._column(first, name)[start - begin : stop - begin]
        last = bisect_left(self._starts, stop) - 1
        whole = [self._column(group, name) for group in range(first, last + 1)]
        begin = self._starts[first]
        return np.concatenate(whole)[start - begin : stop - begin]

    def check_order(self, case_ids: Sequence[str], ends: np.ndarray) -> None:
        """See to it that every case's rows are together, and in the order of cases.

        Args:
            case_ids: ``[cases]``.
            ends: ``[cases]`` the row behind each case's last.

        Raises:
            TraceError: They are not.
        """
        for group, (begin, end) in enumerate(pairwise(self._starts)):
            first = int(np.searchsorted(ends, begin, "right"))
            last = int(np.searchsorted(ends, end, "left"))
            own = slice(first, last + 1)
            counts = np.diff(np.clip(ends[own], begin, end), prepend=begin)
            column = self._read(group, "case_id").combine_chunks()
            code = {value: index for index, value in enumerate(column.dictionary.to_pylist())}
            expected = np.repeat([code.get(case_id, -1) for case_id in case_ids[own]], counts)
            if not np.array_equal(column.indices.to_numpy(), expected):
                raise _corrupt(self.path, f"its rows are not in the order of {CASES_FILE}")

    def _column(self, group: int, name: str) -> np.ndarray:
        key = group, name
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept
        kind = self._types[name]
        if name in self._unknown:
            size = self._starts[group + 1] - self._starts[group]
            array = np.full(size, np.nan, kind)
        else:
            array = self._read(group, name).to_numpy().astype(kind, copy=False)
        array.flags.writeable = False
        self._kept[key] = array
        self._bytes += array.nbytes
        while not self._is_whole and self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return array

    def _read(self, group: int, name: str) -> Any:
        with _naming(self.path):
            return self._file.read_row_group(group, columns=[name]).column(name)


def _slices(
    table: StoredTable, case_ids: Sequence[str], counts: Sequence[int]
) -> Iterator[ColumnSlice]:
    """Each case's columns.

    Raises:
        TraceError: The table's rows are not those of the cases.
    """
    if len(table) != sum(counts):
        raise _corrupt(table.path, f"{len(table)} rows, and {CASES_FILE} says {sum(counts)}")
    ends = np.cumsum(counts, dtype=np.int64)
    table.check_order(case_ids, ends)
    return (
        ColumnSlice(table, end - count, end)
        for end, count in zip(ends.tolist(), counts, strict=True)
    )


def _rows(
    table: pa.Table, schema: pa.Schema, absent: frozenset[str]
) -> Iterator[Mapping[str, Any]]:
    """The rows of a table of cases; what its version lacks is None."""
    columns = [
        [None] * table.num_rows
        if field.name in absent
        else _values(table.column(field.name).combine_chunks())
        for field in schema
    ]
    for row in zip(*columns, strict=True):
        yield dict(zip(schema.names, row, strict=True))


def _values(column: pa.Array) -> list[Any]:
    """The values of a column; lists of numbers become tuples that share their numbers."""
    import pyarrow as pa

    if not pa.types.is_list(column.type) or not pa.types.is_int32(column.type.value_type):
        values: list[Any] = column.to_pylist()
        return values
    offsets = column.offsets.to_numpy().tolist()
    numbers = column.values.to_numpy()
    shared = {number: number for number in np.unique(numbers).tolist()}
    flat = [shared[number] for number in numbers.tolist()]
    known = column.is_valid().to_pylist()
    return [
        tuple(flat[start:stop]) if is_known else None
        for start, stop, is_known in zip(offsets, offsets[1:], known, strict=False)
    ]


def _checked(
    path: Path, file: pq.ParquetFile, schema_of: Callable[[int], pa.Schema]
) -> tuple[pa.Schema, frozenset[str]]:
    """The columns that a file's version has, and which of them it lacks.

    Raises:
        TraceError: It is of a newer version, or has other columns.
    """
    import pyarrow as pa

    found = file.schema_arrow
    version = schema_version(path, found)
    schema = schema_of(version)
    absent = absent_columns(found, version)
    expected = pa.schema([field for field in schema if field.name not in absent])
    if not found.equals(expected):
        raise _corrupt(path, f"its columns are not {', '.join(expected.names)}")
    return schema, absent


def _opened(path: Path) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    with _naming(path):
        return pq.ParquetFile(path, page_checksum_verification=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Says of which file an error is.

    Raises:
        TraceError: It is missing or corrupt.
    """
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        raise TraceError(f"{path} is missing; restore it, or run the suites again") from error
    except (OSError, pa.ArrowException) as error:
        raise _corrupt(path, str(error).splitlines()[0]) from error


def _output(row: Mapping[str, Any], name: str) -> DecodedOutput | None:
    token_ids = row[f"{name}_token_ids"]
    if row[f"{name}_stop_reason"] is None:
        return None
    return DecodedOutput(
        token_ids=tuple(token_ids or ()),
        stop_reason=row[f"{name}_stop_reason"],
        seconds=row[f"{name}_seconds"],
        untold_seconds=_known(row[f"{name}_untold_seconds"]),
        engine=row[f"{name}_engine"] or "",
        arrivals=arrivals_from(row[f"{name}_arrivals"]),
        server_seconds=server_seconds_from(row[f"{name}_server_seconds"]),
        ids_told=token_ids is not None,
        told_length=row[f"{name}_length"],
    )


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


def _corrupt(path: Path, problem: str) -> TraceError:
    return TraceError(
        f"{path} is corrupt or of another run ({problem}); restore the report, or remove its "
        "Parquet files to read the run's journal beside them"
    )
