"""The comparison's page: what it says, that it escapes, and that it asks for nothing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from page_tools import Page

from draftproof.errors import DraftproofError
from draftproof.gate import Outcome, Storage, compare, measured_run, parse_gate
from draftproof.report.comparison_text import difference_lines, gate_table, remarks
from draftproof.report.page.comparison import (
    COMPARISON_PAGE,
    comparison_html,
    write_comparison_page,
)
from draftproof.report.page.outline import outline
from draftproof.report.page.strip import strips

NODES = 14


class Comparison(Page):
    """The page, its text without tags, and the rows of its trees."""

    def __init__(self, comparison):
        super().__init__(comparison_html(comparison))
        self.plain = " ".join(
            re.sub(r"<style>.*?</style>|<[^>]+>", " ", self.html, flags=re.S).split()
        )

    def classes(self, word):
        """The elements that have a class."""
        return [found for _, found in self.elements if word in found.get("class", "").split()]

    @property
    def nodes(self):
        """Each tree's rows that stand for nodes, as (index, classes)."""
        trees, rows = [], []
        for tag, found in self.elements:
            if "outline" in found.get("class", "").split():
                rows = []
                trees.append(rows)
            elif tag == "li" and "data-node" in found:
                rows.append((int(found["data-node"]), set(found["class"].split()) - {"row"}))
        return trees


def gates(*texts):
    return [parse_gate(text) for text in texts]


@pytest.fixture(scope="session")
def cases(cases):
    """The runs' cases, with a text for each of their tokens."""
    return [
        replace(
            case,
            token_texts={
                token: f" w{token}"
                for token in (*case.nodes["token_id"].tolist(), *case.speculative.token_ids)
            },
        )
        for case in cases
    ]


@pytest.fixture
def earlier(cases, run):
    """Of these cases: the one of all files may have been made of cases without texts."""
    return measured_run("earlier", run, cases)


@pytest.fixture
def found(earlier, later, with_column):
    """A comparison in which a token of the tree of step 3 is another."""
    return compare(earlier, later(with_column(9, "nodes", "token_id", 47, 9)), gates("identical"))


@pytest.mark.parametrize(
    ("texts", "share", "headline", "outcome"),
    [
        (["identical"], 0.9, "Gate failed", "fail"),
        (["acceptance_rate@overall:-2%"], 0.0, "Gate passed", "pass"),
        (["accepted_length:-1%"], 0.2, "Gate inconclusive", "inconclusive"),
        ([], 0.2, "Comparison", "open"),
    ],
)
def test_the_outcome_is_told_in_a_word_and_a_colour(
    earlier, later, first_accepted_is_lost, texts, share, headline, outcome
):
    found = compare(earlier, later(first_accepted_is_lost(share)), gates(*texts))
    page = Comparison(found)
    (title,) = [given for tag, given in page.elements if tag == "h1"]
    assert title["class"].split() == ["outcome", outcome]
    assert f">{headline}</h1>" in page.html
    assert "later against earlier : 24 cases, paired by prompt." in page.plain


def test_the_page_says_all_that_the_terminal_says(earlier, later, first_accepted_is_lost):
    found = compare(
        earlier,
        later(first_accepted_is_lost(0.3)),
        gates("accepted_length:-1%", "accepted_length@overall:-0.01", "speedup:-10%", "identical"),
    )
    page = Comparison(found)
    assert found.outcome is Outcome.FAIL
    for row in gate_table(found).rows:
        for cell in row:
            for text in (cell.text, cell.interval):
                assert text.replace("-", "−") in page.plain.replace("-", "−"), text
    shown = page.plain.replace("&#39;", "'")
    for line in (*remarks(found), *found.notes, *difference_lines(found)):
        assert " ".join(line.split()) in shown, line
    assert len(page.classes("strip")) == 6  # a domain each, overall, speedup; not identical


