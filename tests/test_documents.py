"""Documents that must stay true: the README's commands, example and figures, and the glossary."""

import json
import re
import runpy
from pathlib import Path

import pytest

from draftproof.plugin.options import OPTIONS
from draftproof.prompt_sources import COLUMN_KEYS, parse_columns, parse_prompts
from draftproof.report.labels import (
    ACCURACY_LABELS,
    DEPTH_LABELS,
    METRIC_LABELS,
    VERDICT_LABELS,
)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")


def blocks(language):
    """The README's fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def without_digits(line):
    """The line with its decimals left out: the last ones differ between processors."""
    return re.sub(r"\d+(\.\d+)?(e-\d+)?", "#", line)


def test_ci_calls_the_readmes_own_test_command():
    report, tests = blocks("")[:2]
    assert report.strip().endswith("-m pytest suites/ --report")
    assert tests.strip().endswith("-m pytest -n auto tests")
    assert tests in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_readmes_tables_are_those_of_committed_reports():
    updated = runpy.run_path(str(ROOT / "reports" / "update_readme.py"))["updated"]
    marked = re.findall(r"^<!-- (\w+): ", README, flags=re.MULTILINE)
    assert marked == ["report", "report", "findings", "selftest"]
    assert updated(README) == README
    # Each excerpt is written, not left as it stands.
    emptied = re.sub(
        r"^(<!-- \w+: .+? -->)\n.*?(?=^<!-- end of)",
        r"\1\n",
        README,
        flags=re.DOTALL | re.MULTILINE,
    )
    assert len(emptied) < len(README) * 0.8
    assert updated(emptied) == README


def test_the_readmes_example_fails_as_printed():
    """When it fails: python docs/make_failing_output.py."""
    example = runpy.run_path(str(ROOT / "docs" / "make_failing_output.py"))
    stated, found = example["printed"](README), example["failing_output"](README)
    assert "exceeds the tie tolerance" in stated
    assert [without_digits(line) for line in stated.splitlines()] == [
        without_digits(line) for line in found.splitlines()
    ]


def test_the_readme_counts_the_lines_of_its_suite():
    _, suite = blocks("python")
    numbers = {6: "six", 7: "seven", 8: "eight"}
    stated = re.search(r"a test file of (\w+) lines", README)[1]
    assert stated == numbers[len(suite.strip().splitlines())]


@pytest.mark.parametrize("folder", ["study-t0", "study-t1"])
def test_the_study_names_what_its_runs_were_given(folder):
    page = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    run = json.loads((ROOT / "reports" / folder / "run.json").read_text(encoding="utf-8"))
    tasks = {name.split("/")[1] for name in run["prompts"] if name.startswith("bbh/")}
    numbers = {6: "six", 12: "twelve"}
    assert f"{numbers[len(tasks)]} tasks of BIG-Bench Hard (logic)" in " ".join(page.split())
    assert f"up to {run['config']['max_new_tokens']} new tokens a prompt" in page
    assert f"in {run['models']['target']['dtype']}." in page
    assert {run["data"][name]["prompts"] for name in ("code", "math", "logic", "chat")} == {50}


def test_the_table_of_data_sets_is_that_of_the_code():
    """When it fails: python docs/make_data.py."""
    updated = runpy.run_path(str(ROOT / "docs" / "make_data.py"))["updated"]
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert page.count("| `speed_bench` |") == 1
    assert updated(page) == page


def test_the_figures_of_kernels_are_those_of_committed_runs():
    """When it fails: python docs/make_kernels.py."""
    updated = runpy.run_path(str(ROOT / "docs" / "make_kernels.py"))["updated"]
    page = (ROOT / "docs" / "kernels.md").read_text(encoding="utf-8")
    assert updated(page) == page


def test_the_plans_of_the_fleet_page_are_what_its_commands_print():
    """When it fails: python docs/make_fleet.py."""
    updated = runpy.run_path(str(ROOT / "docs" / "make_fleet.py"))["updated"]
    page = (ROOT / "docs" / "fleet.md").read_text(encoding="utf-8")
    stated, found = (without_digits(" ".join(text.split())) for text in (page, updated(page)))
    assert stated.count("Prompts a domain for a") == page.count("```console") > 0
    assert stated == found


def test_the_figures_of_chaos_are_those_of_the_committed_run():
    page = runpy.run_path(str(ROOT / "docs" / "make_chaos.py"))
    text = page["PAGE"].read_text(encoding="utf-8")
    assert page["updated"](text) == text
    readme = page["README"].read_text(encoding="utf-8")
    assert page["updated"](readme, page["sentence"]) == readme
    found = {
        "command": "c", "hardware": {"cpu": "x", "cpus": 2},
        "versions": {"python": "3", "pytest": "9"},
        "kinds": {
            "kill at a moment: x": {"tried": 5, "lost": [{"attack": "one", "lost": "a\ncase"}]},
            "kill at a moment: y": {"tried": 4, "lost": []},
            "bad input: x": {"tried": 1000, "lost": []},
            "fault of an engine: x": {"tried": 3, "lost": []},
        },
    }  # fmt: skip
    said = page["sentence"](found)
    assert said.startswith(
        "9 kills of runs at chosen and random moments, 3 faults of engines and 1,000"
    )
    assert "1 of these lost something" in said
    written = page["table"](found)
    assert "| kill at a moment: x | 5 | 1 |" in written
    assert written.endswith("- one: a case")


def test_the_options_of_the_data_page_are_understood():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for text in re.findall(r"--spec-prompts ([^\s`]+)", page):
        assert parse_prompts(text), text
    for text in re.findall(r"--spec-columns ([^\s`]+=[^\s`]+)", page):
        assert parse_columns(text), text
    flags = {option.flag for option in OPTIONS}
    assert set(re.findall(r"--(?:spec|report)[a-z-]*", page)) <= flags
    for key in COLUMN_KEYS:
        assert f"| `{key}` |" in page


def test_every_term_that_reports_print_is_in_the_glossary():
    terms = re.findall(r"^\| (.+?) \|", GLOSSARY, flags=re.MULTILINE)
    words = {part.strip() for term in terms for part in term.split(",")}
    labels = (*METRIC_LABELS.values(), *DEPTH_LABELS.values(), *ACCURACY_LABELS.values())
    for label in labels:
        term = re.sub(r" \(.*\)| ÷ .*| of .* outputs", "", label.term)
        assert any(word.startswith(term) for word in words), label.term
    for verdict in ("identical", "numerical", "algorithmic", "sampled"):
        assert VERDICT_LABELS[verdict] == verdict
        assert f"*{verdict}*" in GLOSSARY


def test_the_tables_of_model_families_are_those_that_are_tested():
    """When it fails: python docs/make_families.py."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert "| Llama" in page
    assert "| Mamba" in page
    assert runpy.run_path(str(ROOT / "docs" / "make_families.py"))["updated"](page) == page


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")))
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
