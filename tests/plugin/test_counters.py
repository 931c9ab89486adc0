"""Engines that tell counters and no steps: what they cannot say fails, and is in no figure."""

from __future__ import annotations

import json
import threading
from xml.etree import ElementTree

import pytest
from fake_server import serving

from draftproof.config import RunConfig, Sampling
from draftproof.engines.protocol import Request
from draftproof.engines.reference import ReferenceEngine
from draftproof.models.loading import load_pair
from draftproof.stopping import Stopping

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
    assert not {"draftproof.tree", "draftproof.rule"} & properties.keys(), "it was given neither"
    cases = [
        {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in ElementTree.parse(pytester.path / "junit.xml").iter("testcase")
    ]
    assert sum(int(case["draftproof.steps"]) for case in cases) == own["steps"]
    most = [int(c.get("draftproof.most_steps", c["draftproof.steps"])) for c in cases]
    assert sum(most) == own["most_steps"]


@pytest.fixture
def server(pair):
    """A server of the target that counts as it is told, in its answers and in its metrics."""
    target, draft, dtype = (option.partition("=")[2] for option in pair)
    config = RunConfig(target=target, draft=draft, dtype=dtype, check_state=0)
    models = load_pair(config, lambda line: None)
    engine = ReferenceEngine.without_drafts(models, config)
    total = {"drafts": 0, "draft_tokens": 0, "accepted_tokens": 0}
    lock = threading.Lock()

    class Answers:
        tells = True
        counts_one_in = 1
        asked = 0

        def __call__(self, path, body):
            if path == "/metrics":
                lines = [f"vllm:spec_decode_num_{n}_total {v}\n" for n, v in total.items()]
                return "".join(lines) + 'vllm:num_requests_running{engine="0"} 2\n'
            stopping = Stopping(max_new_tokens=body["max_tokens"], decode=models.decode)
            asked = Request(
                request_id="",
                prompt_token_ids=tuple(body["prompt"]),
                sampling=Sampling(),
                stopping=stopping,
            )
            with lock:
                self.asked += 1
                if self.asked % self.counts_one_in == 0:
                    for name, more in zip(total, (2, 6, 1), strict=True):
                        total[name] += more
                ids = list(engine.plain(asked).token_ids)
            told = {"num_spec_steps": 2, "num_draft_tokens": 6, "num_accepted_draft_tokens": 1}
            choice = {"text": models.decode(ids), "token_ids": ids, "finish_reason": "length"}
            metrics = {"speculative_decoding": told} if self.tells else None
            return {"choices": [choice], "metrics": metrics}

    answers = Answers()
    with serving(answers) as fake:
        yield answers, f"url={fake.url},metrics={fake.url}/metrics"


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one process", "two workers"])
def test_a_servers_counters_are_read_once_a_run_and_held_to_its_answers(
    run, server, workers, pytester
):
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    answers, options = server
    given = ("--spec-engine=openai", f"--spec-engine-option={options}", "--report")
    result = run(*given, "--report-dir=out", *workers)
    result.assert_outcomes(passed=3)
    counters = json.loads((pytester.path / "out" / "run.json").read_text())["server_counters"]
    # More than the cases, by what was decoded to warm up.
    assert counters["grown"]["drafted"] == 6 * answers.asked > 18
    assert counters["readings"] >= 2
    assert counters["largest"] == {"running": 2.0}
    result.stdout.fnmatch_lines(["*over the run, the server counted*accepted of*drafted tokens*"])
    result.stdout.fnmatch_lines(["*at most 2 requests ran*"])
    assert "CONTRADICTION" not in result.stdout.str()


def test_a_server_that_counts_less_than_its_answers_tell_contradicts_itself(run, server):
    answers, options = server
    answers.counts_one_in = 3
    given = ("--spec-engine=openai", f"--spec-engine-option={options}", "--report")
    result = run(*given, "--report-dir=out")
    result.stdout.fnmatch_lines(["*CONTRADICTION: the server's metrics grew by*drafted tokens*"])


def test_under_several_workers_no_case_takes_the_growth_of_others_for_its_own(run, server, metrics):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    answers, options = server
    answers.tells = False
    given = ("--spec-engine=openai", f"--spec-engine-option={options}", "--report")
    run(*given, "--report-dir=out", "-n2").assert_outcomes(passed=3)
    assert metrics()["overall"]["acceptance_rate_drafted"]["value"] is None


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
