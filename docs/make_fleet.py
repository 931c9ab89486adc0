"""Runs the commands of docs/fleet.md on the committed pilot, and writes what they print below them.

python docs/make_fleet.py
"""

from __future__ import annotations

import io
import os
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

from draftproof.cli import main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "fleet.md"
_BLOCK = re.compile(
    r"^```console\n\$ draftproof (?P<words>(?:[^\n]*\\\n)*[^\n]*)\n.*?^```$",
    re.DOTALL | re.MULTILINE,
)


def printed(words: str) -> str:
    """What a command prints, run in the folder of the project.

    Raises:
        ValueError: It fails.
    """
    before, out = Path.cwd(), io.StringIO()
    os.chdir(ROOT)
    try:
        with redirect_stdout(out):
            code = main(shlex.split(words.replace("\\\n", " ")))
    finally:
        os.chdir(before)
    if code:
        raise ValueError(f"draftproof {words} ended with exit code {code}")
    return out.getvalue()


def updated(text: str) -> str:
    """The page with what its commands print."""
    return _BLOCK.sub(
        lambda block: f"```console\n$ draftproof {block['words']}\n{printed(block['words'])}```",
        text,
    )


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
