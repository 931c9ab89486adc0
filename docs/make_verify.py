"""Writes the tables of docs/verify.md: the kit's checks, and the committed certificates.

python docs/make_verify.py
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from draftproof.conformance.kit import CHECKS

DOCUMENT = Path(__file__).parent / "verify.md"
CERTIFICATES = Path(__file__).parent.parent / "reports" / "certificates"
LAWS = ("law of the output", "law of the output under filters")


def checks() -> str:
    """What the kit checks."""
    rows = ["| check | what must hold |", "|---|---|"]
    for name, check in CHECKS.items():
        rows.append(f"| {name} | {str(check.__doc__).strip().splitlines()[0]} |")
    return "\n".join(rows)


def certificates() -> str:
    """A row for each committed certificate, with what failed."""
    rows = [
        "| certificate | judge | passed, failed, not available | greedy outputs (parted by rounding) | "
        "drawn tokens | caught share | failed checks |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for path in sorted(CERTIFICATES.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        by_name = {check["name"]: check for check in found["checks"]}
        counts = Counter(check["status"] for check in found["checks"])
        greedy = [check for check in found["checks"] if check["name"] not in LAWS]
        laws = [by_name[name]["facts"] for name in LAWS if name in by_name]
        tokens = sum(sum(law["tokens"].values()) for law in laws if law)
        shares = [law["contamination"] for law in laws if law and law["contamination"]]
        failed = [check["name"] for check in found["checks"] if check["status"] == "failed"]
        rows.append(
            f"| [{path.stem}](../reports/certificates/{path.stem}.md) "
            f"| {found['models']['target']['dtype']} "
            f"| {counts['passed']}, {counts['failed']}, {counts['not available']} "
            f"| {_sum(greedy, 'outputs')} ({_sum(greedy, 'numerical')}) "
            f"| {tokens or '–'} | {', '.join(f'{share:.3f}' for share in shares) or '–'} "
            f"| {', '.join(failed) or '–'} |"
        )
    return "\n".join(rows)


def _sum(found: list[dict[str, Any]], key: str) -> int:
    return sum(check[key] for check in found)


def updated(text: str) -> str:
    """The page with its tables as the code and the certificates have them."""
    for name, table in (("checks", checks()), ("certificates", certificates())):
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        text = re.sub(
            f"({begin}).*?({end})",
            lambda match, table=table: match[1] + table + match[2],
            text,
            flags=re.DOTALL,
        )
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
