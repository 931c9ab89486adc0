"""Reads a page back: its elements, its data, and the block of its tree viewer."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
from html.parser import HTMLParser

import numpy as np

from draftproof.report.page import PageSource, page_html
from draftproof.report.texts import Texts, texts_of
from draftproof.statistics import Resampling, study, summarise

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def browser_path():
    """The browser of DRAFTPROOF_CHROMIUM, or the first that is on the path."""
    return os.environ.get("DRAFTPROOF_CHROMIUM") or next(
        (found for name in BROWSERS if (found := shutil.which(name))), None
    )


def opened(browser, path, noise, **settings):
    """A page opened from its file; what it writes to the console or asks for is added to noise."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
    page = context.new_page()
    own = (path.as_uri(), "data:", "blob:")
    page.on("console", lambda message: noise.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: noise.append(f"error: {error}"))
    page.on(
        "request",
        lambda request: request.url.startswith(own) or noise.append(f"request: {request.url}"),
    )
    page.goto(path.as_uri())
    return page


def beyond(page, scrolling):
    """The elements that reach beyond the screen, those within a part that scrolls excepted."""
    return page.evaluate(
        """(scrolling) => [...document.querySelectorAll("main *, header *")].filter((element) => {
            const box = element.getBoundingClientRect();
            return box.right > innerWidth + 1 && !element.closest(scrolling);
        }).map((element) => element.outerHTML.slice(0, 120))""",
        scrolling,
    )


def make_source(run, cases, *, texts=None, resamples=200, **facts):
    """The source of a page, with few resamples."""
    resampling = Resampling(resamples=resamples)
    return PageSource(
        run=run,
        cases=cases,
        summary=summarise(cases, resampling),
        study=study(cases, resampling, is_drawn_chain=run.is_drawn_chain),
        texts=texts or texts_of(cases) or Texts(),
        **facts,
    )


class Page(HTMLParser):
    """The elements of a page and the text of those with an id, scripts and style included."""

    def __init__(self, html):
        super().__init__()
        self.html = html
        self.elements = []
        self.text = {}
        self._open = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "input", "path", "circle"):
            self._open.append((tag, dict(attributes).get("id")))

    def handle_endtag(self, tag):
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for _, name in self._open:
            if name:
                self.text[name] = self.text.get(name, "") + data

    def attributes(self, name):
        """Every value of an attribute."""
        return [found[name] for _, found in self.elements if name in found]

    @property
    def data(self):
        """What the charts are drawn from."""
        return json.loads(self.text["data"])

    @property
    def figures(self):
        """The data of each figure by its key."""
        return {figure["key"]: figure for figure in self.data["figures"]}

    @property
    def trees(self):
        """The header and the columns of the viewer's block."""
        return read_block(base64.b64decode(self.text["trees"]))


def make_page(*arguments, **options):
    """The page of a run."""
    return Page(page_html(make_source(*arguments, **options)))


def read_block(data):
    """The header and the columns of a viewer's block, as the viewer reads them."""
    raw = gzip.decompress(data)
    length = int(np.frombuffer(raw, "<u4", 1)[0])
    header = json.loads(raw[4 : 4 + length])
    offset, columns = 4 + length, {}
    for column in header["columns"]:
        dtype = np.dtype("<" + column["type"])
        columns[column["name"]] = np.frombuffer(raw, dtype, column["rows"], offset)
        offset += dtype.itemsize * column["rows"]
    assert offset == len(raw)
    return header, columns
