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

from harness.report import PAGE_FILE, PageSource, load_run, metrics_document, write_page
from harness.report.columns import CASES_FILE, write_cases
from harness.report.context import drawn_coupling
from harness.report.files import write_atomically, write_text
from harness.report.markdown import markdown_report
from harness.report.metrics_json import strict_json
from harness.report.texts import TEXTS_FILE
from harness.report.writing import METRICS_FILE, SUMMARY_FILE
from harness.statistics import study, summarise


def remake(folder: Path) -> None:
    """Writes the derived files of a report."""
    saved = load_run(folder)
    run, cases = saved.run, saved.cases
    summary, found = summarise(cases), study(cases)
    document = metrics_document(summary, found, drawn_coupling(run, cases))
    write_text(folder / METRICS_FILE, strict_json(document))
    write_text(folder / SUMMARY_FILE, markdown_report(run, summary, cases, found))
    if (folder / PAGE_FILE).exists():
        source = PageSource(run=run, cases=cases, summary=summary, study=found, texts=saved.texts)
        write_page(folder, source)


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
