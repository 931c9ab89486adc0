"""The records of a public data set, from the hub, the authors' place, or a local folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from draftproof.data.dataset import DatasetSpec, Table
from draftproof.data.origin import Origin
from draftproof.data.reading import read_hub, read_local, read_web
from draftproof.data.record import Record, Row, check_records, require_columns
from draftproof.data.specs import DATASETS
from draftproof.errors import DataError, UsageError
from draftproof.prompt_sources import REAL, Choice


def real_records(choice: Choice, data_dir: Path | None) -> tuple[list[Record], list[Origin]]:
    """All records of a public data set, in natural order, and where each table came from.

    The ids are the same from either place. The texts are as published: nothing is stripped,
    so a HumanEval prompt keeps its last newline.

    Args:
        choice: A data set of `DATASETS`, its parts and its revision.
        data_dir: A folder that holds the authors' files; None for the hub.

    Raises:
        DataError: A file is missing or corrupt, the hub is out of reach, or the rows are not
            as expected.
        UsageError: A revision is given for what is not on the hub.
    """
    spec = DATASETS[choice.name]
    if choice.revision is not None and (spec.hub_id is None or data_dir is not None):
        raise UsageError(
            f"--spec-prompts: {choice.name} is not read from the hub here, so it has no revision "
            f"'{choice.revision}'"
        )
    parts = choice.parts or spec.default_parts
    records: list[Record] = []
    origins: list[Origin] = []
    for table in spec.tables:
        if parts and table.part is not None and table.part not in parts:
            continue
        if data_dir is None:
            origin, rows = _from_afar(spec, table, choice.revision or spec.revision)
        else:
            origin, rows = _from_folder(spec, table, data_dir)
        table_records = _to_records(spec, table, origin.place, rows)
        check_records(origin.place, table_records)
        records += _of_parts(spec, parts, table_records)
        origins.append(origin)
    check_records(spec.title, records)
    return records, origins


def local_layout() -> str:
    """How a local folder must be laid out for the data sets of ``real``, in one line."""
    specs = (DATASETS[name] for name in REAL)
    return ", ".join(f"{spec.local_layout} ({spec.domains[0]})" for spec in specs)


def _from_afar(spec: DatasetSpec, table: Table, revision: str | None) -> tuple[Origin, list[Row]]:
    try:
        if spec.hub_id is not None:
            rows, commit = read_hub(
                spec.hub_id, name=table.hub_name, split=spec.split, revision=revision
            )
            place = f"{spec.hub_id} {table.hub_name or ''}".rstrip()
            return Origin(dataset=spec.name, place=place, revision=commit), rows
        if table.url is None or table.sha256 is None:
            raise DataError(f"it is read from a local file only: {spec.obtain}")
        rows = read_web(table.url, sha256=table.sha256, split=spec.split)
        return Origin(dataset=spec.name, place=table.url, sha256=table.sha256), rows
    except DataError as error:
        raise DataError(
            f"{spec.title}: {error}; or use local files: "
            f"--spec-data DIR, where DIR holds {spec.local_layout}"
        ) from error


def _from_folder(spec: DatasetSpec, table: Table, data_dir: Path) -> tuple[Origin, list[Row]]:
    path = data_dir / table.local_path
    try:
        missing = "folder" if not data_dir.is_dir() else "" if path.exists() else "file"
    except OSError as error:
        raise DataError(f"{spec.title}: {path} cannot be looked for ({error})") from error
    if missing:
        holds = local_layout() if spec.name in REAL else spec.local_layout
        raise DataError(
            f"{spec.title}: looked for {path}, but there is no such {missing}; "
            f"a data folder holds {holds}" + (f" ({spec.obtain})" if spec.obtain else "")
        )
    rows = read_local(path, split=spec.split, field=spec.local_field)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Origin(dataset=spec.name, place=str(path), sha256=digest), rows


def _to_records(spec: DatasetSpec, table: Table, where: str, rows: list[Row]) -> list[Record]:
    records = []
    for index, row in enumerate(rows):
        require_columns(where, spec.columns, row)
        try:
            prompt = spec.to_prompt(f"{table.id_prefix}/{index}", row)
            said = () if spec.turns is None else tuple(spec.turns(row))
        except ValueError as error:
            raise DataError(f"{where}, row {index}: {error}") from error
        records.append(Record(prompt=prompt, row=row, turns=said))
    return records


def _of_parts(spec: DatasetSpec, parts: tuple[str, ...], records: list[Record]) -> list[Record]:
    if spec.part_of is None or not parts:
        return records
    return [record for record in records if spec.part_of(record.row) in parts]
