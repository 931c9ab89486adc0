"""vLLM's server on a CPU, on the built-in pair: what holds of it, and what was found."""

import pytest
from vllm_server import NGRAM, missing, running

if missing():
    pytest.skip(missing(), allow_module_level=True)

import json
import urllib.request
from dataclasses import replace
from pathlib import Path

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Status
from draftproof.conformance.kit import examine
from draftproof.conformance.making import make_subject
from draftproof.conformance.rendering import result_line
from draftproof.engines.measuring import Bench
from draftproof.engines.openai import OpenAIEngine
from draftproof.engines.server_counters import metric_counts
from draftproof.trace import Verdict

TARGET = Path(__file__).parents[2] / "fixtures" / "models" / "builtin-target"


@pytest.fixture(scope="module")
def subject():
    config = RunConfig(max_new_tokens=12, dtype="float32", sampling=Sampling(temperature=1.0))
    return make_subject(config, prompts=1, report=lambda line: None)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """The addresses of a server without speculation, and of one with n-grams."""
    folder = tmp_path_factory.mktemp("logs")
    with (
        running(TARGET, log=folder / "plain.log") as plain,
        running(TARGET, NGRAM, log=folder / "ngram.log") as ngram,
    ):
        yield {"plain": plain, "ngram": ngram}


def options(servers, **more):
    given = {"url": servers["ngram"], "plain_url": servers["plain"], "model": "served", **more}
    return tuple(given.items())


@pytest.mark.parametrize("stream", ["true", "false"])
def test_cases(subject, servers, stream):
    """At temperature 0 every output is the target's own, and counts are a request's own."""
    config = replace(
        subject.config,
        engine="openai",
        engine_options=options(servers, stream=stream),
        sampling=Sampling(temperature=0.0),
    )
    engine = OpenAIEngine(config, subject.pair)
    bench = Bench(engine, subject.pair, config)
    records = [bench.run(prompt) for prompt in subject.prompts]
    engine.close()
    assert {record.verdict for record in records} <= {Verdict.IDENTICAL, Verdict.NUMERICAL}
    assert all(not record.contradictions for record in records)
    told = [record.counts for record in records if record.counts is not None]
    assert any(counts.drafted > 0 for counts in told)
    if stream == "true":
        assert all(record.speculative.arrivals for record in records)


def test_metrics_tell_what_answers_tell(subject, servers):
    """The growth of /metrics, by place too, is what the request's own answer counts."""
    config = replace(
        subject.config,
        engine="openai",
        engine_options=options(servers, metrics=f"{servers['ngram']}/metrics"),
        sampling=Sampling(temperature=0.0),
    )
    engine = OpenAIEngine(config, subject.pair)
    bench = Bench(engine, subject.pair, config)
    for prompt in subject.prompts:
        before, places = engine._counted()
        answered = engine._answered(engine._server, bench.request(prompt)).counts
        after, now = engine._counted()
        if answered is None:
            continue
        grown = metric_counts(before, after, places=(places, now))
        for name in ("drafted", "accepted", "drafted_steps", "longest_draft", "lengths"):
            assert getattr(grown, name) == getattr(answered, name), name
    engine.close()


@pytest.mark.parametrize(
    "name",
    ["greedy output", "length limit at every offset", "streamed and whole answers"],
)
def test_checks_of_the_kit(subject, servers, name):
    config = replace(subject.config, engine="openai", engine_options=options(servers))
    asked = replace(subject, config=config)
    (examined,) = examine(asked, [name])
    asked.close()
    assert examined.finding.status is Status.PASSED, result_line(examined)


def test_what_was_found_in_this_version_is_found(subject, servers):
    """0.32.0 emits what the target would hardly say (docs/found.md)."""
    with urllib.request.urlopen(f"{servers['ngram']}/version") as reply:
        version = json.load(reply)["version"]
    if not version.startswith("0.32.0"):
        pytest.skip(f"what vLLM {version} does above temperature 0 is not known here")
    config = replace(subject.config, engine="openai", engine_options=options(servers))
    asked = replace(subject, config=config)
    (examined,) = examine(asked, ["law of the output"])
    asked.close()
    assert examined.finding.status is Status.FAILED, result_line(examined)
