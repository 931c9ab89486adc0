"""The built-in prompt sets, written for this project: no network, no other library."""

from __future__ import annotations

import json

from harness.assets import asset_path
from harness.data.prompt import Prompt
from harness.data.record import Record, Row, check_records, require_columns, text_in
from harness.errors import DataError

COLUMNS = ("prompt_id", "domain", "text", "answer")
"""The keys of every line of ``fixtures/prompts/DOMAIN.jsonl``; only the answer may be null."""


def builtin_records(domain: str) -> list[Record]:
    """The built-in prompts of a domain, in the order of their file.

    Args:
        domain: One of `harness.data.prompt.DOMAINS`.

    Raises:
        DataError: The file is missing, empty or not laid out as `COLUMNS` says.
    """
    path = asset_path("prompts", f"{domain}.jsonl")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    records = [
        _record(f"{path}, line {number}", domain, line)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    check_records(str(path), records)
    return records


def _record(where: str, domain: str, line: str) -> Record:
    try:
        row: Row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error})") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, found {type(row).__name__}")
    require_columns(where, COLUMNS, row)
    try:
        prompt = Prompt(
            prompt_id=text_in(row, "prompt_id"),
            domain=text_in(row, "domain"),
            text=text_in(row, "text"),
            answer=None if row["answer"] is None else text_in(row, "answer"),
        )
    except ValueError as error:
        raise DataError(f"{where}: {error}") from error
    if prompt.domain != domain:
        raise DataError(f"{where}: domain '{prompt.domain}' in the file of '{domain}'")
    return Record(prompt=prompt, row=row)
