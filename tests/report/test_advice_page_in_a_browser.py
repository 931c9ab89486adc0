"""The page of an advice in headless Chromium: its sweep, and the what-if of another cost ratio."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from made_advice import advised, costs, recording
from page_tools import beyond, opened

from draftproof.replay.candidates import Candidate
from draftproof.report.page.sweep import sweep_html, write_sweep_page
from draftproof.shapes import StaticShape


@pytest.fixture(scope="module")
def advice():
    domains = {"sure": (0.9, 0.05, 0.05), "unsure": (0.45, 0.5, 0.05)}
    return advised(recording(domains), costs(2.0))


@pytest.fixture
def visit(browser, advice, tmp_path):
    """Opens the page of an advice, and closes it after the test."""
    pages, noise = [], []

    def visit(made=advice, **settings):
        path = write_sweep_page(tmp_path / "advice.html", made)
        pages.append(opened(browser, path, noise, **settings))
        return pages[-1]

    yield visit
    for page in pages:
        page.context.close()
    assert noise == []


def fastest(page, domain):
    """The speedup that the caption of a domain names, and the advised setting's where it is."""
    said = page.locator(f"[data-best={domain}]").text_content()
    return [float(each) for each in re.findall(r"\d+\.\d\d", said)]


def test_each_domain_is_drawn_with_a_ring_around_what_is_advised(visit, advice):
    page = visit()
    for each in advice.domains:
        chart = page.locator(f"[data-domain={each.domain}]")
        assert chart.locator(".point").count() == len(each.points.candidates)
        assert chart.locator(".chosen").count() == 1
        assert each.advised.candidate in each.points.candidates
        assert fastest(page, each.domain)[0] == round(each.points.speedups().max(), 2)


def test_the_interval_is_that_of_what_is_advised(advice):
    for each, given in zip(advice.domains, page_data(advice)["domains"], strict=True):
        speedup = each.advised.speedup
        assert (given["low"], given["high"]) == (speedup.low, speedup.high)
        assert given["low"] < given["high"]


def page_data(advice):
    """What the page's script is given."""
    [text] = re.findall(
        r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', sweep_html(advice), re.DOTALL
    )
    return json.loads(text)


def test_a_setting_that_is_advised_as_for_all_has_its_ring_too(visit):
    """Domains that are alike are given one setting, which none of them would have chosen."""
    alike = dict.fromkeys(("a", "bb", "ccc", "dddd"), (0.5, 0.3, 0.2))
    made = advised(recording(alike), costs(0.5))
    assert any(each.is_single for each in made.domains)
    page = visit(made)
    assert page.locator(".chosen").count() == len(made.domains)


@pytest.mark.parametrize("steps", [-2, 3])
def test_the_slider_prices_every_setting_again(visit, advice, steps):
    page = visit()
    page.locator("#factor").evaluate(
        f"slider => {{ slider.value = {steps}; slider.dispatchEvent(new Event('input')) }}"
    )
    assert float(page.locator("#shown").text_content()) == 2.0**steps
    ratio = advice.domains[0].points.cost_ratios["draft"] * 2.0**steps
    assert f"cost ratio {ratio:.3f}" in page.locator("#ratios").text_content()
    for each in advice.domains:
        priced = each.points.speedups(2.0**steps)
        titles = page.locator(f"[data-domain={each.domain}] .point title").all_text_contents()
        shown = [float(re.search(r"speedup (\d+\.\d\d)", title)[1]) for title in titles]
        assert shown == pytest.approx(priced.tolist(), abs=0.0051)
        if priced.max() > 1:
            assert fastest(page, each.domain)[0] == pytest.approx(priced.max(), abs=0.0051)
    page.locator("#measured").click()
    assert page.locator("#shown").text_content() == "1.00"


def test_where_nothing_pays_the_page_says_so(visit, advice):
    page = visit(advised(recording({"hard": (0.05, 0.05, 0.9)}), costs(9.0)))
    said = page.locator("[data-best=hard]").text_content()
    assert said.startswith("At this cost nothing is faster than plain decoding.")


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(visit, advice, width):
    """Not even with a long name, or a tree of many nodes."""
    name = "models/a-draft-model-of-a-long-name-indeed-instruct-q4_k_m.gguf"
    [first, *others] = advice.domains
    tree = StaticShape(tuple((rank,) for rank in range(8)))
    promise = replace(first.advised, candidate=Candidate(draft=name, shape=tree))
    made = replace(advice, domains=(replace(first, advised=promise), *others))
    page = visit(made, viewport={"width": width, "height": 800})
    assert beyond(page, ".scroll") == []
