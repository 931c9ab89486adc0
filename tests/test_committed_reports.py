"""Committed reports say what their raw facts say, and the study's have what it asks for.

Where a change of the statistics moves figures, `reports/remake.py` makes a report's files again
from its raw facts, then `reports/update_readme.py` and `docs/make_study.py` the tables.
"""

import json
import re
import runpy
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from study_traces import study_run

from draftproof.report import PAGE_FILE, load_run, metrics_document, write_report
from draftproof.report.markdown import markdown_report
from draftproof.report.writing import METRICS_FILE, SUMMARY_FILE
from draftproof.statistics import check_identities, study, summarise
from draftproof.statistics.findings import PUBLISHED
from draftproof.trace import Verdict

ROOT = Path(__file__).parent.parent
STUDY = runpy.run_path(str(ROOT / "docs" / "make_study.py"))
FOLDERS = sorted(path.parent for path in (ROOT / "reports").glob("[!2]*/nodes.parquet"))
OF_THE_STUDY = [path for path in FOLDERS if path.name in STUDY["RUNS"]]


@cache
def saved(folder):
    return load_run(folder)


def nearly(values):
    """The values with numbers that may differ by rounding."""
    if isinstance(values, dict):
        return {key: nearly(value) for key, value in values.items()}
    if isinstance(values, list):
        return [nearly(value) for value in values]
    if isinstance(values, float):
        return pytest.approx(values, rel=1e-6, abs=1e-9)
    return values


@pytest.fixture
def make_record():
    """A synthetic record with tokens whose text is kept."""
    cases = iter(study_run(prompts=1, steps=3))

    def made(case_id, message=""):
        case = next(cases)
        texts = {int(token): " secret" for token in case.nodes["token_id"]}
        return replace(case, case_id=case_id, message=message, token_texts=texts)

    return made


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_figures_are_those_of_the_raw_facts(folder):
    run, cases = saved(folder).run, saved(folder).cases
    summary, found = summarise(cases), study(cases, is_drawn_chain=run.is_drawn_chain)
    figures = metrics_document(summary, found)
    assert json.loads((folder / METRICS_FILE).read_text(encoding="utf-8")) == nearly(figures)
    text = (folder / SUMMARY_FILE).read_text(encoding="utf-8")
    assert text == markdown_report(run, summary, cases, found)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_case_is_a_possible_one(folder):
    assert saved(folder).complete
    for case in saved(folder).cases:
        assert check_identities(case) == []
        assert not case.contradictions


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_no_place_of_the_machine_and_no_text_of_a_data_set_is_in_it(folder):
    described = (folder / "run.json").read_text(encoding="utf-8")
    run = json.loads(described)
    assert not any(str(value).startswith("/") for value in run["config"].values())
    assert not any("/" in word and word.startswith("/") for word in run["command"])
    if run["config"]["prompts"] != "builtin":
        assert not (folder / "texts.json").exists()
        assert all(len(case.message.splitlines()) < 2 for case in saved(folder).cases)


@pytest.mark.parametrize("folder", OF_THE_STUDY, ids=lambda folder: folder.name)
def test_the_study_on_a_real_pair_is_as_large_as_the_published_one(folder):
    run, cases = saved(folder).run, saved(folder).cases
    assert run.config["tree"] == "3x2"
    assert run.config["prompts"] == "real"
    for domain in PUBLISHED:
        assert sum(case.domain == domain for case in cases) == 50
    assert sum(len(case.nodes["node"]) for case in cases) >= 99_768


def test_the_text_of_outputs_can_be_taken_out(tmp_path, make_record):
    quoting = make_record("a", message="it differs at 1 of 3 tokens (numerical)\n  after 'secret'")
    write_report(tmp_path, saved(ROOT / "reports" / "builtin").run, [quoting, make_record("b")])
    assert "secret" in load_run(tmp_path).cases[0].message
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "secret" in before["texts.json"].decode()
    script = runpy.run_path(str(ROOT / "reports" / "remake.py"))
    script["take_text_out"](tmp_path)
    script["remake"](tmp_path)
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes(), path.name
    assert not (tmp_path / "texts.json").exists()
    left = load_run(tmp_path).cases
    assert [case.message for case in left] == ["it differs at 1 of 3 tokens (numerical)", ""]
    for name in ("steps.parquet", "nodes.parquet", "run.json", SUMMARY_FILE, METRICS_FILE):
        assert (tmp_path / name).read_bytes() == before[name], name


def test_what_is_derived_can_be_made_again(tmp_path):
    folder = ROOT / "reports" / "builtin"
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name in (METRICS_FILE, SUMMARY_FILE, PAGE_FILE):
        (copy / name).write_text("nonsense", encoding="utf-8")
    runpy.run_path(str(ROOT / "reports" / "remake.py"))["remake"](copy)
    figures = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
    assert json.loads((copy / METRICS_FILE).read_text(encoding="utf-8")) == nearly(figures)
    assert len((copy / PAGE_FILE).read_bytes()) > 100_000
    for path in folder.iterdir():
        if path.name not in (METRICS_FILE, PAGE_FILE):
            assert (copy / path.name).read_bytes() == path.read_bytes(), path.name


def test_in_float32_every_output_of_the_real_pair_is_identical():
    """As the README and the study's page say."""
    folder = ROOT / "reports" / "qwen2.5-coder-0.5b-to-1.5b"
    assert saved(folder).run.models["target"]["dtype"] == "float32"
    assert {case.verdict for case in saved(folder).cases} == {Verdict.IDENTICAL}


def test_the_studys_page_has_the_figures_of_its_reports():
    """When it fails: python docs/make_study.py."""
    page = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    for name in STUDY["TABLES"]:
        assert page.count(f"<!-- {name} -->") == page.count(f"<!-- end of {name} -->") == 1
    assert STUDY["updated"](page) == page


def test_the_studys_figure_shows_those_figures():
    """When it fails: python docs/make_study.py."""
    drawn = (ROOT / "docs" / "study.svg").read_text(encoding="utf-8")
    titles = {title: panel for panel, title in STUDY["PANELS"].items()}
    found = {}
    for title, value, domain, run in re.findall(
        r'aria-label="([^":]+): ([0-9.]+); domain: (\w+); run: ([^"]+)"', drawn
    ):
        found[titles[title], run, domain] = float(value)
    expected = {
        (row["panel"], row["run"], row["domain"]): pytest.approx(row["value"])
        for row in STUDY["points"](STUDY["committed"]())
    }
    assert found == expected
