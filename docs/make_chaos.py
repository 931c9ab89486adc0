"""Writes the figures of docs/chaos.md and of the README from reports/chaos/chaos.json.

python tests/chaos/run.py     # the figures; what is lost is a defect, and ends it with exit code 1
python docs/make_chaos.py     # the page, from the committed figures
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "chaos.md"
README = ROOT / "README.md"
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


def sentence(found):
    """The sums, for those who read no more than the README."""
    sums, losses = {}, 0
    for kind, row in found["kinds"].items():
        what = kind.partition(":")[0].partition(" at ")[0]
        sums[what] = sums.get(what, 0) + row["tried"]
        losses += len(row["lost"])
    lost = "nothing was lost" if not losses else f"{losses} of these lost something"
    return (
        f"{sums['kill']:,} kills of runs at chosen and random moments, "
        f"{sums['fault of an engine']:,} faults of engines and {sums['bad input']:,} bad inputs "
        f"(changed options, journals, files of prompts, checkpoints and answers of engines): {lost}. "
        f"`{found['command']}`, {found['hardware']['cpu']}; [docs/chaos.md](docs/chaos.md) says what "
        "counts as lost, and what is not tried."
    )


def updated(text, told=table):
    """A document with the figures between its markers made anew."""
    found = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else None
    content = MISSING if found is None else told(found)
    marked = re.compile(r"(<!-- chaos -->\n).*?(<!-- /chaos -->)", re.DOTALL)
    text, count = marked.subn(lambda match: f"{match[1]}{content}\n{match[2]}", text)
    if count != 1:
        raise SystemExit("the document has no place for the figures: <!-- chaos -->")
    return text


if __name__ == "__main__":
    for document, told in ((PAGE, table), (README, sentence)):
        document.write_text(updated(document.read_text(encoding="utf-8"), told), encoding="utf-8")
