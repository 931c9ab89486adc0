"""``draftproof schema``: the JSON schemas of what is written for programs."""

from __future__ import annotations

import argparse
from typing import Any

from draftproof.report.export.schema import SCHEMAS, schema_text


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "schema",
        help="the JSON schemas of tables, metrics, comparisons and histories",
        description="Prints a JSON schema (draft 2020-12) of what draftproof writes for programs; "
        "without NAME, lists them.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help=", ".join(SCHEMAS))


def schema(arguments: argparse.Namespace) -> str:
    """A schema, or the list of all.

    Raises:
        UsageError: There is none of that name.
    """
    if arguments.name is not None:
        return schema_text(arguments.name).rstrip("\n")
    width = max(map(len, SCHEMAS))
    return "\n".join(f"{name:<{width}}  {what}" for name, what in SCHEMAS.items())
