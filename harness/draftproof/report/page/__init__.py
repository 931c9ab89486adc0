"""``report.html`` and ``comparison.html``: one self-contained page of a run, or of two."""

from __future__ import annotations

from draftproof.report.page.browser import open_page
from draftproof.report.page.document import PAGE_FILE, page_html, write_page
from draftproof.report.page.source import PageSource

__all__ = ["PAGE_FILE", "PageSource", "open_page", "page_html", "write_page"]
