"""The commands of draftproof: what they print, as text and as JSON, and how they refuse."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from study_traces import study_run

from draftproof.cli import main
from draftproof.journal import Journal
from draftproof.report import JOURNAL_FILE, point_latest, write_report
from draftproof.report.run_info import TOY_NOTICE
from draftproof.statistics import PEERS


def run(capsys, *words):
    """Exit code, standard output and standard error of a command."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *words):
    """The one line with which a command refuses, at exit code 4 and with nothing printed."""
    code, out, err = run(capsys, *words)
    assert (code, out) == (4, "")
    assert err.count("\n") == 1, err
    return err


def as_json(capsys, *words):
    code, out, err = run(capsys, *words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out, parse_constant=pytest.fail)


def test_metrics_prints_the_projects_asked_for(capsys, saved):
    code, out, _ = run(capsys, "metrics", saved, "--as", "vllm, sglang")
    assert code == 0
    assert out.startswith(f"nightly: all domains, 32 cases\n{TOY_NOTICE}\n\nvLLM (")
    assert "mean_acceptance_length" in out
    assert "SGLang (" in out
    assert "EAGLE" not in out


def test_projects_asked_for_one_by_one_add_up(capsys, saved):
    _, out, _ = run(capsys, "metrics", saved, "--as", "vllm", "--as", "eagle,vllm")
    assert out.count("\nvLLM (") == out.count("\nEAGLE (") == 1
    assert "SGLang" not in out


def test_two_values_for_one_option_are_refused(capsys, saved):
    line = refused(capsys, "metrics", saved, "--domain", "code", "--domain", "chat")
    assert line == "--domain: given more than once, as 'code' and as 'chat'; give it once\n"


def test_metrics_prints_all_projects_by_default(capsys, saved):
    _, out, _ = run(capsys, "metrics", saved)
    for peer in PEERS.values():
        assert f"\n{peer.title} (" in out


def test_metrics_of_a_domain_as_json(capsys, saved):
    whole = as_json(capsys, "metrics", saved, "--as", "sglang")
    chat = as_json(capsys, "metrics", saved, "--as", "sglang", "--domain", "chat")
    assert (whole["cases"], chat["cases"], chat["domain"]) == (32, 8, "chat")
    assert list(whole["metrics"]) == ["sglang"]
    assert chat["metrics"]["sglang"]["spec_verify_ct"] == 8 * 6
    assert whole["metrics"]["sglang"]["spec_verify_ct"] == 32 * 6


def test_study_prints_five_findings_with_verdicts(capsys, saved):
    code, out, _ = run(capsys, "study", saved, "--resamples", "500")
    assert code == 0
    assert [
        line[:3] for line in out.splitlines() if line[:2] in {f"{n}." for n in range(1, 6)}
    ] == [f"{n}. " for n in range(1, 6)]
    assert (
        "1. CONFIRMED: acceptance probability falls in the order chat > code > logic > math" in out
    )
    assert "toy pair" in out
    document = as_json(capsys, "study", saved, "--resamples", "500")
    assert [finding["number"] for finding in document["findings"]] == [1, 2, 3, 4, 5]
    assert document["notes"] == [TOY_NOTICE]
    assert {finding["verdict"] for finding in document["findings"]} <= {
        "confirmed",
        "refuted",
        "not resolved",
    }


def test_study_of_other_domains_says_so(capsys, tmp_path, run_info):
    cases = [case for case in study_run(prompts=5, steps=2) if case.domain == "code"]
    write_report(tmp_path / "run", run_info, cases)
    code, out, _ = run(capsys, "study", tmp_path / "run", "--resamples", "200")
    assert code == 0
    assert "this run has code." in out
    assert "findings" not in as_json(capsys, "study", tmp_path / "run", "--resamples", "200")


def test_report_prints_the_terminals_report_again(capsys, saved, run_info):
    again = write_report(saved, run_info, study_run(prompts=8, steps=6))
    code, out, _ = run(capsys, "report", saved)
    assert code == 0
    page = saved / "report.html"
    assert out == f"{again.terminal_text}\n\nPage: {page}\n"
    stored = json.loads((saved / "metrics.json").read_text(encoding="utf-8"))
    assert as_json(capsys, "report", saved) == stored
    assert [finding["number"] for finding in stored["findings"]] == [1, 2, 3, 4, 5]


def test_latest_and_a_killed_run_are_read_too(capsys, saved, tmp_path, run_info):
    point_latest(saved.parent, saved)
    assert run(capsys, "metrics", saved.parent / "latest", "--as", "vllm")[0] == 0
    killed = tmp_path / "killed"
    killed.mkdir()
    with Journal(killed / JOURNAL_FILE, run_info.to_json()) as journal:
        journal.append(study_run(prompts=1, steps=2)[0])
    code, out, _ = run(capsys, "report", killed, "--resamples", "200")
    assert code == 0
    assert "\nthe run is unfinished: these are the cases that it came to\n" in out
    document = as_json(capsys, "metrics", killed, "--as", "vllm")
    assert document["complete"] is False
    assert document["notes"] == [
        TOY_NOTICE,
        "the run is unfinished: these are the cases that it came to",
    ]
    assert as_json(capsys, "study", killed, "--resamples", "200")["notes"] == document["notes"]


@pytest.mark.parametrize("command", ["metrics", "study", "report"])
def test_a_missing_folder_is_one_line_and_exit_code_4(capsys, command, tmp_path):
    line = refused(capsys, command, tmp_path / "nowhere")
    assert line == f"there is no report at {tmp_path / 'nowhere'}; check the path\n"
    assert "does not hold a whole run" in refused(capsys, command, tmp_path)


def test_unknown_names_are_refused_with_the_nearest(capsys, saved):
    assert "did you mean 'vllm'" in refused(capsys, "metrics", saved, "--as", "vlm")
    assert "did you mean 'study'" in refused(capsys, "studdy", saved)
    assert "did you mean 'chat'" in refused(capsys, "metrics", saved, "--domain", "chatt")
    assert "--jsn" in refused(capsys, "study", saved, "--jsn")
    assert "give 100 or more" in refused(capsys, "study", saved, "--resamples", "7")
    assert "REPORT" in refused(capsys, "study")
    assert "give a command: metrics, study, report" in refused(capsys)


@pytest.mark.parametrize("words", [["--help"], ["metrics", "--help"], ["study", "--help"]])
def test_help_is_worth_reading_and_no_error(capsys, words):
    code, out, err = run(capsys, *words)
    assert (code, err) == (0, "")
    assert "REPORT" in out
    assert max(map(len, out.splitlines())) <= 100


def test_the_module_runs_and_needs_no_torch(saved):
    code = (
        "import sys; from draftproof.cli import main; "
        f"code = main(['metrics', {str(saved)!r}, '--as', 'vllm']); "
        "others = ('torch', 'transformers', 'statsmodels', 'scipy.stats', "
        "'draftproof.cli.advising'); "
        "print([m for m in others if m in sys.modules]); "
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    done = subprocess.run(
        [sys.executable, "-m", "draftproof", "metrics", "nowhere"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "there is no report at nowhere; check the path\n"
