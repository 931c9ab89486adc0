"""draftproof report for other programs, and draftproof schema: what is written, and refused."""

from __future__ import annotations

import json
import shutil

import pytest
from history_entries import line

from draftproof.cli import main
from draftproof.history.as_json import trend_json
from draftproof.history.file import append
from draftproof.history.trend import trend


@pytest.fixture(scope="module")
def report(tmp_path_factory, saved):
    """The saved run without its page, and with a gate that failed."""
    folder = tmp_path_factory.mktemp("exports") / "run"
    shutil.copytree(saved, folder, ignore=shutil.ignore_patterns("*.html"))
    gate = {"gate": "speedup:-5%", "scope": "overall", "outcome": "fail", "reason": ""}
    values = {"outcome": "fail", "gates": [gate]}
    (folder / "comparison.json").write_text(json.dumps(values))
    (folder / "comparison.md").write_text("# GATE FAILED\n")
    return folder


def run(capsys, *words):
    code = main([*map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def is_valid(name, values, capsys):
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema, of the test extra")
    code, text, _ = run(capsys, "schema", name)
    assert code == 0
    return jsonschema.Draft202012Validator(json.loads(text)).is_valid(values)


def test_everything_that_is_asked_for_is_written_at_once(capsys, report, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    words = [
        f"--csv={tmp_path / 'csv'}",
        f"--tables={tmp_path / 'tables.json'}",
        f"--openmetrics={tmp_path / 'metrics.txt'}",
        f"--badge={tmp_path / 'badge.svg'}",
        "--badge-figure=accepted_length@chat",
        "--github",
        "--resamples=200",
    ]
    code, out, err = run(capsys, "report", report, *words)
    assert (code, err) == (0, "")
    assert out.startswith("::error title=draftproof%3A gate fail::speedup:-5%25 in overall")
    assert "block efficiency over" not in out
    assert "Badge: " in out
    assert "gate failed" in (tmp_path / "badge.svg").read_text()
    assert "accepted length in chat" in (tmp_path / "badge.svg").read_text()
    assert (tmp_path / "metrics.txt").read_text().endswith("# EOF\n")
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("# GATE FAILED\n\n\n# draftproof: nightly")
    tables = json.loads((tmp_path / "tables.json").read_text(encoding="utf-8"))
    names = {path.stem for path in (tmp_path / "csv").iterdir()}
    assert names == set(tables["tables"])
    assert is_valid("tables", tables, capsys)
    # The page is not made again: a job that only wants a badge need not wait for it.
    assert not (report / "report.html").exists()


def test_what_is_printed_and_kept_is_as_its_schema_says(capsys, report, saved, tmp_path):
    metrics = json.loads((report / "metrics.json").read_text())
    assert is_valid("metrics", metrics, capsys)
    assert is_valid("metrics", json.loads(run(capsys, "report", report, "--json")[1]), capsys)
    gate = "--fail=accepted_length@overall:-1%"
    compared = json.loads(run(capsys, "compare", saved, saved, gate, "--json")[1])
    assert is_valid("comparison", compared, capsys)
    runs = line([2.0] * 10 + [1.8] * 10, speedup=1.2)
    assert is_valid("trend", trend_json(trend(runs)), capsys)
    append(tmp_path / "history.jsonl", runs[0])
    entry = json.loads((tmp_path / "history.jsonl").read_text())
    assert is_valid("history", entry, capsys)
    assert not is_valid("history", {**entry, "figures": {"code": {"speedup": [1]}}}, capsys)


def test_schemas_are_listed_and_an_unknown_one_is_refused(capsys):
    code, out, _ = run(capsys, "schema")
    assert code == 0
    assert [text.split()[0] for text in out.splitlines()] == [
        "tables", "metrics", "comparison", "history", "trend",
    ]  # fmt: skip
    code, _, err = run(capsys, "schema", "table")
    assert code == 4
    assert "did you mean 'tables'" in err


def test_what_cannot_be_written_is_refused_before_any_work(capsys, report, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for words, says in (
        ([f"--csv={tmp_path / 'file'}"], "it is a file; give a folder's path"),
        ([f"--badge={tmp_path}"], "it is a folder; give a file's path"),
        ([f"--openmetrics={tmp_path / 'no' / 'x'}"], "there is no folder"),
        ([f"--tables={tmp_path / 'x'}", "--json"], "--json prints or opens the report itself"),
        ([f"--tables={tmp_path / 'x'}", "--open"], "--open prints or opens the report itself"),
    ):
        code, _, err = run(capsys, "report", report, *words)
        assert code == 4
        assert says in err
    assert not (tmp_path / "x").exists()
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    code, _, err = run(capsys, "report", report, "--github", "--resamples=100")
    assert code == 4
    assert "GITHUB_STEP_SUMMARY is not set" in err
