"""Files that the tools themselves wrote: our figures are those that the tools state beside them.

Of the built-in target behind vLLM 0.32.0 on a CPU, with ``--per-request-spec-decode-metrics
detailed`` and n-gram drafts of 4 tokens: four completions, and five random prompts of ``vllm bench
serve --save-result --save-detailed`` and of AIPerf 0.13.0 (``aiperf profile --endpoint-type
completions --export-level records --use-server-token-count``). Names of folders are taken out.
"""

import json
from pathlib import Path

import pytest

from draftproof.importing import read_results
from draftproof.statistics import as_peers

RESULTS = Path(__file__).parents[2] / "results"
ANSWERS, BENCH = RESULTS / "vllm_0.32_answers.jsonl", RESULTS / "vllm_0.32_bench.json"
RECORDS, SUMS = RESULTS / "aiperf_0.13.jsonl", RESULTS / "aiperf_0.13.json"


def vllm_figures(cases):
    return as_peers(cases, ["vllm"])["vllm"]


def test_answers_of_vllm():
    told = [
        json.loads(line)["metrics"]["speculative_decoding"]
        for line in ANSWERS.read_text("utf-8").splitlines()
    ]
    cases = read_results([ANSWERS])[2].cases
    assert len(cases) == len(told) == 4
    for case, its in zip(cases, told, strict=True):
        figures = vllm_figures([case])
        assert figures["mean_acceptance_length"] == pytest.approx(its["mean_acceptance_length"])
        assert figures["draft_acceptance_rate"] == pytest.approx(its["draft_acceptance_rate"])
        assert figures["num_draft_tokens"] == sum(its["per_step_drafted"])
        assert figures["num_drafts"] == its["num_spec_steps"]
        reached = [sum(kept > place for kept in its["per_step_accepted"]) for place in range(4)]
        rates = figures["per_position_acceptance_rate"]
        assert rates == pytest.approx(
            [count / its["num_spec_steps"] for count in reached][: len(rates)]
        )


def test_a_benchmark_of_vllm():
    told = json.loads(BENCH.read_text("utf-8"))
    cases = read_results([BENCH])[2].cases
    figures = vllm_figures(cases)
    assert figures["draft_acceptance_rate"] == pytest.approx(
        told["spec_decode_acceptance_rate"] / 100
    )
    assert figures["mean_acceptance_length"] == pytest.approx(told["spec_decode_acceptance_length"])
    assert figures["num_drafts"] == told["spec_decode_num_drafts"]
    assert figures["num_draft_tokens"] == told["spec_decode_draft_tokens"]
    assert figures["num_accepted_tokens"] == told["spec_decode_accepted_tokens"]
    assert figures["per_position_acceptance_rate"] == pytest.approx(
        told["spec_decode_per_position_acceptance_rates"]
    )


def test_records_and_sums_of_aiperf():
    """One of its requests had no draft, which is in its means."""
    told = json.loads(SUMS.read_text("utf-8"))
    cases = read_results([RECORDS])[2].cases
    assert [case.counts.drafted for case in cases].count(0) == 1
    summary = read_results([SUMS])[2]
    assert summary.model == "served"
    sums = as_peers(summary.cases, ["aiperf"])["aiperf"]
    for name, value in as_peers(cases, ["aiperf"])["aiperf"].items():
        if name.startswith("pooled"):
            assert {str(length): count for length, count in value.items()} == told[name]
        else:
            assert value == pytest.approx(told[name]["avg"])
        if name.startswith(("total", "spec_decode_overall", "spec_decode_token")):
            assert sums[name] == pytest.approx(value)