def test_both_trees_are_there_with_the_node_marked_in_both(found, cases):
    page = Comparison(found)
    before, now = page.nodes
    assert found.first.node == 47 % NODES
    for tree, side in ((before, found.first.before), (now, found.first.now)):
        assert sorted(node for node, _ in tree) == list(range(NODES))
        assert [node for node, kinds in tree if "marked" in kinds] == [found.first.node]
        for node, kinds in tree:
            kept, reached = side.nodes["accepted"][node], side.nodes["reached"][node]
            state = "kept" if kept else "reached" if reached else "unreached"
            assert state in kinds
    was = cases[9].nodes["token_id"][47]
    assert f"<b>·w{was}</b> <small>{was}</small>" in page.html
    assert "<small>9</small>" in page.html
    step = found.first.before
    told = f"accepted length {step.accepted_length} , committed {step.committed_tokens}"
    assert page.plain.count(told) == 2
    # Above the trees: what both had said so far, up to the root.
    said = cases[9].speculative.token_ids[: 1 + int(cases[9].steps["committed_tokens"][:3].sum())]
    assert "".join(f" w{token}" for token in said[:-1]) in page.html
    assert f'<span class="root">·w{said[-1]}</span>' in page.html
    assert page.html.count(f"<b>root</b> ·w{said[-1]} at position {step.root_position}") == 2


def test_the_node_that_differs_is_told_value_by_value(earlier, later, with_column, cases):
    row = 3 * NODES + 5
    q = float(cases[9].nodes["draft_probability"][row])
    found = compare(earlier, later(with_column(9, "nodes", "draft_probability", row, q / 2)))
    page = Comparison(found)
    assert found.first.node == 5
    (changed,) = re.findall(r'<tr class="changed">(.*?)</tr>', page.html)
    words = re.sub(r"<[^>]+>", " ", changed).split()
    assert words == ["q,", "draft", "model", f"{q:.4f}", f"{q / 2:.4f}"]


def test_a_tree_that_was_not_kept_is_said_not_to_be_known(earlier, later, with_column, tmp_path):
    storage = Storage(tmp_path)
    storage.save("main", earlier, traces=False)
    found = compare(storage.load("main"), later(with_column(9, "nodes", "token_id", 47, 9)))
    page = Comparison(found)
    assert len(page.nodes) == 1
    assert "Not known: this run's traces were not kept" in page.plain.replace("&#39;", "'")
    assert "--spec-save-traces" in page.plain
    assert page.classes("changed") == []


def test_texts_of_a_stored_baseline_are_shown(earlier, later, with_column, tmp_path, cases):
    storage = Storage(tmp_path)
    storage.save("main", earlier, traces=True)
    plain = [replace(case, token_texts={}) for case in with_column(9, "nodes", "token_id", 47, 9)]
    stored = storage.load("main")
    assert stored.texts.tokens == earlier.texts.tokens
    page = Comparison(compare(stored, later(plain)))
    assert f"<b>·w{cases[9].nodes['token_id'][47]}</b>" in page.html
    assert len(page.nodes) == 2


def test_a_step_that_one_run_lacks(cases, earlier, later):
    last = cases[3].steps["step"][-1]
    shorter = list(cases)
    shorter[3] = replace(
        cases[3],
        steps={name: column[:-1] for name, column in cases[3].steps.items()},
        nodes={n: column[cases[3].nodes["step"] < last] for n, column in cases[3].nodes.items()},
    )
    page = Comparison(compare(earlier, later(shorter)))
    assert "Not known: the case has no such step in this run." in page.plain
    assert len(page.nodes) == 1


def test_equal_runs_have_no_trees(earlier, later):
    page = Comparison(compare(earlier, later(), gates("identical")))
    assert page.nodes == []
    assert "Identical: every step of 24 cases is the same." in page.plain


