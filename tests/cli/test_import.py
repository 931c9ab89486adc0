"""draftproof import: what it writes and prints, and what the other commands make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from draftproof.cli import main

RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """A function that runs a command in an empty folder: its exit code, and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def answer(kept, *, prompt=9, drafted=3):
    """A vLLM answer of steps that kept these numbers of tokens, none of them cut."""
    histogram = [kept.count(length) for length in range(drafted + 1)]
    return {
        "model": "org/target",
        "usage": {"prompt_tokens": prompt, "completion_tokens": 1 + sum(kept) + len(kept)},
        "metrics": {
            "speculative_decoding": {
                "acceptance_histogram": histogram,
                "num_spec_steps": len(kept),
                "num_accepted_draft_tokens": sum(kept),
                "num_draft_tokens": drafted * len(kept),
                "num_spec_tokens": drafted,
            }
        },
    }


def answers(path, shift=0, **options):
    """Twelve answers, of which steps keep a token less where a shift says so."""
    rows = [
        answer([max(0, (3 * i + j) % 4 - shift * (j % 2)) for j in range(10)], **options)
        for i in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_becomes_a_report_that_the_other_commands_read(cli, tmp_path):
    code, out, err = cli("import", RESULTS / "vllm.jsonl", "--domain", "chat")
    assert (code, err) == (0, "")
    folder = tmp_path / out.split("Report: ")[1].strip()
    assert folder.parent.name == "reports"
    assert folder.name.endswith("-vllm")
    code, again, _ = cli("report", folder)
    assert code == 0
    assert again.startswith(out.split("Report: ")[0].strip())
    assert "chat" in again
    code, found, _ = cli("metrics", folder, "--json", "--as", "vllm")
    assert json.loads(found)["metrics"]["vllm"]["num_accepted_tokens"] == 20
    code, found, _ = cli("report", folder, "--json")
    lossless = json.loads(found)["lossless"]
    assert (lossless["cases"], lossless["not_judged"], lossless["identical"]) == (3, 3, 0)
    assert cli("study", folder)[0] == 0


def test_gates_judge_two_imported_runs(cli, tmp_path):
    same, worse = answers(tmp_path / "same.jsonl"), answers(tmp_path / "worse.jsonl", shift=1)
    assert cli("import", same, "--out", "before", "--save", "main")[0] == 0
    assert cli("import", worse, "--out", "now")[0] == 0
    gate = "--fail=acceptance_rate@overall:-0.05"
    code, out, _ = cli("compare", "before", "now", gate)
    assert code == 1
    assert out.startswith("GATE FAILED: now against before, 12 cases")
    text = " ".join(out.split())
    assert "now is imported from vLLM's answers" in text
    assert "paired by their custom_id in a batch's answers, else by their place" in text
    assert cli("compare", "main", "before", gate)[0] == 0
    assert cli("compare", "main", "now", gate)[0] == 1
    assert cli("compare", "now", "--fail=acceptance_rate@overall:>=0.05")[0] == 0
    assert cli("compare", "before", "now", "--html", "page.html")[0] == 0


def test_runs_of_other_prompts_are_not_compared(cli, tmp_path):
    cli("import", answers(tmp_path / "a.jsonl"), "--out", "a")
    cli("import", answers(tmp_path / "b.jsonl", prompt=8), "--out", "b")
    code, _, err = cli("compare", "a", "b")
    assert code == 4
    assert "the prompts differ" in err
    assert "9 tokens → 8 tokens" in err
    assert cli("compare", "a", "b", "--anyway")[0] == 0


def test_a_figure_that_no_file_tells_cannot_be_gated(cli):
    cli("import", RESULTS / "spec_bench.jsonl", "--out", "a")
    code, _, err = cli("compare", "a", "a", "--fail=acceptance_rate:-0.02")
    assert code == 4
    assert "has no acceptance_rate_drafted: no node was drafted, or the engine does not tell" in err
    code, out, _ = cli("compare", "a", "a", "--fail=block_efficiency@overall:-50%")
    assert "block_efficiency" in out


def test_runs_that_count_other_things_are_not_compared(cli, tmp_path):
    rates = json.loads((RESULTS / "specdec_bench.json").read_text())
    rates[0]["Generated_Token_Binned_Average_AL"] = {"0": 2.0}
    (tmp_path / "inner.json").write_text(json.dumps(rates))
    cli("import", RESULTS / "specdec_bench.json", "--out", "a")
    cli("import", "inner.json", "--out", "b")
    code, _, err = cli("compare", "a", "b")
    assert code == 4
    assert "what is counted: chunks → inner steps" in err


def test_runs_without_a_case_in_common_say_why(cli):
    cli("import", RESULTS / "aiperf.jsonl", "--out", "a")
    cli("import", RESULTS / "aiperf.json", "--out", "b")
    code, _, err = cli("compare", "a", "b")
    assert code == 4
    assert "no case in common" in err
    assert "imported" in err


def test_what_cannot_be_used_is_refused_before_anything_is_written(cli, tmp_path):
    good = RESULTS / "vllm.jsonl"
    assert cli("import", good, "--out", "a")[0] == 0
    code, _, err = cli("import", good, "--out", "a")
    assert code == 4
    assert "it holds another run" in err
    code, _, err = cli("import", good, "--format", "vlm", "--out", "b")
    assert code == 4
    assert "did you mean 'vllm'" in err
    code, _, err = cli("import", good, "--save", "a/b", "--out", "b")
    assert code == 4
    (tmp_path / "cut.jsonl").write_text(good.read_text()[:-20])
    code, _, err = cli("import", "cut.jsonl", "--out", "b")
    assert code == 4
    assert "cut.jsonl, line 3: the last line is cut off" in err
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "reports").exists()


def test_each_format_prints_what_it_does_not_tell(cli):
    for path in sorted(RESULTS.glob("*.json*")):
        code, out, err = cli("import", path, "--out", f"r-{path.name}")
        assert (code, err) == (0, "")
        assert "not told by the files: " in out
        assert "The page was not made" not in out
        assert cli("metrics", f"r-{path.name}")[0] == 0
        assert cli("study", f"r-{path.name}")[0] == 0
