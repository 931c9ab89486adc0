"""The page without a browser: its structure, its data, and that it asks for nothing else."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from page_tools import Page, make_page, make_source, read_block

from draftproof.errors import DraftproofError
from draftproof.report import load_run, write_page, write_report
from draftproof.report.page import library, page_html
from draftproof.report.page.figures import figures
from draftproof.report.page.trees import UNKNOWN, VIEWER_NODES, shown_cases, viewer_block
from draftproof.report.texts import Texts, texts_of
from draftproof.statistics import prompt_sums
from draftproof.trace import CaseRecord, Verdict

SECTIONS = {
    "findings", "domains", "depth", "uncertainty", "dependence", "viewer", "lossless", "costs",
    "reproduce",
}  # fmt: skip
FIGURES = {
    "domain-acceptance", "depth-acceptance", "depth-reach", "accepted-lengths",
    "entropy-acceptance", "positions", "task-or-depth", "domain-orders", "domain-pairs", "speedup",
}  # fmt: skip


def with_texts(cases, text=" w{}"):
    """The cases with a text for each of their tokens."""
    named = []
    for case in cases:
        ids = {*case.nodes["token_id"].tolist(), *case.speculative.token_ids}
        named.append(replace(case, token_texts={token: text.format(token) for token in ids}))
    return named


@pytest.fixture(scope="module")
def cases(make_cases):
    return with_texts(make_cases(prompts=24, steps=6))


@pytest.fixture(scope="module")
def page(cases, run_facts):
    return make_page(run_facts, cases)


def test_every_section_figure_and_its_data_are_there(page):
    assert set(page.attributes("id")) >= SECTIONS
    assert set(page.attributes("data-figure")) == FIGURES
    assert set(page.attributes("data-csv")) == set(page.attributes("data-rows")) == FIGURES
    assert set(page.figures) == FIGURES
    for figure in page.figures.values():
        assert figure["rows"]
        assert figure["columns"]
        for row in figure["rows"]:
            assert set(row) >= set(figure["columns"])
        assert figure["spec"]["layer"]


def test_every_figure_names_n_interval_models_hardware_and_versions(page):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.html, flags=re.DOTALL)
    assert len(captions) == len(FIGURES)
    for caption in captions:
        assert re.search(r"n = [\d,]+|[\d,]+ resamples", caption)
        for fact in ("target builtin", "draft model builtin", "float32 on cpu", "Example CPU"):
            assert fact in caption
        assert "torch 2.9.0" in caption


def test_the_page_refers_to_nothing_outside_itself(page):
    for name in ("src", "srcset", "action", "poster"):
        assert page.attributes(name) == []
    for link in page.attributes("href"):
        assert link.startswith("#") or link == "data:,", link
        assert link == "data:," or link[1:] in page.attributes("id"), link
    namespaces = {"http://www.w3.org/2000/svg"}
    assert set(re.findall(r"https?://[^\s\"'<>)]+", page.html)) <= namespaces
    assert "@import" not in page.html
    assert "url(" not in page.html
    policy = next(found for tag, found in page.elements if "http-equiv" in found)
    assert policy["content"].startswith("default-src 'none';")
    assert "connect" not in policy["content"]


def test_nothing_in_a_run_can_become_markup(make_cases, run_facts):
    hostile = "</script><img src=x onerror=alert(1)><!--"
    run = replace(
        run_facts,
        name=hostile,
        config={**run_facts.config, "tree": hostile},
        versions={hostile: hostile},
        command=(hostile,),
    )
    cases = [
        replace(case, case_id=hostile + case.case_id, domain=case.domain + hostile, message=hostile)
        for case in make_cases(prompts=8, steps=2)
    ]
    tokens = dict.fromkeys(range(32_000), hostile)
    texts = Texts(tokens=tokens, prompts={cases[0].case_id: hostile})
    page = make_page(run, cases, texts=texts)
    assert not any(tag == "img" for tag, _ in page.elements)
    assert page.attributes("onerror") == []
    scripts = [found for tag, found in page.elements if tag == "script"]
    assert len(scripts) == 6
    assert page.data["name"] == hostile
    header, _ = page.trees
    assert header["tokens"][0] == hostile
    assert hostile in [case["prompt"] for case in header["cases"]]


def test_the_figures_are_the_summarys(cases, run_facts):
    source = make_source(run_facts, cases)
    drawn = {figure.key: figure for figure in figures(source)}
    for row in drawn["domain-acceptance"].rows:
        estimate = source.summary.domains[row["domain"]].metrics["acceptance_probability"]
        assert row["value"] == pytest.approx(estimate.value, rel=1e-5)
        assert (row["low"], row["high"]) == pytest.approx((estimate.low, estimate.high), rel=1e-5)
        assert row["n"] == estimate.n
    for key, metric in (
        ("depth-acceptance", "acceptance_probability"),
        ("depth-reach", "reach_rate"),
    ):
        rows = drawn[key].rows
        assert len(rows) == 4 * 3
        for row in rows:
            depth = source.summary.domains[row["domain"]].depth_profile[row["depth"] - 1]
            assert row["value"] == pytest.approx(depth.metrics[metric].value, rel=1e-5)
    sums = prompt_sums(cases)
    for domain in source.domains:
        shares = [r for r in drawn["accepted-lengths"].rows if r["domain"] == domain]
        assert sum(row["value"] for row in shares) == pytest.approx(1, abs=1e-5)
        mean = sum(row["accepted length"] * row["value"] for row in shares)
        members = [i for i, name in enumerate(sums.domains) if name == domain]
        accepted = sums.totals["accepted"][members].sum() / sums.totals["steps"][members].sum()
        assert mean == pytest.approx(accepted, abs=1e-4)
    assert sum(row["share"] for row in drawn["domain-orders"].rows) <= 1 + 1e-9
    pairs = {(r["domain"], r["above"]): r["share"] for r in drawn["domain-pairs"].rows}
    for (a, b), share in pairs.items():
        assert share + pairs[b, a] == pytest.approx(1, abs=1e-4)


def test_the_viewer_holds_every_step_and_node_as_recorded(cases):
    texts = texts_of(cases)
    header, columns = read_block(viewer_block(cases, texts))
    order = [case["id"] for case in header["cases"]]
    by_id = {case.case_id: case for case in cases}
    assert sorted(order) == sorted(by_id)
    shown = [by_id[name] for name in order]

    def joined(what, name):
        return np.concatenate([getattr(case, what)[name] for case in shown])

    for name in ("nodes", "accepted_length", "committed_tokens"):
        assert np.array_equal(columns[f"step.{name}"], joined("steps", name))
    ids = np.array(header["ids"])
    assert np.array_equal(ids[columns["node.token"]], joined("nodes", "token_id"))
    assert np.array_equal(columns["node.parent"], joined("nodes", "parent"))
    outputs = np.concatenate([case.speculative.token_ids for case in shown])
    assert np.array_equal(ids[columns["output"]], outputs)
    for name, unit in (("target_probability", 1e4), ("draft_probability", 1e4),
                       ("acceptance_probability", 1e4), ("target_entropy", 1e3),
                       ("draft_entropy", 1e3)):  # fmt: skip
        assert np.abs(columns[f"node.{name}"] / unit - joined("nodes", name)).max() <= 0.51 / unit
    flags = columns["node.flags"]
    assert np.array_equal(flags & 1 > 0, joined("nodes", "reached"))
    assert np.array_equal(flags & 2 > 0, joined("nodes", "accepted"))
    assert header["tokens"] == [f" w{token}" for token in header["ids"]]


def test_what_a_drafter_cannot_know_is_unknown_and_not_0(make_cases):
    case = make_cases(prompts=1, steps=2)[0]
    nodes = dict(case.nodes)
    nodes["draft_probability"] = np.full_like(nodes["draft_probability"], np.nan)
    nodes["target_rank"] = np.full_like(nodes["target_rank"], -1)
    _, columns = read_block(viewer_block([replace(case, nodes=nodes)], Texts()))
    assert set(columns["node.draft_probability"]) == {UNKNOWN}
    assert set(columns["node.target_rank"]) == {UNKNOWN}
    assert UNKNOWN not in columns["node.target_probability"]


def test_a_large_run_keeps_cases_whose_outputs_differ_and_every_domain(make_cases):
    cases = make_cases(prompts=40, steps=10)
    cases[37] = replace(cases[37], verdict=Verdict.ALGORITHMIC, message="it differs")
    kept = shown_cases(cases, limit=10 * 14 * 9)
    assert len(kept) == 9
    assert cases[37].case_id in {case.case_id for case in kept}
    assert {case.domain for case in kept} == {"code", "math", "logic", "chat"}
    assert shown_cases(cases) == sorted(kept + [c for c in cases if c not in kept], key=lambda c: (
        ["code", "math", "logic", "chat"].index(c.domain), c.case_id))  # fmt: skip


def test_a_page_of_200_prompts_is_under_5_mb(make_cases, run_facts):
    """Nodes as hard to compress as can be, and more of them than the study had (99,768)."""
    cases = with_texts(make_cases(prompts=200, steps=60))
    assert sum(len(case.nodes["step"]) for case in cases) > VIEWER_NODES
    page = make_page(run_facts, cases)
    assert len(page.html.encode()) < 5e6
    header, _ = page.trees
    assert len(header["cases"]) < header["total"] == 200
    assert sum(case["nodes"] for case in header["cases"]) > 99_768


def test_the_same_run_gives_the_same_page(cases, run_facts):
    first = page_html(make_source(run_facts, cases))
    assert page_html(make_source(run_facts, list(reversed(cases)))) == first


def test_a_run_without_texts_a_model_or_domains_still_has_a_page(make_cases, run_facts):
    bare = []
    for case in make_cases(prompts=3, steps=2)[:3]:
        nodes = {
            name: np.full_like(column, np.nan) if column.dtype.kind == "f" else column
            for name, column in case.nodes.items()
        }
        bare.append(replace(case, domain="mine", nodes=nodes))
    page = make_page(run_facts, bare)
    assert set(page.attributes("data-figure")) == {"depth-reach", "accepted-lengths", "speedup"}
    assert "findings" not in page.attributes("id")
    assert "no node has an acceptance probability" in page.html
    assert page.trees[0]["tokens"] == [None] * len(page.trees[0]["ids"])


def test_the_page_says_what_the_test_of_the_law_decided(make_cases, run_facts):
    law = {
        "verdict": "consistent",
        "alpha": 1e-4,
        "tokens": {"first": 10, "drafted": 90},
        "declared": {"log10_e": -2.5, "impossible": 0, "rejected_after_tokens": None},
        "control": None,
        "contamination": 0.25,
        "pointers": [],
    }
    cases = [replace(case, verdict=Verdict.SAMPLED) for case in make_cases(prompts=8, steps=2)]
    page = make_page(replace(run_facts, law_test=law), cases)
    assert "nytime-valid test of the target&#39;s law: consistent" in page.html
    assert "a share of 0.250 of the draft&#39;s law" in page.html
    assert "<dd>consistent</dd>" in page.html
    assert "8 sampled" in page.html


def test_a_run_of_errors_only_has_a_page(run_facts):
    failed = CaseRecord(
        case_id="a/1", domain="code", prompt_tokens=0, verdict=Verdict.ERROR, message="boom"
    )
    page = make_page(run_facts, [failed], complete=False)
    assert page.attributes("data-figure") == []
    assert "1 case ended in an error: a/1" in page.html
    assert "The run is unfinished" in page.html


def test_texts_are_kept_once_beside_the_report_and_the_summary_has_none(tmp_path, cases, run_facts):
    secret = "the prompt that only its owner may read"
    cases = [replace(cases[0], prompt_text=secret), *cases[1:]]
    write_report(tmp_path, run_facts, cases)
    saved = load_run(tmp_path)
    assert saved.texts == texts_of(cases)
    assert saved.texts.prompts == {cases[0].case_id: secret}
    assert all(not case.token_texts and not case.prompt_text for case in saved.cases)
    for name in ("summary.md", "metrics.json", "run.json"):
        assert secret not in (tmp_path / name).read_text(encoding="utf-8")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [case["prompt"] for case in page.trees[0]["cases"]].count(secret) == 1


def test_a_report_rebuilt_from_disk_has_the_same_page(tmp_path, cases, run_facts):
    write_report(tmp_path, run_facts, cases)
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    saved = load_run(tmp_path)
    source = make_source(saved.run, saved.cases, texts=saved.texts, resamples=10_000)
    (tmp_path / "report.html").unlink()
    write_page(tmp_path, source)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == written


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cannot be used"), ('{"schema_version": 2}', "newer"), ("[]", "cannot be used")],
)
def test_unusable_texts_are_an_error_that_says_what_to_do(
    tmp_path, cases, run_facts, content, message
):
    write_report(tmp_path, run_facts, cases[:4])
    (tmp_path / "texts.json").write_text(content)
    with pytest.raises(DraftproofError, match=rf"texts\.json .*{message}.*remove it"):
        load_run(tmp_path)
    (tmp_path / "texts.json").unlink()
    assert load_run(tmp_path).texts == Texts()


def test_a_journal_keeps_texts(cases):
    record = replace(cases[0], prompt_text="<prompt>")
    values = json.loads(json.dumps(record.to_json()))
    found = CaseRecord.from_json(values)
    assert found.token_texts == record.token_texts
    assert found.prompt_text == "<prompt>"
    for name in ("token_texts", "prompt_text"):
        del values[name]
    older = CaseRecord.from_json(values)
    assert not older.token_texts
    assert not older.prompt_text


@pytest.fixture
def bundling(monkeypatch, tmp_path):
    """An empty cache folder, and how often something was bundled."""
    bundled = []

    def bundle(script, *, vl_version):
        bundled.append(vl_version)
        return f"vegaEmbed {len(bundled)}"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("vl_convert.javascript_bundle", bundle)
    library.compressed_library.cache_clear()
    yield bundled
    library.compressed_library.cache_clear()


def test_the_library_is_bundled_once_for_all_processes(bundling):
    first = library.compressed_library()
    assert library.kept_library().read_bytes() == first
    for _ in range(2):
        library.compressed_library.cache_clear()  # as another process
        assert library.compressed_library() == first
    assert len(bundling) == 1


def test_another_version_is_bundled_anew(bundling, monkeypatch):
    library.compressed_library()
    library.compressed_library.cache_clear()
    monkeypatch.setattr(library, "version", lambda package: "9.9")
    assert gzip.decompress(library.compressed_library()) == b"vegaEmbed 2"


@pytest.mark.parametrize(
    "harm", [lambda b: b[:-9], lambda b: b"", lambda b: b[:30] + b"?" + b[31:]]
)
def test_a_kept_library_that_is_not_whole_is_made_again(bundling, harm):
    whole = library.compressed_library()
    kept = library.kept_library()
    kept.write_bytes(harm(whole))
    library.compressed_library.cache_clear()
    assert gzip.decompress(library.compressed_library()) == b"vegaEmbed 2"
    assert gzip.decompress(kept.read_bytes()) == b"vegaEmbed 2"


def test_where_nothing_can_be_kept_the_library_is_bundled(bundling, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert gzip.decompress(library.compressed_library()) == b"vegaEmbed 1"


def test_without_the_charting_library_the_error_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.compressed_library.cache_clear()
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(DraftproofError, match=r"vl-convert, which .*pip install vl-convert-python"):
        library.compressed_library()


def test_the_library_is_vega_lite_with_its_embedding(page):
    script = gzip.decompress(base64.b64decode(page.text["library"])).decode()
    assert "vegaEmbed" in script
    assert "</script" not in script.lower()


@pytest.mark.parametrize("name", ["constructor", "__proto__", "toString", "a.b[0]", "</script>"])
def test_charts_are_drawn_whatever_a_domain_is_called(cases, run_facts, name):
    """Vega itself draws them, which looks domains up as keys of objects."""
    import vl_convert

    renamed = [replace(case, domain=name) if case.domain == "chat" else case for case in cases]
    page = Page(page_html(make_source(run_facts, renamed)))
    drawn = 0
    for figure in page.data["figures"]:
        spec = json.loads(re.sub(r"theme:\w+", "#336699", json.dumps(figure["spec"])))
        svg = vl_convert.vegalite_to_svg({"data": {"values": figure["rows"]}, **spec})
        drawn += svg.count("<path") > 5
    assert drawn == len(page.data["figures"]) > 5
