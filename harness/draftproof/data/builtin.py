"""The built-in prompt sets, written for this project: no network, no other library."""

from __future__ import annotations

from draftproof.assets import asset_path
from draftproof.data.json_lines import read_json_lines
from draftproof.data.prompt import Prompt
from draftproof.data.record import Record, Row, check_records, require_columns, text_in
from draftproof.errors import DataError

COLUMNS = ("prompt_id", "domain", "text", "answer")
"""The keys of every line of ``fixtures/prompts/DOMAIN.jsonl``; only the answer may be null."""

SCORING = {"code": "label", "math": "number", "logic": "label", "chat": "label"}
"""How the answers of each domain are compared; only math and logic have any."""


def builtin_records(domain: str) -> list[Record]:
    """The built-in prompts of a domain, in the order of their file.

    Args:
        domain: One of `draftproof.data.prompt.DOMAINS`.

    Raises:
        DataError: The file is missing, empty or not laid out as `COLUMNS` says.
    """
    path = asset_path("prompts", f"{domain}.jsonl")
    records = [_record(where, domain, row) for where, row in read_json_lines(path)]
    check_records(str(path), records)
    return records


def _record(where: str, domain: str, row: Row) -> Record:
    require_columns(where, COLUMNS, row)
    try:
        prompt = Prompt(
            prompt_id=text_in(row, "prompt_id"),
            domain=text_in(row, "domain"),
            text=text_in(row, "text"),
            answer=None if row["answer"] is None else text_in(row, "answer"),
            scoring=None if row["answer"] is None else SCORING[domain],
        )
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if prompt.domain != domain:
        raise DataError(f"{where}: domain '{prompt.domain}' in the file of '{domain}'")
    return Record(prompt=prompt, row=row)
