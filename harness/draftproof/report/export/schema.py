"""The JSON schemas of everything that is written for programs, as they come with the package."""

from __future__ import annotations

from importlib.resources import files

from draftproof.errors import unknown_value

SCHEMAS = {
    "tables": "all tables of a report: draftproof report REPORT --tables FILE",
    "metrics": "metrics.json of a report, and draftproof report REPORT --json",
    "comparison": "comparison.json of a report, and draftproof compare --json",
    "history": "a line of history.jsonl, which --spec-save adds to",
    "trend": "draftproof history --json",
}
"""What each schema describes."""


def schema_text(name: str) -> str:
    """A schema (JSON Schema, draft 2020-12).

    Raises:
        UsageError: There is none of that name.
    """
    if name not in SCHEMAS:
        raise unknown_value("draftproof schema", name, SCHEMAS)
    place = files("draftproof.report.export") / "schemas" / f"{name}.json"
    return place.read_text(encoding="utf-8")
