"""Engines that tell counters and no steps: what they cannot say fails, and is in no figure."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

ENGINE = """
from dataclasses import replace

from draftproof.engines.protocol import Capability, Counts, Generation
from draftproof.engines.reference import ReferenceEngine


class Counting:
    name = "counting"
    capabilities = frozenset({Capability.COUNTS})

    def __init__(self, config, pair):
        self.told = dict(config.engine_options).get("told", "")
        self.inner = ReferenceEngine(pair, config)

    def speculate(self, request):
        out = self.inner.speculate(request)
        counts = out.counts
        if self.told == "drafts":
            counts = replace(counts, steps=None)
        elif self.told == "a lie" and request.request_id.endswith("1"):
            counts = Counts(steps=1, drafted=1000, accepted=1000)
        return Generation(
            token_ids=out.token_ids, stop_reason=out.stop_reason, seconds=1.0, counts=counts
        )

    def plain(self, request):
        raise NotImplementedError

    def describe(self):
        return {"name": "counting"}

    def close(self):
        pass
"""


@pytest.fixture
def counting(pytester, monkeypatch):
    pytester.makepyfile(counting_engine=ENGINE)
    monkeypatch.syspath_prepend(pytester.path)
    return "--spec-engine=counting_engine:Counting"


def test_counters_that_cannot_be_fail_their_case_and_are_in_no_figure(counting, run, metrics):
    """1,000 accepted tokens in one step of an output of 8."""
    result = run(
        counting, "--spec-engine-option=told=a lie", "--report", "--report-dir=out", "--junitxml=j"
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*letters/1: the counts of this case contradict each other:*",
            "*counters: 1 steps at least*",
        ]
    )
    document = metrics()
    assert document["overall"]["nodes"] < 1000
    assert 1 <= document["overall"]["block_efficiency"]["value"] < 4
    note = "the counters of 1 of 3 cases contradict themselves or the output, and are in no figure"
    assert note in document["notes"]


def test_drafted_steps_alone_say_between_what_the_figures_lie(counting, run, metrics, pytester):
    options = ["--report", f"--junitxml={pytester.path / 'junit.xml'}"]
    run(counting, "--spec-engine-option=told=drafts", "--report-dir=out", *options)
    run("--report", "--report-dir=reference")
    own, reference = metrics()["overall"], metrics("reference")["overall"]
    assert own["steps"] <= reference["steps"] <= own["most_steps"]
    for name in ("accepted_length", "block_efficiency"):
        assert own["at_least"][name] <= reference[name]["value"] <= own[name]["value"]
    assert own["block_efficiency"]["value"] <= 1 + own["accepted_length"]["value"]
    properties = {
        p.get("name"): p.get("value")
        for p in ElementTree.parse(pytester.path / "junit.xml").iter("property")
    }
    assert properties["draftproof.overall.most_steps"] == str(own["most_steps"])
    assert "the engine does not tell its steps" in properties["draftproof.note.1"]
    assert float(properties["draftproof.overall.block_efficiency.at_least"]) >= 1
    assert properties["draftproof.engine"] == "counting"
    cases = [
        {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in ElementTree.parse(pytester.path / "junit.xml").iter("testcase")
    ]
    assert sum(int(case["draftproof.steps"]) for case in cases) == own["steps"]
    most = [int(c.get("draftproof.most_steps", c["draftproof.steps"])) for c in cases]
    assert sum(most) == own["most_steps"]


@pytest.mark.parametrize("workers", [("-n2",), ("--tx=2*popen", "--dist=load")])
def test_counters_of_a_whole_server_are_refused_under_several_workers(run, workers):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    metrics = "url=http://127.0.0.1:9,metrics=http://127.0.0.1:9/metrics"
    result = run("--spec-engine=openai", f"--spec-engine-option={metrics}", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*metrics=: 2 workers of pytest-xdist ask one server*"])


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        ("url=http://127.0.0.1:9,metrics=http://127.0.0.1:9/metrics", "-n1"),
        ("url=http://127.0.0.1:9", "-n2"),
    ],
)
def test_one_worker_and_servers_that_count_each_request_are_not_refused(run, options, workers):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    result = run(
        "--spec-engine=openai", f"--spec-engine-option={options},retries=0", workers, "--co"
    )
    assert result.ret == pytest.ExitCode.OK


def test_errors_are_said_wherever_a_figure_may_be_quoted_alone(run, pytester, metrics):
    pytester.makeconftest(
        "import pytest\n"
        "from draftproof.engines.reference import ReferenceEngine\n"
        "def speculate(self, request, original=ReferenceEngine.speculate):\n"
        "    if request.request_id == 'letters/1':\n"
        "        raise MemoryError('no room')\n"
        "    return original(self, request)\n"
        "@pytest.fixture(autouse=True)\n"
        "def failing(monkeypatch):\n"
        "    monkeypatch.setattr(ReferenceEngine, 'speculate', speculate)\n"
    )
    run("--report", "--report-dir=out", f"--junitxml={pytester.path / 'junit.xml'}")
    note = "letters: these figures are of 2 of the 3 prompts of the data: 1 ended in an error"
    assert note in metrics()["notes"]
    assert note in (pytester.path / "out" / "summary.md").read_text()
    properties = {
        p.get("name"): p.get("value")
        for p in ElementTree.parse(pytester.path / "junit.xml").iter("property")
    }
    assert properties["draftproof.letters.prompts.measured"] == "2"
    assert properties["draftproof.letters.prompts.errors"] == "1"
    assert note in properties.values()


def test_metrics_as_json_say_which_prompts_are_missing(run, pytester, capsys):
    from draftproof.cli.main import main

    run("--report", "--report-dir=out")
    path = pytester.path / "out" / "run.json"
    described = json.loads(path.read_text())
    described["data"] = {"letters": {"prompts": 3, "available": 40, "sha256": "", "origins": []}}
    path.write_text(json.dumps(described))
    capsys.readouterr()
    assert main(["metrics", str(path.parent), "--as", "vllm", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["prompts"] == {
        "letters": {"measured": 3, "errors": 0, "not_run": 0, "given": 3, "of_data": 40}
    }
    assert document["complete"] is True
    assert document["notes"] == [
        "letters: these figures are of 3 of the 40 prompts of the data: 37 were left out by the "
        "limit",
    ]
