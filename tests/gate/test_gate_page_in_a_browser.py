"""The comparison's page in headless Chromium: it fits, has both themes, and is silent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from page_tools import beyond, opened

from draftproof.gate import compare, measured_run, parse_gate
from draftproof.report.page.comparison import write_comparison_page

LONG = " a-token-whose-text-is-far-longer-than-any-box-on-a-phone-could-hold"


@pytest.fixture(scope="session")
def written(cases, earlier, request, tmp_path_factory):
    """A page with every part: gates, trees, a long text, and facts that differ."""
    changed = list(cases)
    columns = dict(cases[9].nodes)
    columns["token_id"] = columns["token_id"].copy()
    columns["token_id"][47] = 9
    changed[9] = replace(cases[9], nodes=columns, token_texts={9: LONG})
    run = replace(earlier.run, command=("pytest", "suites/", "--report", f"--spec-engine={LONG}"))
    gates = [parse_gate(text) for text in ("acceptance_rate:-1%", "speedup:-10%", "identical")]
    found = compare(earlier, measured_run("later", run, changed), gates)
    return write_comparison_page(tmp_path_factory.mktemp("page") / "comparison.html", found)


@pytest.fixture
def visit(browser, written):
    """Opens the page, closes it after the test, and fails where it was not silent."""
    pages, noise = [], []

    def visit(width=1280, scheme="light"):
        settings = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
        pages.append(opened(browser, written, noise, **settings))
        return pages[-1]

    yield visit
    for page in pages:
        page.context.close()
    assert noise == []


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(visit, width):
    page = visit(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert beyond(page, ".scroll, nav, .text, .skip, .row .box") == []


def test_the_trees_stand_side_by_side_and_one_below_the_other_on_a_phone(visit):
    def corners(page):
        return page.evaluate(
            """() => [...document.querySelectorAll(".outline")].map((tree) => {
                const box = tree.getBoundingClientRect();
                return { left: box.left, top: box.top, width: box.width };
            })"""
        )

    first, second = corners(visit(1280))
    assert first["top"] == second["top"]
    assert second["left"] > first["left"] + first["width"]
    first, second = corners(visit(360))
    assert first["left"] == second["left"]
    assert second["top"] > first["top"]


def test_a_row_of_the_tree_holds_what_is_in_it(visit):
    """No part of a row lies over another, on a phone and on a wide screen."""
    for width in (360, 1280):
        overlaps = visit(width).evaluate(
            """() => [...document.querySelectorAll(".row[data-node]")].filter((row) => {
                const parts = [...row.children].map((part) => part.getBoundingClientRect());
                return parts.some((part, i) => i && part.left < parts[i - 1].right - 1)
                    || parts.at(-1).right > row.getBoundingClientRect().right + 1;
            }).length"""
        )
        assert overlaps == 0


def test_light_and_dark_follow_the_system(visit):
    found = {}
    for scheme in ("light", "dark"):
        page = visit(scheme=scheme)
        found[scheme] = page.evaluate(
            """() => [document.body, document.querySelector(".row.marked"),
                document.querySelector(".outcome.fail")].map((element) => {
                const style = getComputedStyle(element);
                return [style.backgroundColor, style.color];
            })"""
        )
    assert found["light"][0][0] == "rgb(255, 255, 255)"
    assert all(light != dark for light, dark in zip(found["light"], found["dark"], strict=True))


def test_what_is_folded_opens_without_a_script(visit):
    page = visit()
    assert page.locator("script").count() == 0
    assert not page.is_visible(".same-facts")
    page.click("#runs summary")
    assert page.is_visible(".same-facts")
