"""The Parquet files of a run: their columns, and how they are written.

pyarrow is imported by the functions that need it, so that importing this module costs nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np

from draftproof.column_slices import joined, length_of
from draftproof.errors import TraceError
from draftproof.trace import (
    ADDED_COLUMNS,
    NODE_COLUMNS,
    SCHEMA_VERSION,
    STEP_COLUMNS,
    CaseRecord,
    Counts,
    Fork,
)

if TYPE_CHECKING:
    import pyarrow as pa

CASES_FILE, STEPS_FILE, NODES_FILE = "cases.parquet", "steps.parquet", "nodes.parquet"
KEY_COLUMNS = ("case_id", "domain")
CASE_COLUMNS = (
    *KEY_COLUMNS,
    "prompt_tokens",
    "verdict",
    "message",
    "plain_token_ids",
    "plain_stop_reason",
    "plain_seconds",
    "speculative_token_ids",
    "speculative_stop_reason",
    "speculative_seconds",
    "forks",
    "contradictions",
    "steps",
    "nodes",
    "draws",
    "counts",
    "plain_score",
    "speculative_score",
    "plain_untold_seconds",
    "speculative_untold_seconds",
    "plain_engine",
    "speculative_engine",
    "plain_verdict",
    "plain_arrivals",
    "speculative_arrivals",
    "plain_length",
    "speculative_length",
    "plain_server_seconds",
    "speculative_server_seconds",
)
"""A case's columns: as in `CaseRecord`, the fields of an output null where there is none, token ids
where they are not told, and lengths where they are; and how many rows it has in the other two
files, in which cases come in the same order."""

_OPTIONAL_CASE_COLUMNS = frozenset(
    {
        "counts",
        "plain_score",
        "speculative_score",
        "plain_untold_seconds",
        "speculative_untold_seconds",
        "plain_engine",
        "speculative_engine",
        "plain_verdict",
        "plain_arrivals",
        "speculative_arrivals",
        "plain_length",
        "speculative_length",
        "plain_server_seconds",
        "speculative_server_seconds",
    }
)
"""Columns that any version may lack; null where they are read."""
_ADDED_CASE_COLUMNS = frozenset({"forks", "contradictions"}) | _OPTIONAL_CASE_COLUMNS
_ADDED_SINCE = 2
"""Columns of cases that schema version 1 lacks, and the version that has them."""
_FORK_TYPES = {"int": "int32", "float": "float64", "bool": "bool"}
_COUNTS_SINCE: dict[int, tuple[str, ...]] = {
    1: ("steps", "drafted", "accepted"),
    3: (
        "drafted",
        "accepted",
        "steps",
        "drafted_steps",
        "longest_draft",
        "lengths",
        "generated",
    ),
    4: tuple(Counts.__dataclass_fields__),
}
"""The fields of ``counts``, by the schema version from which on it has had them."""
_VERSION_KEY = b"draftproof_schema_version"
_ROWS_AT_ONCE = 1 << 20
_CASES_AT_ONCE = 1 << 14
"""Rows of a row group, of steps or nodes, and of cases."""
_STORAGE: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}


class TraceWriter:
    """Writes the three files of a run case by case: memory does not grow with the run.

    Args:
        cases: Open file for ``cases.parquet``: one row a case, `CASE_COLUMNS`.
        steps: For ``steps.parquet``: `KEY_COLUMNS`, then `STEP_COLUMNS`.
        nodes: For ``nodes.parquet``: `KEY_COLUMNS`, then `NODE_COLUMNS`; far below 64 bytes a node.

    Example:
        >>> with TraceWriter(cases, steps, nodes) as writer:  # doctest: +SKIP
        ...     writer.append(record)
    """

    def __init__(self, cases: BinaryIO, steps: BinaryIO, nodes: BinaryIO) -> None:
        self._parts = (_CaseGroups(cases), _RowGroups(steps, "steps"), _RowGroups(nodes, "nodes"))

    def append(self, case: CaseRecord) -> None:
        """Add a case; a row group is written whenever one is full."""
        for part in self._parts:
            part.append(case)

    def close(self) -> None:
        """Write what is left, and the files' footers, without which they cannot be read."""
        for part in self._parts:
            part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def write_cases(file: BinaryIO, cases: Iterable[CaseRecord]) -> None:
    """Writes ``cases.parquet`` alone."""
    _write_all(_CaseGroups(file), cases)


