"""The page in headless Chromium: it draws, steps, fits and asks for nothing."""

from __future__ import annotations

import csv
import io
import shlex
from dataclasses import replace

import numpy as np
import pytest
from page_tools import beyond, make_source, opened

from draftproof.report import write_page
from draftproof.report.page.failures import viewer_link
from draftproof.trace import Fork, Verdict

FIGURES = 10
NODES = 14


@pytest.fixture(scope="module")
def cases(make_cases):
    named = []
    for case in make_cases(prompts=24, steps=6):
        ids = {*case.nodes["token_id"].tolist(), *case.speculative.token_ids}
        texts = {token: f" w{token}" for token in ids}
        named.append(replace(case, token_texts=texts, prompt_text=f"Prompt of {case.case_id}."))
    return named


@pytest.fixture(scope="module")
def written(tmp_path_factory, cases, run_facts):
    return write_page(tmp_path_factory.mktemp("page"), make_source(run_facts, cases))


def drawn(browser, path, noise, **settings):
    """A page whose charts are drawn; what it writes to the console or asks for is noise."""
    page = opened(browser, path, noise, **settings)
    page.wait_for_selector("html[data-charts=drawn]", timeout=60_000)
    return page


@pytest.fixture
def visit(browser, written):
    """Opens a page, and closes it after the test."""
    pages, noise = [], []

    def visit(path=written, **settings):
        pages.append(drawn(browser, path, noise, **settings))
        return pages[-1]

    yield visit
    for page in pages:
        page.context.close()
    assert noise == []


@pytest.fixture(scope="module")
def shared(browser, written):
    """The page on a wide screen, for tests that leave it as it was but for the viewer's place."""
    noise = []
    page = drawn(browser, written, noise)
    yield page
    page.context.close()
    assert noise == []


def in_order(cases):
    """The cases as the viewer lists them."""
    domains = ("code", "math", "logic", "chat")
    return sorted(cases, key=lambda case: (domains.index(case.domain), case.case_id))


