"""Makes what is derived of reports again from their raw facts: the figures, the text, the page.

    python reports/remake.py [--without-text] FOLDER...

For after a change of the statistics or of the layout. What the run was stays as it is, and so do
the raw facts. The page is made again where there is one. With --without-text the text of outputs is
taken out: for a copy, to be committed, of a run on a data set, whose text outputs may repeat.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from draftproof.files import write_atomically
from draftproof.report import PAGE_FILE, load_run
from draftproof.report.columns import CASES_FILE, write_cases
from draftproof.report.texts import TEXTS_FILE
from draftproof.report.writing import write_derived


def remake(folder: Path) -> None:
    """Writes the derived files of a report."""
    saved = load_run(folder)
    with_page = (folder / PAGE_FILE).exists()
    report = write_derived(folder, saved.run, saved.cases, saved.texts, with_page=with_page)
    if report.problem:
        raise SystemExit(report.problem)


def take_text_out(folder: Path) -> None:
    """Leaves token ids of outputs, and of messages the first line, which quotes none."""
    cases = [
        replace(case, message=case.message.partition("\n")[0]) for case in load_run(folder).cases
    ]
    write_atomically(folder / CASES_FILE, partial(write_cases, cases=cases))
    (folder / TEXTS_FILE).unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--without-text", action="store_true", help="take outputs' text out")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if arguments.without_text:
            take_text_out(folder)
        remake(folder)
