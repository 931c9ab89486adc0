"""Prompts from a file of one's own: JSON Lines, whose columns the user names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from draftproof.data.json_lines import read_json_lines
from draftproof.data.prompt import SCORINGS, Prompt
from draftproof.data.record import Record, Row, check_records, text_in
from draftproof.data.rows import turns
from draftproof.errors import DataError
from draftproof.prompt_sources import COLUMN_KEYS, OWN_PROMPTS
from draftproof.scoring.number import parse_number

_WORD = re.compile(r"[\w .+-]{1,64}")


def own_records(path: Path, columns: Mapping[str, str]) -> list[Record]:
    """The prompts of a file, in its order.

    Args:
        path: One JSON object a line.
        columns: The column for each of `COLUMN_KEYS`; one that is not named has the key's own name
            if the file has such a column:

            - ``prompt``: what the user says; or ``turns``: a list of it, one text a turn.
            - ``answer``: the reference answer; a number is read as a number.
            - ``scoring``: how to compare with it, one of `draftproof.data.prompt.SCORINGS`; without
              the column, ``number`` for an answer that is one, else ``label``.
            - ``domain``: ``code``, ``math``, ``logic``, ``chat`` or a word of one's own; ``own``
              without the column.
            - ``id``: unique in the file; the row's position from 0 without the column.

    Raises:
        DataError: The file cannot be read, or a row is not as said; the message names the line.
    """
    rows = read_json_lines(path)
    found = {name for _, row in rows for name in row}
    for key, column in columns.items():
        if column not in found:
            raise DataError(
                f"--spec-columns {key}={column}: {path} has no column '{column}'; "
                f"its columns are {', '.join(sorted(found)) or 'none'}"
            )
    present = {key: columns.get(key, key) for key in COLUMN_KEYS if columns.get(key, key) in found}
    if rows and not {"prompt", "turns"} & set(present):
        raise DataError(
            f"{path}: no column 'prompt'; found {', '.join(sorted(found))}; name the right one "
            "with --spec-columns, for example prompt=question"
        )
    records = []
    for index, (where, row) in enumerate(rows):
        named = {key: row[column] for key, column in present.items() if column in row}
        try:
            records.append(_record(index, named, row))
        except ValueError as error:
            raise DataError(f"{where}: {error}") from error
    check_records(str(path), records)
    return records


def _record(index: int, named: Mapping[str, object], row: Row) -> Record:
    if named.get("turns") is not None:
        said = turns(named)
    elif "prompt" in named:
        said = [text_in(named, "prompt")]
    else:
        raise ValueError("no 'prompt' in this line")
    domain = _word(named, "domain", OWN_PROMPTS)
    answer = _answer(named)
    scoring = None
    if answer is not None:
        scoring = _scoring(named, answer)
    elif named.get("scoring") is not None:
        raise ValueError("'scoring' without an 'answer'")
    prompt = Prompt(
        prompt_id=f"{OWN_PROMPTS}/{domain}/{_word(named, 'id', str(index))}",
        domain=domain,
        text=said[0],
        answer=answer,
        scoring=scoring,
    )
    return Record(prompt=prompt, row=row, turns=tuple(said))


def _answer(named: Mapping[str, object]) -> str | None:
    answer = named.get("answer")
    if answer is None or isinstance(answer, str):
        return answer
    if isinstance(answer, bool) or not isinstance(answer, (int, float)):
        raise ValueError(f"'answer' is {type(answer).__name__}, expected text or a number")
    return repr(answer)


def _scoring(named: Mapping[str, object], answer: str) -> str:
    scoring = named.get("scoring")
    if scoring is None:
        return "label" if parse_number(answer) is None else "number"
    if scoring not in SCORINGS:
        raise ValueError(f"'scoring' is '{scoring}', expected one of {', '.join(SCORINGS)}")
    if scoring == "number" and parse_number(answer) is None:
        raise ValueError(f"the answer '{answer}' is not a number")
    return str(scoring)


def _word(named: Mapping[str, object], key: str, default: str) -> str:
    value = named.get(key)
    if value is None:
        return default
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _WORD.fullmatch(text):
        raise ValueError(
            f"'{key}' is {value!r}, expected up to 64 letters, digits, spaces or . _ + -"
        )
    return text
