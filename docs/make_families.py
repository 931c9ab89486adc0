"""Writes the tables of model families into docs/models.md.

    python docs/make_families.py

They are made from tests/families.py, the list that the tests run on.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "models.md"
sys.path.insert(0, str(PAGE.parent.parent / "tests"))

from families import REFUSED, WORKING  # noqa: E402

from draftproof.errors import ModelError  # noqa: E402
from draftproof.models.hugging_face import HuggingFaceLM  # noqa: E402

BEGIN, END = "<!-- families -->", "<!-- end of families -->"


def architecture(family):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM._model_mapping[type(family.config())].__name__


def working_table():
    rows = ["| family | architecture | attention | remarks |", "|---|---|---|---|"]
    for family in WORKING:
        attention = ", ".join(family.implementations())
        rows.append(f"| {family.name} | `{architecture(family)}` | {attention} | {family.facts} |")
    return "\n".join(rows)


def reason(family):
    """What a user is told."""
    try:
        HuggingFaceLM(family.model())
    except ModelError as error:
        return str(error).partition(" ")[2].partition(";")[0]
    raise AssertionError(f"{family.name} is not refused")


def refused_table():
    rows = [
        f"| {family.name} | `{architecture(family)}` | {reason(family)} |" for family in REFUSED
    ]
    return "\n".join(["| family | architecture | refused, because it |", "|---|---|---|", *rows])


def updated(text):
    """The page with both tables as they are now."""
    tables = f"{BEGIN}\n{working_table()}\n\n{refused_table()}\n{END}"
    return re.sub(f"{BEGIN}.*{END}", lambda match: tables, text, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