def test_runs_of_other_settings_show_what_differs(earlier, later, run):
    other = replace(
        run,
        config={**run.config, "seed": 8},
        versions={**run.versions, "torch": "2.8.0", "draftproof": "0.2.0"},
    )
    page = Comparison(compare(earlier, later(run=other), anyway=True))
    assert "Not compared step by step" in page.plain
    forbidden = re.findall(r'<tr class="changed forbidden">(.*?)</tr>', page.html)
    assert [re.sub(r"<[^>]+>", " ", row).split() for row in forbidden] == [
        "setting seed must be the same 7 8".split(),
        "version of torch must be the same 2.9.0 2.8.0".split(),
    ]
    allowed = re.findall(r'<tr class="changed">(.*?)</tr>', page.html)
    assert [re.sub(r"<[^>]+>", " ", row).split() for row in allowed] == [
        "version of draftproof 0.1.0 0.2.0".split()
    ]
    assert "<dt>setting tree</dt><dd>3x2</dd>" in page.html


def test_nothing_in_a_run_can_become_markup(cases, run, with_column):
    hostile = "</style><script>alert(1)</script><img src=x onerror=alert(1)>"
    facts = replace(
        run,
        config={**run.config, "tree": hostile},
        versions={hostile: hostile},
        command=(hostile,),
        started=hostile,
    )

    def poisoned(among):
        return [
            replace(
                case,
                case_id=hostile + case.case_id,
                domain=hostile,
                token_texts=dict.fromkeys(range(32_000), hostile),
            )
            for case in among
        ]

    page = Comparison(
        compare(
            measured_run(hostile, facts, poisoned(cases)),
            measured_run(hostile, facts, poisoned(with_column(9, "nodes", "token_id", 47, 9))),
        )
    )
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img"}
    assert page.attributes("onerror") == []
    assert page.html.count("</style>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.html


def test_the_page_refers_to_nothing_outside_itself(found):
    page = Comparison(found)
    for name in ("src", "srcset", "action", "poster"):
        assert page.attributes(name) == []
    for link in page.attributes("href"):
        assert link == "data:," or link[1:] in page.attributes("id"), link
    assert not re.search(r"https?://|@import|url\(", page.html)
    policy = next(given for _, given in page.elements if "http-equiv" in given)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_a_strip_holds_its_marks_in_their_order(earlier, later, first_accepted_is_lost):
    found = compare(
        earlier, later(first_accepted_is_lost(0.9)), gates("accepted_length:-1%", "identical")
    )
    *drawn, absent = strips(found.judgements, gated=True)
    assert absent is None
    for judgement, strip in zip(found.judgements, drawn, strict=False):
        change = judgement.change
        assert 0 <= strip.low < strip.value < strip.high <= 100
        fall, rise = strip.margins
        assert fall < strip.zero < rise
        # One scale a gate: places are linear in the change.
        scale = (strip.zero - fall) / 0.01
        assert strip.zero - strip.value == pytest.approx(-scale * change.value, abs=0.5)
        assert (change.high < -0.01) == (strip.high < fall)
    assert strips(found.judgements, gated=False)[0].margins == ()


def test_a_chain_deeper_than_the_interpreters_stack_is_drawn(found):
    depth = 1500
    nodes = {name: [column[0]] * depth for name, column in found.first.now.nodes.items()}
    nodes.update(node=list(range(depth)), parent=list(range(-1, depth - 1)))
    rows = outline(replace(found.first.now, nodes=nodes), {}, marked=2)
    assert [row.node for row in rows] == list(range(depth))
    assert rows[2].marked
    assert rows[2].guides == ("nothing", "nothing", "end")


def test_half_a_surrogate_pair_is_written_and_a_missing_folder_is_told(
    earlier, run, with_column, tmp_path
):
    changed = with_column(9, "nodes", "token_id", 47, 9)
    changed[9] = replace(changed[9], token_texts={**changed[9].token_texts, 9: "\ud83d"})
    found = compare(earlier, measured_run("later", run, changed))
    path = write_comparison_page(tmp_path / COMPARISON_PAGE, found)
    assert "<b>?</b> <small>9</small>" in path.read_text(encoding="utf-8")
    with pytest.raises(DraftproofError, match="cannot write"):
        write_comparison_page(tmp_path / "nowhere" / COMPARISON_PAGE, found)
