"""``draftproof docs``: the documents, which come with the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from draftproof.assets import documents
from draftproof.errors import unknown_value


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof docs``."""
    parser = commands.add_parser(
        "docs",
        help="the documents: their list, or one of them",
        description="Prints a document that came with the package; without PAGE, lists them.",
    )
    parser.add_argument(
        "page", metavar="PAGE", nargs="?", help="its name, such as verify or docs/verify.md"
    )
    parser.add_argument("--path", action="store_true", help="print where its file lies instead")


def docs(arguments: argparse.Namespace) -> str:
    """A document's text or its path, or the list of all.

    Raises:
        UsageError: There is no such document.
    """
    pages = documents()
    if arguments.page is None:
        width = max(map(len, pages))
        lines = [
            f"{name:<{width}}  {path if arguments.path else _title(path)}"
            for name, path in pages.items()
        ]
        return "\n".join(lines)
    name = arguments.page.lower().removeprefix("docs/").removesuffix(".md")
    if name not in pages:
        raise unknown_value("draftproof docs", arguments.page, pages)
    if arguments.path:
        return str(pages[name])
    return pages[name].read_text(encoding="utf-8").rstrip("\n")


def _title(path: Path) -> str:
    """The first heading of a page."""
    with path.open(encoding="utf-8") as lines:
        return next((line[2:].strip() for line in lines if line.startswith("# ")), path.stem)
