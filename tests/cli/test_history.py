"""draftproof history: what it prints, its page, and how it refuses."""

from __future__ import annotations

import json

import pytest
from history_entries import commit, entry, line
from page_tools import Page

from draftproof.cli import main
from draftproof.history.file import append

LEVELS = [2.0] * 10 + [1.8] * 10


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Twenty runs with a change, and three of another tree."""
    path = tmp_path_factory.mktemp("storage") / "history.jsonl"
    for run in line(LEVELS):
        append(path, run)
    for number in range(20, 23):
        append(path, entry(number, 1.5, facts={"setting tree": "chain:4", "machine": "x86_64"}))
    return path


def run(capsys, *words):
    code = main(["history", *(str(word) for word in words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_and_the_change_point_are_printed(capsys, file):
    code, out, err = run(capsys, file, "--last=5")
    assert (code, err) == (0, "")
    assert out.startswith("block efficiency over commits")
    change = f"between {commit(9)[:10]} and {commit(10)[:10]}"
    assert f"Change point, overall: 2.000 → 1.800 (medians), {change}, p = .002" in out
    assert "setting tree chain:4" in out
    assert "1.700–1.900" in out
    assert commit(14)[:10] not in out
    assert "15 older runs are tested too and not shown" in out


def test_json_has_every_run(capsys, file):
    code, out, _ = run(capsys, file, "--json", "--last=1")
    values = json.loads(out)
    assert code == 0
    assert [len(series["runs"]) for series in values["series"]] == [3, 20]
    [overall, code_domain] = values["series"][1]["change_points"]
    assert overall["first_commit_after"] == code_domain["first_commit_after"] == commit(10)
    assert values["series"][1]["runs"][0]["figures"]["code"]["value"] == 2.0


def test_markdown_is_printed(capsys, file):
    code, out, _ = run(capsys, file, "--markdown")
    assert code == 0
    assert out.startswith("## block efficiency over commits")
    assert "| commit |" in out


MARKUP = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def page(file, tmp_path_factory):
    """The page of that history, and of runs of a branch with a name that is markup."""
    folder = tmp_path_factory.mktemp("page")
    for number in range(9):
        append(folder / "other.jsonl", entry(number, 2.0, branch=MARKUP))
    words = [file, folder / "other.jsonl", "--html", folder / "history.html"]
    assert main(["history", *map(str, words)]) == 0
    return Page((folder / "history.html").read_text(encoding="utf-8"))


def test_the_page_has_a_chart_a_line_and_nothing_of_a_network(page):
    assert list(page.figures) == [f"series-{n}-{scope}" for n in (1, 2, 3) for scope in (0, 1)]
    rows = page.figures["series-2-1"]["rows"]
    assert [row["value"] for row in rows] == LEVELS
    assert rows[0] | {"time": ""} == {
        "run": 1, "commit": commit(0)[:10], "time": "", "value": 2.0, "low": 1.9, "high": 2.1,
        "n": 400, "tested": "yes", "remarks": "",
    }  # fmt: skip
    # The levels are drawn where there is a change point, and only there.
    levels = page.figures["series-2-1"]["spec"]["layer"][-1]["data"]["values"]
    assert [(row["from"], row["to"], row["level"]) for row in levels] == [
        (0.5, 10.5, 2.0), (10.5, 20.5, 1.8),
    ]  # fmt: skip
    assert len(page.figures["series-1-0"]["spec"]["layer"]) == 2
    assert "draftproof history" in page.text["command"]
    links = [*page.attributes("src"), *page.attributes("href")]
    assert all(link.startswith(("#", "data:")) for link in links)


def test_the_page_escapes_what_others_wrote(page):
    assert "<script>alert" not in page.html
    assert "alert(1)" in page.html


def test_several_files_are_one_history(capsys, file, tmp_path):
    other = tmp_path / "other.jsonl"
    append(other, entry(40, 1.8))
    code, out, _ = run(capsys, file, other, "--json")
    assert code == 0
    assert sum(len(series["runs"]) for series in json.loads(out)["series"]) == 24


def test_what_cannot_be_used_is_refused_with_exit_code_4(capsys, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(capsys)[0] == 4
    code, _, err = run(capsys)
    assert code == 4
    assert "there is no history at .draftproof/history.jsonl" in err
    assert "--metric: unknown value 'blocks'" in run(capsys, file, "--metric=blocks")[2]
    assert "unknown value 'mian'; did you mean 'main'" in run(capsys, file, "--branch=mian")[2]
    assert "give 1 or more" in run(capsys, file, "--last=0")[2]
    assert "there is no folder" in run(capsys, file, "--html", tmp_path / "no" / "page.html")[2]
    (tmp_path / "empty.jsonl").write_text("")
    assert "the history is empty" in run(capsys, tmp_path / "empty.jsonl")[2]
