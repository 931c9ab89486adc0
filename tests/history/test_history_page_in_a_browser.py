"""The page of a history in headless Chromium: its charts are drawn, fit, and need no network."""

from __future__ import annotations

import pytest
from history_entries import entry, line
from page_tools import beyond, opened

from draftproof.history.trend import trend
from draftproof.report.page.history import write_history_page


@pytest.fixture
def visit(browser, tmp_path):
    """Opens the page of a history, and closes it after the test."""
    pages, noise = [], []

    def visit(values, found=None, **settings):
        found = found or trend(line(values, speedup=1.5), "block_efficiency")
        path = write_history_page(tmp_path / "history.html", found, (), "draftproof history")
        page = opened(browser, path, noise, **settings)
        page.wait_for_selector("html[data-charts=drawn]", timeout=60_000)
        pages.append(page)
        return page

    yield visit
    for page in pages:
        page.context.close()
    assert noise == []


STEP = [3.0 + 0.01 * (number % 3) for number in range(20)] + [
    2.4 + 0.01 * (n % 3) for n in range(20)
]


def test_every_run_is_drawn(visit):
    page = visit(STEP)
    for chart in page.locator(".plot svg").all():
        assert chart.locator("path").count() >= len(STEP)


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(visit, width):
    assert beyond(visit(STEP, viewport={"width": width, "height": 800}), ".scroll") == []


def test_runs_that_were_not_tested_are_rings_beside_the_others(visit):
    found = trend([*line([3.0] * 4), entry(4, 3.0, dirty=True)], "block_efficiency")
    page = visit(STEP[:3], found=found)
    [chart, *_] = page.locator(".plot svg").all()
    filled = [path.get_attribute("fill") for path in chart.locator(".mark-symbol path").all()]
    assert len(filled) == 5
    assert filled.count("transparent") == 1


def test_one_run_alone_is_a_page_too(visit):
    assert visit([3.0]).locator(".plot").count() > 0
