"""Writes the figures of docs/chaos.md from reports/chaos/chaos.json.

python tests/chaos/run.py     # the figures; what is lost is a defect, and ends it with exit code 1
python docs/make_chaos.py     # the page, from the committed figures
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "chaos.md"
FIGURES = ROOT / "reports" / "chaos" / "chaos.json"
MISSING = "Not measured since the code changed: `python tests/chaos/run.py` does."


def table(found):
    """What was tried of each kind, what was lost, and what that was."""
    machine = found["hardware"]
    lines = [
        f"`{found['command']}` ({machine['cpu']}, {machine['cpus']} cores; python "
        f"{found['versions']['python']}, pytest {found['versions']['pytest']}):",
        "",
        "| what goes wrong | tried | lost something |",
        "|---|---:|---:|",
    ]
    total = 0
    for kind, row in found["kinds"].items():
        total += row["tried"]
        lines.append(f"| {kind} | {row['tried']:,} | {len(row['lost'])} |")
    losses = [loss for row in found["kinds"].values() for loss in row["lost"]]
    lines += [f"| all | {total:,} | {len(losses)} |", ""]
    lines += [f"- {loss['attack']}: {' '.join(loss['lost'].split())}" for loss in losses]
    return "\n".join(lines).rstrip()


def updated(text):
    """A document with the table between its markers made anew."""
    found = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else None
    content = MISSING if found is None else table(found)
    marked = re.compile(r"(<!-- chaos -->\n).*?(<!-- /chaos -->)", re.DOTALL)
    text, count = marked.subn(lambda match: f"{match[1]}{content}\n{match[2]}", text)
    if count != 1:
        raise SystemExit("the document has no place for the figures: <!-- chaos -->")
    return text


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
