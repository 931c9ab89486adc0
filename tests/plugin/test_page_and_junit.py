"""The page that a run writes, what it keeps as text, and the figures in the file of --junitxml."""

from __future__ import annotations

import json
import webbrowser
from xml.etree import ElementTree

import pytest
from page_tools import Page
from plugin_sources import WRONG_RULE

from draftproof.errors import DraftproofError
from draftproof.report import load_run

METRICS = (
    "acceptance_probability study_expected_length greedy_match acceptance_rate_drafted "
    "acceptance_rate_reached first_child_expected_length accepted_length block_efficiency"
).split()


def page_of(folder):
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_a_run_writes_its_page_with_the_text_of_its_tokens(run, pytester):
    result = run("--report", "--report-dir=out")
    result.stdout.fnmatch_lines(["Page: out/report.html"])
    page = page_of(pytester.path / "out")
    header, columns = page.trees
    assert [case["id"] for case in header["cases"]] == ["letters/0", "letters/1", "letters/2"]
    assert None not in header["tokens"]
    outputs = "".join(header["tokens"][token] for token in columns["output"])
    assert set(outputs) & set("abcdefghijklmnopqrstuvwxyz")
    assert load_run(pytester.path / "out").texts.prompts == {}
    assert all(case["prompt"] == "" for case in header["cases"])


def test_prompts_are_kept_only_when_asked_and_never_in_the_summary(run, pytester):
    run("--report", "--report-dir=out", "--spec-keep-prompts")
    assert load_run(pytester.path / "out").texts.prompts == {
        "letters/0": "a b c",
        "letters/1": "c b a",
        "letters/2": "d e",
    }
    prompts = [case["prompt"] for case in page_of(pytester.path / "out").trees[0]["cases"]]
    assert prompts == ["a b c", "c b a", "d e"]
    assert "c b a" not in (pytester.path / "out" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("opens", "says"), [(True, "Opened file://*"), (False, "No browser could be opened here*")]
)
def test_the_page_is_opened_when_asked(run, pytester, monkeypatch, opens, says):
    asked = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or opens)
    run("--report", "--report-dir=first")
    assert asked == []
    result = run("--report", "--report-dir=out", "--spec-open")
    assert asked == [(pytester.path / "out" / "report.html").as_uri()]
    result.stdout.fnmatch_lines([says])


def test_a_page_that_cannot_be_made_loses_no_figure(run, pytester, monkeypatch):
    def missing():
        raise DraftproofError("no library here")

    monkeypatch.setattr("draftproof.report.page.document.compressed_library", missing)
    result = run("--report", "--report-dir=out", "--junitxml=junit.xml", "--spec-open")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["overall *", "The page was not made: no library here"])
    result.stdout.no_fnmatch_line("*browser*")
    assert len(load_run(pytester.path / "out").cases) == 3
    assert (pytester.path / "out" / "metrics.json").exists()
    assert properties_of(suite_of("junit.xml"))["draftproof.overall.identical"] == "3"


def suite_of(path):
    return ElementTree.parse(path).getroot().find("testsuite")


def properties_of(element):
    """The properties directly below an element."""
    found = element.findall("properties/property")
    names = [item.get("name") for item in found]
    assert len(names) == len(set(names))
    return {item.get("name"): item.get("value") for item in found}


def test_junit_carries_the_figures_of_the_run(run, pytester, metrics):
    run("--report", "--report-dir=out", "--junitxml=junit.xml", "--spec-seed=3")
    found, stored = properties_of(suite_of("junit.xml")), metrics()
    for name, group in (*stored["domains"].items(), ("overall", stored["overall"])):
        for metric in METRICS:
            key = f"draftproof.{name}.{metric}"
            for suffix, part in (("", "value"), (".low", "low"), (".high", "high")):
                assert float(found[key + suffix]) == pytest.approx(group[metric][part], rel=1e-5)
            assert int(found[f"{key}.n"]) == group[metric]["n"]
        assert found[f"draftproof.{name}.identical"] == "3"
        assert int(found[f"draftproof.{name}.nodes"]) == group["nodes"]
    described = json.loads((pytester.path / "out" / "run.json").read_text())
    assert found["draftproof.fingerprint"] == described["fingerprint"]
    assert found["draftproof.target"] == described["models"]["target"]["name"]
    assert found["draftproof.seed"] == "3"
    assert found["draftproof.environment.torch"] == described["versions"]["torch"]
    assert "nan" not in "".join(found.values()).lower()


def test_junit_carries_what_each_case_showed(run, pytester):
    pytester.makeconftest(WRONG_RULE)
    run("--report", "--report-dir=out", "--junitxml=junit.xml")
    cases = {case.case_id: case for case in load_run(pytester.path / "out").cases}
    tests = suite_of("junit.xml").findall("testcase")
    assert len(tests) == len(cases) == 3
    for test in tests:
        found = properties_of(test)
        case = cases[test.get("name").partition("[")[2].rstrip("]")]
        assert found["draftproof.verdict"] == str(case.verdict)
        assert int(found["draftproof.steps"]) == len(case.steps["step"])
        assert int(found["draftproof.drafted"]) == case.steps["nodes"].sum()
        assert int(found["draftproof.accepted"]) == case.steps["accepted_length"].sum()
        assert int(found["draftproof.tokens"]) == len(case.speculative.token_ids)
        assert float(found["draftproof.plain_seconds"]) > 0
    assert {str(case.verdict) for case in cases.values()} != {"identical"}


def test_junit_without_a_report_has_no_figures_of_a_run(run):
    run("--junitxml=junit.xml")
    suite = suite_of("junit.xml")
    assert properties_of(suite) == {}
    assert all("draftproof.verdict" in properties_of(test) for test in suite.findall("testcase"))


def test_junit_carries_the_figures_under_xdist_too(run, metrics):
    pytest.importorskip("xdist", reason="needs pytest-xdist")
    run("--report", "--report-dir=out", "--junitxml=junit.xml", "-n1")
    suite = suite_of("junit.xml")
    found = properties_of(suite)
    assert int(found["draftproof.overall.nodes"]) == metrics()["overall"]["nodes"]
    assert all("draftproof.verdict" in properties_of(test) for test in suite.findall("testcase"))
