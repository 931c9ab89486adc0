"""``report.html`` and ``comparison.html``: one self-contained page of a run, or of two."""

from __future__ import annotations

from harness.report.page.browser import open_page
from harness.report.page.document import PAGE_FILE, page_html, write_page
from harness.report.page.source import PageSource

__all__ = ["PAGE_FILE", "PageSource", "open_page", "page_html", "write_page"]
