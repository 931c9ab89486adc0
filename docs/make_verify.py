"""Writes the table of the conformance kit's checks into docs/verify.md: python docs/make_verify.py."""

import re
from pathlib import Path

from harness.conformance.kit import CHECKS

DOCUMENT = Path(__file__).parent / "verify.md"


def updated(text):
    """The page with the table as the code has it."""
    rows = ["| check | what must hold |", "|---|---|"]
    for name, check in CHECKS.items():
        rows.append(f"| {name} | {check.__doc__.strip().splitlines()[0]} |")
    return re.sub(
        r"(<!-- checks -->\n).*?(<!-- end of checks -->)",
        lambda match: match[1] + "\n".join(rows) + "\n" + match[2],
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