def write_steps(file: BinaryIO, cases: Iterable[CaseRecord]) -> None:
    """Writes ``steps.parquet`` alone."""
    _write_all(_RowGroups(file, "steps"), cases)


def write_nodes(file: BinaryIO, cases: Iterable[CaseRecord]) -> None:
    """Writes ``nodes.parquet`` alone."""
    _write_all(_RowGroups(file, "nodes"), cases)


def _write_all(groups: _Groups, cases: Iterable[CaseRecord]) -> None:
    for case in cases:
        groups.append(case)
    groups.close()


def case_schema(version: int = SCHEMA_VERSION) -> pa.Schema:
    """The columns of ``cases.parquet`` as a schema version has them."""
    import pyarrow as pa

    text, label = pa.string(), pa.dictionary(pa.int32(), pa.string())
    fork = pa.struct(
        {name: _FORK_TYPES[str(field.type)] for name, field in Fork.__dataclass_fields__.items()}
    )
    own = max(since for since in _COUNTS_SINCE if since <= version)
    types_of = {"lengths": pa.list_(pa.int64()), "counted": text}
    counts = pa.struct({name: types_of.get(name, pa.int64()) for name in _COUNTS_SINCE[own]})
    arrivals = pa.map_(pa.float64(), pa.int32())
    types = (
        label, label, pa.int32(), label, text,
        pa.list_(pa.int32()), label, pa.float64(),
        pa.list_(pa.int32()), label, pa.float64(),
        pa.list_(fork), pa.list_(text), pa.int64(), pa.int64(), pa.map_(text, pa.int64()),
        counts,
        pa.float64(), pa.float64(),
        pa.float64(), pa.float64(), label, label, label,
        arrivals, arrivals, pa.int64(), pa.int64(),
        pa.list_(pa.float64()), pa.list_(pa.float64()),
    )  # fmt: skip
    return _versioned(pa.schema(list(zip(CASE_COLUMNS, types, strict=True))))


def row_schema(columns: Mapping[str, str]) -> pa.Schema:
    """The columns of ``steps.parquet`` or ``nodes.parquet``: `KEY_COLUMNS`, then these."""
    import pyarrow as pa

    label = pa.dictionary(pa.int32(), pa.string())
    fields = [(name, label) for name in KEY_COLUMNS]
    fields += [(name, pa.from_numpy_dtype(np.dtype(dtype))) for name, dtype in columns.items()]
    return _versioned(pa.schema(fields))


def schema_version(path: Path, found: pa.Schema) -> int:
    """The schema version that a file was written with.

    Raises:
        TraceError: It has none, or a newer one.
    """
    stored = (found.metadata or {}).get(_VERSION_KEY)
    if stored is None or not stored.isdigit():
        raise TraceError(f"{path} was not written by draftproof")
    if int(stored) > SCHEMA_VERSION:
        raise TraceError(
            f"{path} has schema version {int(stored)}, and this draftproof reads up to "
            f"{SCHEMA_VERSION}; install a newer one"
        )
    return int(stored)


def absent_columns(found: pa.Schema, version: int) -> frozenset[str]:
    """The columns that a file may lack: those that came after its version, or later within it."""
    absent = _OPTIONAL_CASE_COLUMNS - set(found.names)
    if version < _ADDED_SINCE:
        absent |= ADDED_COLUMNS | _ADDED_CASE_COLUMNS
    return absent


def _versioned(schema: pa.Schema) -> pa.Schema:
    return schema.with_metadata({_VERSION_KEY: str(SCHEMA_VERSION).encode()})


