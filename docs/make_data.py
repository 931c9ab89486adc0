"""Writes the table of data sets in docs/data.md from the table that loads them.

python docs/make_data.py
"""

from __future__ import annotations

from pathlib import Path

from draftproof.data.dataset import DatasetSpec
from draftproof.data.specs import DATASETS
from draftproof.prompt_sources import PARTS

PAGE = Path(__file__).parent / "data.md"
START, END = "<!-- table: docs/make_data.py -->\n", "<!-- end of table -->"


def source(spec: DatasetSpec) -> str:
    """Where a data set is loaded from without --spec-data, and at which commit."""
    if spec.hub_id is not None:
        return f"hub `{spec.hub_id}`, `{str(spec.revision)[:7]}`"
    if spec.obtain:
        return f"a file only: {spec.obtain}"
    (table,) = spec.tables
    _, _, _, owner, repository, commit, *_ = str(table.url).split("/")
    return f"web, github.com/{owner}/{repository}, `{commit[:7]}`, by SHA-256"


def table() -> str:
    lines = [
        "| name | data set | domains | licence | without `--spec-data` | file below `--spec-data` | "
        "parts |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, spec in DATASETS.items():
        parts = ", ".join(PARTS[name]) or "–"
        if spec.default_parts:
            parts += f"; without a choice the first {len(spec.default_parts)}"
        cells = (
            f"`{name}`",
            spec.title,
            ", ".join(dict.fromkeys(spec.domains)),
            spec.licence,
            source(spec),
            f"`{spec.local_layout}`",
            parts,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def updated(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(START)
    return before + START + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
