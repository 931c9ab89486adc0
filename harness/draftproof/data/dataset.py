"""What a public data set is: where it lies, and how a row becomes a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from draftproof.data.prompt import Prompt
from draftproof.data.record import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of a data set.

    Attributes:
        local_path: Its file below the local folder, with ``/``.
        id_prefix: What the ids by position start with.
        hub_name: Its configuration on the hub; None for the only one.
        part: The part of ``--spec-prompts`` that it is; None if it is no part of its own.
        url: The authors' file at a commit, for a table that is not on the hub.
        sha256: Of that file.
    """

    local_path: str
    id_prefix: str
    hub_name: str | None = None
    part: str | None = None
    url: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """A public data set.

    Attributes:
        name: Its name in ``--spec-prompts``.
        title: Its name in messages and documents.
        domains: Every domain that its prompts may have.
        licence: As its authors state it.
        hub_id: Its repository on the hub; None if it is read from `Table.url` or a folder only.
        revision: The commit to load from the hub; None takes the current one.
        split: Always named: left out, a bare file becomes ``train`` whatever it holds.
        columns: What `to_prompt` reads; a row without them is refused.
        tables: In natural order.
        to_prompt: Makes a prompt from an id by position (the table's `id_prefix`, ``/`` and
            the row's position from 0), for rows that have none of their own, and the row;
            raises ValueError, saying what is wrong with the row.
        turns: Everything the user says in a row, for a data set of conversations; else None.
        part_of: The part that a row belongs to, where a table holds several.
        default_parts: The parts taken where none is named; empty for all.
        local_field: The key of the list of rows, where a local file is one JSON object.
            Without it such a file loads without complaint, as a single row.
        obtain: How to get the local file, where it cannot be downloaded as it is.
    """

    name: str
    title: str
    domains: tuple[str, ...]
    licence: str
    split: str
    columns: tuple[str, ...]
    tables: tuple[Table, ...]
    to_prompt: Callable[[str, Row], Prompt]
    hub_id: str | None = None
    revision: str | None = None
    turns: Callable[[Row], list[str]] | None = None
    part_of: Callable[[Row], str] | None = None
    default_parts: tuple[str, ...] = ()
    local_field: str | None = None
    obtain: str = ""

    @property
    def local_layout(self) -> str:
        """How the local files are named, for messages."""
        paths = [table.local_path for table in self.tables]
        if len(paths) == 1:
            return paths[0]
        folder, _, name = paths[0].rpartition("/")
        return f"{folder}/TASK.{name.rpartition('.')[2]}"