def test_every_plot_is_drawn_with_marks_from_its_data(shared):
    page = shared
    drawn = page.evaluate(
        """() => [...document.querySelectorAll("[data-figure]")].map((place) => ({
            key: place.dataset.figure,
            marks: place.querySelectorAll(
                ".mark-symbol path, .mark-rect path, .mark-text text").length,
            width: place.querySelector("svg").getBoundingClientRect().width,
            room: place.getBoundingClientRect().width,
            text: place.querySelector("svg").textContent,
        }))"""
    )
    assert len(drawn) == FIGURES
    rows = page.evaluate("Object.fromEntries(page.data.figures.map((f) => [f.key, f.rows.length]))")
    for figure in drawn:
        assert figure["marks"] >= rows[figure["key"]], figure
        assert 250 < figure["width"] <= figure["room"] + 1, figure
        assert "NaN" not in figure["text"], figure
        assert "undefined" not in figure["text"], figure


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(visit, width):
    page = visit(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert beyond(page, ".scroll, .tree, nav, .text, .skip") == []
    # What scrolls by itself, such as the tree on a phone, fits where it can.
    assert page.evaluate(
        "(tree => tree.scrollWidth <= tree.clientWidth)(document.getElementById('tree'))"
    )


def test_light_and_dark_follow_the_system_and_the_button(visit):
    colours = {}
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        other = "dark" if scheme == "light" else "light"
        page.wait_for_function(
            """(name) => [...document.querySelectorAll("[data-figure]")]
                .every((place) => place.dataset.drawn === name)""",
            arg=other,
        )
        after = page.evaluate("getComputedStyle(document.body).backgroundColor")
        dot = page.evaluate(
            "document.querySelector('[data-figure=domain-acceptance] .mark-symbol path')"
            ".getAttribute('fill')"
        )
        colours[scheme] = (before, after)
        assert dot == page.evaluate("page.colour('c0')")
    assert colours["light"] == colours["dark"][::-1]
    assert colours["light"][0] == "rgb(255, 255, 255)"


def luminance(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_the_contrast_that_wcag_asks_for(visit, scheme):
    """4.5 for text, 3 for marks: WCAG 2.2, 1.4.3 and 1.4.11."""
    page = visit(color_scheme=scheme)
    names = ["paper", "panel", "ink", "soft", "accent", "good", "bad", *(f"c{i}" for i in range(8))]
    found = {name: page.evaluate("(name) => page.colour(name)", name) for name in names}
    for ground in ("paper", "panel"):
        for name in names[2:]:
            pair = sorted([luminance(found[name]), luminance(found[ground])])
            least = 4.5 if name in ("ink", "soft", "good", "bad") else 3
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= least, (name, ground)


def shown_tree(page):
    """How many boxes of each kind the viewer draws."""
    return page.evaluate(
        """() => Object.fromEntries(["root", "kept", "reached", "unreached", "extra"].map((kind) =>
            [kind, document.querySelectorAll(`#tree g.node.${kind}`).length]))"""
    )


def expected_tree(case, step):
    at = case.nodes["step"] == step
    accepted, reached = case.nodes["accepted"][at], case.nodes["reached"][at]
    return {
        "root": 1,
        "kept": int(accepted.sum()),
        "reached": int((reached & ~accepted).sum()),
        "unreached": int((~reached).sum()),
        "extra": 1,
    }


def expected_text(case, step):
    ends = 1 + np.cumsum(case.steps["committed_tokens"])
    tokens = case.speculative.token_ids[: int(ends[step])]
    return f"{case.prompt_text}\n" + "".join(f" w{token}" for token in tokens)


def test_the_viewer_steps_by_button_slider_and_keys(shared, cases):
    page = shared
    first, second = in_order(cases)[:2]
    stage = page.locator("#stage")

    def check(case, step):
        assert stage.get_attribute("data-case") == case.case_id
        assert page.text_content("#where") == f"step {step + 1} of {len(case.steps['step'])}"
        assert shown_tree(page) == expected_tree(case, step)
        assert page.text_content("#text") == expected_text(case, step)
        committed = page.locator("#text .kept, #text .extra").count()
        assert committed == case.steps["committed_tokens"][step]

    check(first, 0)
    assert page.is_disabled("#previous")
    for step in range(1, 6):
        page.click("#next")
        check(first, step)
    assert page.is_disabled("#next")
    page.click("#previous")
    check(first, 4)
    stage.focus()
    page.keyboard.press("ArrowLeft")
    check(first, 3)
    page.keyboard.press("Home")
    check(first, 0)
    page.keyboard.press("End")
    check(first, 5)
    page.keyboard.press("n")
    check(second, 0)
    page.keyboard.press("p")
    check(first, 0)
    page.fill("#step", "3")
    check(first, 2)
    page.select_option("#case", label=second.case_id)
    check(second, 0)
    page.locator("#text .of").nth(2).click()
    assert "step " in page.text_content("#where")


def test_a_chosen_node_shows_what_was_recorded(shared, cases):
    page = shared
    case = in_order(cases)[0]
    page.select_option("#case", label=case.case_id)
    page.focus("#stage")
    for index in range(1, NODES):
        page.keyboard.press("ArrowDown")
        shown = dict(
            zip(
                page.locator("#node dt").all_text_contents(),
                page.locator("#node dd").all_text_contents(),
                strict=True,
            )
        )
        token = case.nodes["token_id"][index]
        assert shown["token"] == f"“·w{token}” ({token})"
        for name, column in (("p, target", "target_probability"),
                             ("q, draft model", "draft_probability"),
                             ("acceptance probability", "acceptance_probability")):  # fmt: skip
            value = float(case.nodes[column][index])
            if 0.001 < value < 0.999:
                assert float(shown[name]) == pytest.approx(value, abs=6e-4)
        assert float(shown["draft entropy, nats"]) == pytest.approx(
            float(case.nodes["draft_entropy"][index]), abs=6e-3
        )
        assert shown["target rank"] == str(case.nodes["target_rank"][index])
    page.locator("#tree g.node[data-node='2']").click()
    assert f"({case.nodes['token_id'][2]})" in page.text_content("#node")


def test_the_viewer_can_be_reached_and_used_by_tab(visit):
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert seen[0] == "stage"
    assert {"case", "step", "next", "text"} <= set(seen)


def test_the_csv_file_of_a_plot_is_its_data(shared):
    page = shared
    figures = {figure["key"]: figure for figure in page.evaluate("page.data.figures")}
    for key, figure in figures.items():
        with page.expect_download() as download:
            page.click(f"[data-csv={key}]")
        assert download.value.suggested_filename == f"nightly-{key}.csv"
        with open(download.value.path(), newline="", encoding="utf-8") as file:  # noqa: PTH123
            rows = list(csv.DictReader(io.StringIO(file.read())))
        assert list(rows[0]) == figure["columns"]
        assert len(rows) == len(figure["rows"])
        for found, row in zip(rows, figure["rows"], strict=True):
            for name in figure["columns"]:
                if isinstance(row[name], float):
                    assert float(found[name]) == row[name]
                else:
                    assert found[name] == ("" if row[name] is None else str(row[name]))


def test_the_data_of_a_plot_unfold_as_a_table(shared):
    page = shared
    page.click("#depth-reach summary")
    page.wait_for_selector("#depth-reach tbody tr")
    assert page.locator("#depth-reach tbody tr").count() == 12
    page.click("#depth-reach summary")
    page.click("#depth-reach summary")
    assert page.locator("#depth-reach tbody tr").count() == 12


def test_a_run_without_texts_shows_token_ids(visit, tmp_path, make_cases, run_facts):
    bare = make_cases(prompts=8, steps=2)
    page = visit(write_page(tmp_path, make_source(run_facts, bare)))
    case = in_order(bare)[0]
    text = page.text_content("#text")
    assert text.startswith("[prompt of 40 tokens; its text was not kept]\n")
    assert f"⟨{case.speculative.token_ids[0]}⟩" in text


def test_outputs_cut_inside_a_block_show_only_what_was_committed(
    visit, tmp_path, make_cases, run_facts
):
    case = next(c for c in make_cases(prompts=8, steps=2) if c.steps["accepted_length"][-1] > 0)
    steps = dict(case.steps)
    steps["committed_tokens"] = steps["committed_tokens"].copy()
    steps["committed_tokens"][-1] -= 1
    output = replace(case.speculative, token_ids=case.speculative.token_ids[:-1])
    page = visit(
        write_page(
            tmp_path, make_source(run_facts, [replace(case, steps=steps, speculative=output)])
        )
    )
    page.click("#next")
    assert shown_tree(page)["extra"] == 0
    assert page.locator("#text .kept").count() == case.steps["accepted_length"][-1]
    assert "cut at the end of the output" in page.text_content("#facts")


def test_a_failing_case_says_why_in_lines_and_leads_to_the_step_of_each_fork(
    visit, tmp_path, make_cases, run_facts
):
    cases = make_cases(prompts=8, steps=5)
    case = in_order(cases)[3]
    ends = 1 + np.cumsum(case.steps["committed_tokens"])
    index = int(ends[2]) - 1  # the last token of the third step
    fork = Fork(
        index=index,
        token_id=case.speculative.token_ids[index],
        target_token_id=1,
        margin=2.0,
        width=15,
        spread=0.0,
        reproduced=False,
    )
    message = "speculation changed the output\n  <b>token</b>:\n    the margin"
    failed = replace(case, verdict=Verdict.ALGORITHMIC, message=message, forks=(fork,))
    path = write_page(tmp_path, make_source(run_facts, [failed if c is case else c for c in cases]))
    page = visit(path)
    told = page.locator("#lossless .failure")
    assert told.locator("pre").inner_text() == message
    assert told.locator("pre").evaluate("(e) => getComputedStyle(e).whiteSpace") == "pre-wrap"
    assert page.locator("#stage").get_attribute("data-case") != case.case_id
    told.locator(".jumps a").click()
    page.wait_for_function(
        "(id) => document.getElementById('stage').dataset.case === id", arg=case.case_id
    )
    assert page.locator("#stage").get_attribute("data-step") == "3"
    # It scrolls there smoothly.
    page.wait_for_function(
        "Math.abs(document.getElementById('viewer').getBoundingClientRect().top) < 40"
    )
    # Its token is marked in the text, and the message is there, too.
    assert page.locator("#text .fork").count() == 1
    assert page.locator("#text .of").nth(index).evaluate("(e) => e.classList.contains('fork')")
    page.click("#why summary")
    assert page.locator("#why pre").inner_text() == message
    page.click("#previous")
    assert page.locator("#text .fork").count() == 0
    page.select_option("#case", label=in_order(cases)[0].case_id)
    assert page.is_hidden("#why")
    # The address alone leads there.
    again = visit(path)
    again.goto(f"{path.as_uri()}{viewer_link(case.case_id, 3)}")
    again.reload()
    again.wait_for_selector("#stage[data-ready]")
    assert again.locator("#stage").get_attribute("data-step") == "3"


def test_a_run_of_errors_only_opens(visit, tmp_path, run_facts, make_cases):
    case = replace(make_cases(prompts=1, steps=1)[0], speculative=None, verdict="error")
    page = visit(write_page(tmp_path, make_source(run_facts, [case])))
    page.wait_for_selector("#stage .absent")
    assert "No case has a drafted tree" in page.text_content("#stage")


def test_a_draft_deeper_than_the_screen_scrolls_to_the_chosen_node(
    visit, tmp_path, make_cases, run_facts
):
    case = make_cases(prompts=1, steps=1)[0]
    nodes = {name: column.copy() for name, column in case.nodes.items()}
    nodes["parent"] = np.arange(-1, NODES - 1).astype(nodes["parent"].dtype)
    nodes["depth"] = np.arange(1, NODES + 1).astype(nodes["depth"].dtype)
    page = visit(write_page(tmp_path, make_source(run_facts, [replace(case, nodes=nodes)])))
    page.focus("#stage")
    for _ in range(NODES):
        box = page.locator("#tree g.node.chosen").bounding_box()
        room = page.locator("#tree").bounding_box()
        assert room["x"] - 1 <= box["x"]
        assert box["x"] + box["width"] <= room["x"] + room["width"] + 1
        page.keyboard.press("ArrowDown")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_the_command_is_broken_between_words_and_copied_whole(browser, cases, run_facts, tmp_path):
    words = ("pytest", "-k", "code or `math`", *("--spec-max-new-tokens", "64") * 8)
    path = write_page(tmp_path, make_source(replace(run_facts, command=words), cases[:4]))
    page = opened(browser, path, [])
    page.locator("#copy").click()
    told = page.evaluate("getSelection().toString()")
    heights = page.locator("#command span").evaluate_all(
        "(words) => words.map((word) => word.getBoundingClientRect().height)"
    )
    lines = page.locator("#command").evaluate("(text) => text.getClientRects().length")
    page.context.close()
    assert told == shlex.join(words)
    assert lines > 1
    assert max(heights) == min(heights)