def _case_row(case: CaseRecord) -> dict[str, Any]:
    row: dict[str, Any] = {
        "case_id": case.case_id,
        "domain": case.domain,
        "prompt_tokens": case.prompt_tokens,
        "verdict": str(case.verdict),
        "message": case.message,
        "steps": length_of(case.steps),
        "nodes": length_of(case.nodes),
        "forks": [asdict(fork) for fork in case.forks],
        "contradictions": case.contradictions,
        "draws": list(case.draws.items()),
        "counts": None if case.counts is None else asdict(case.counts),
        "plain_score": case.plain_score,
        "speculative_score": case.speculative_score,
        "plain_verdict": None if case.plain_verdict is None else str(case.plain_verdict),
    }
    for name, output in (("plain", case.plain), ("speculative", case.speculative)):
        row[f"{name}_token_ids"] = output.token_ids if output and output.ids_told else None
        row[f"{name}_length"] = None if output is None else output.told_length
        row[f"{name}_stop_reason"] = None if output is None else str(output.stop_reason)
        row[f"{name}_seconds"] = None if output is None else output.seconds
        row[f"{name}_untold_seconds"] = None if output is None else output.untold_seconds
        row[f"{name}_engine"] = None if output is None else output.engine
        row[f"{name}_arrivals"] = None if output is None else output.arrivals
        row[f"{name}_server_seconds"] = None if output is None else output.server_seconds
    return row


class _Groups(ABC):
    """Collects cases until their rows fill a row group."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, rows_at_once: int, **options: Any):
        import pyarrow.parquet as pq

        self.schema = schema
        self._rows_at_once = rows_at_once
        self._writer = pq.ParquetWriter(file, schema, **_STORAGE, **options)
        self._cases: list[Any] = []
        self._rows = 0

    def append(self, case: CaseRecord) -> None:
        self._cases.append(self.kept(case))
        self._rows += self.rows(case)
        if self._rows >= self._rows_at_once:
            self._write()

    def close(self) -> None:
        if self._cases:
            self._write()
        self._writer.close()

    def _write(self) -> None:
        import pyarrow as pa

        self._writer.write_table(
            pa.Table.from_arrays(self.arrays(self._cases), schema=self.schema),
            row_group_size=max(self._rows, 1),
        )
        self._cases, self._rows = [], 0

    @abstractmethod
    def rows(self, case: CaseRecord) -> int:
        """How many rows a case has."""

    @abstractmethod
    def kept(self, case: CaseRecord) -> Any:
        """What is kept of a case until its row group is written."""

    @abstractmethod
    def arrays(self, cases: Sequence[Any]) -> list[Any]:
        """The columns of a row group."""


class _CaseGroups(_Groups):
    """Row groups of ``cases.parquet``."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, case_schema(), _CASES_AT_ONCE)

    def rows(self, case: CaseRecord) -> int:
        return 1

    def kept(self, case: CaseRecord) -> dict[str, Any]:
        return _case_row(case)

    def arrays(self, cases: Sequence[dict[str, Any]]) -> list[Any]:
        import pyarrow as pa

        return [
            pa.array([row[name] for row in cases], self.schema.field(name).type)
            for name in CASE_COLUMNS
        ]


class _RowGroups(_Groups):
    """Row groups of ``steps.parquet`` or of ``nodes.parquet``."""

    def __init__(self, file: BinaryIO, what: str) -> None:
        self._what = what
        self._columns = STEP_COLUMNS if what == "steps" else NODE_COLUMNS
        schema = row_schema(self._columns)
        floats = [name for name, dtype in self._columns.items() if "f" in dtype]
        super().__init__(
            file,
            schema,
            _ROWS_AT_ONCE,
            # Probabilities hardly repeat: in bytes they compress better than as a dictionary.
            use_dictionary=[name for name in schema.names if name not in floats],
            use_byte_stream_split=floats,
        )

    def rows(self, case: CaseRecord) -> int:
        return length_of(getattr(case, self._what))

    def kept(self, case: CaseRecord) -> CaseRecord:
        return case

    def arrays(self, cases: Sequence[CaseRecord]) -> list[Any]:
        import pyarrow as pa

        counts = [self.rows(case) for case in cases]
        arrays = [_labels([getattr(case, key) for case in cases], counts) for key in KEY_COLUMNS]
        for name, dtype in self._columns.items():
            column = joined([getattr(case, self._what) for case in cases], name)
            arrays.append(pa.array(np.ascontiguousarray(column, dtype)))
        return arrays


def _labels(values: Sequence[str], counts: Sequence[int]) -> Any:
    import pyarrow as pa

    distinct = list(dict.fromkeys(values))
    code = {value: index for index, value in enumerate(distinct)}
    codes = np.repeat(np.array([code[value] for value in values], np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(distinct, pa.string()))
