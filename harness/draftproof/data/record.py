"""A prompt together with the row it was made from, and what must hold of a set of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from draftproof.data.prompt import Prompt
from draftproof.errors import DataError

Row = Mapping[str, object]
"""One row of a data set: column name to value, as the file or the hub gave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A prompt and its whole row.

    Attributes:
        prompt: What a suite runs.
        row: Every column of the data set, for scoring: HumanEval's rows also hold
            ``entry_point``, ``canonical_solution`` and ``test``.
        turns: Everything the user says, for a conversation; its first is the prompt's text.
    """

    prompt: Prompt
    row: Row
    turns: tuple[str, ...] = ()


def require_columns(where: str, expected: Iterable[str], found: Iterable[str]) -> None:
    """Refuses rows that lack a column.

    Args:
        where: The file or data set that was read, for the message.
        expected: The columns that prompts are made from.
        found: The columns that are there.

    Raises:
        DataError: At least one expected column is not there.
    """
    expected, found = list(expected), list(found)
    missing = [name for name in expected if name not in found]
    if missing:
        raise DataError(
            f"{where}: no {_named(missing)}; expected {', '.join(expected)}; "
            f"found {', '.join(found) or 'none'}"
        )


def check_records(where: str, records: Sequence[Record]) -> None:
    """Refuses records that no suite could run.

    Args:
        where: The file or data set that was read, for the messages.
        records: All records of one domain.

    Raises:
        DataError: There is no record, a text is blank, or a prompt id occurs twice.
    """
    if not records:
        raise DataError(f"{where}: the data set is empty, so there is no prompt to run")
    seen: set[str] = set()
    for record in records:
        prompt_id = record.prompt.prompt_id
        if not record.prompt.text.strip():
            raise DataError(f"{where}: the text of prompt {prompt_id} is empty")
        if prompt_id in seen:
            raise DataError(f"{where}: the prompt id {prompt_id} occurs twice; ids must be unique")
        seen.add(prompt_id)


def text_in(row: Row, column: str) -> str:
    """The text in a column of a row, unchanged.

    Raises:
        ValueError: The value is not text. Nothing is converted: a reader that guessed a
            number or a date has already lost the original spelling.
    """
    value = row[column]
    if not isinstance(value, str):
        raise ValueError(f"'{column}' is {type(value).__name__}, expected text")
    return value


def _named(columns: Sequence[str]) -> str:
    quoted = ", ".join(f"'{name}'" for name in columns)
    return f"column {quoted}" if len(columns) == 1 else f"columns {quoted}"
