"""Reports of runs: written when they end, read back later, printed in the terminal.

Needs neither torch nor transformers; pyarrow is imported when a Parquet file is written or read.
"""

from __future__ import annotations

from draftproof.files import new_report_directory, point_latest, require_folder
from draftproof.report.context import failure_lines
from draftproof.report.metrics_json import metrics_document
from draftproof.report.page import PAGE_FILE, PageSource, open_page, write_page
from draftproof.report.reading import JOURNAL_FILE, SavedRun, load_run
from draftproof.report.run_info import RunInfo
from draftproof.report.terminal import terminal_report
from draftproof.report.writing import Report, write_report

__all__ = [
    "JOURNAL_FILE",
    "PAGE_FILE",
    "PageSource",
    "Report",
    "RunInfo",
    "SavedRun",
    "failure_lines",
    "load_run",
    "metrics_document",
    "new_report_directory",
    "open_page",
    "point_latest",
    "require_folder",
    "terminal_report",
    "write_page",
    "write_report",
]
