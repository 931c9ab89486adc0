"""The records of a public data set, from the hub or from a local folder."""

from __future__ import annotations

from pathlib import Path

from harness.data.reading import read_hub, read_local
from harness.data.record import Record, Row, check_records, require_columns
from harness.data.specs import REAL, DatasetSpec, Table
from harness.errors import DataError


def real_records(domain: str, data_dir: Path | None) -> list[Record]:
    """All records of a domain's public data set, in natural order.

    The ids are the same from either place. The texts are as published: nothing is stripped,
    so a HumanEval prompt keeps its last newline.

    Args:
        domain: A key of `harness.data.specs.REAL`.
        data_dir: A folder that holds the authors' files; None for the hub.

    Raises:
        DataError: A file is missing or corrupt, the hub is out of reach, or the rows are not
            as expected.
    """
    spec = REAL[domain]
    records: list[Record] = []
    for table in spec.tables:
        if data_dir is None:
            where, rows = _from_hub(spec, table)
        else:
            where, rows = _from_folder(spec, table, data_dir)
        table_records = _to_records(spec, table, where, rows)
        check_records(where, table_records)
        records += table_records
    return records


def local_layout() -> str:
    """How a local folder must be laid out, in one line."""
    return ", ".join(f"{spec.local_layout} ({domain})" for domain, spec in REAL.items())


def _from_hub(spec: DatasetSpec, table: Table) -> tuple[str, list[Row]]:
    try:
        rows = read_hub(spec.hub_id, name=table.hub_name, split=spec.split, revision=spec.revision)
    except DataError as error:
        raise DataError(
            f"{spec.title}: {error}; or use local files: "
            f"--spec-data DIR, where DIR holds {spec.local_layout}"
        ) from error
    return f"{spec.hub_id} {table.hub_name or ''}".rstrip(), rows


def _from_folder(spec: DatasetSpec, table: Table, data_dir: Path) -> tuple[str, list[Row]]:
    path = data_dir / table.local_path
    try:
        missing = "folder" if not data_dir.is_dir() else "" if path.exists() else "file"
    except OSError as error:
        raise DataError(f"{spec.title}: {path} cannot be looked for ({error})") from error
    if missing:
        raise DataError(
            f"{spec.title}: looked for {path}, but there is no such {missing}; "
            f"a data folder holds {local_layout()}"
        )
    return str(path), read_local(path, split=spec.split, field=spec.local_field)


def _to_records(spec: DatasetSpec, table: Table, where: str, rows: list[Row]) -> list[Record]:
    records = []
    for index, row in enumerate(rows):
        require_columns(where, spec.columns, row)
        try:
            prompt = spec.to_prompt(f"{table.id_prefix}/{index}", row)
        except ValueError as error:
            raise DataError(f"{where}, row {index}: {error}") from error
        records.append(Record(prompt=prompt, row=row))
    return records
