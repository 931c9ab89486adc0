"""``--spec-executor ray``: actors measure the cases, whatever becomes of some of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from plugin_sources import SUITE

from draftproof.report import load_run

PROMPTS = ["a b c", "c b a", "d e", "a a b", "b c d", "e d c", "a", "b b", "c d e", "e a"]

TROUBLED = """
import os, signal
from pathlib import Path
from draftproof.engines.reference import ReferenceEngine


class Troubled(ReferenceEngine):
    def __init__(self, config, pair):
        self.when = dict(config.engine_options)
        super().__init__(pair, config)

    def speculate(self, request):
        for what, number in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP)):
            if request.request_id == self.when.get(what) and self._is_first(what):
                os.kill(os.getpid(), number)
        if request.request_id == self.when.get("fails"):
            raise RuntimeError("on purpose")
        return super().speculate(request)

    def _is_first(self, what):
        try:
            Path(self.when["flags"], what).mkdir()
        except FileExistsError:
            return False
        return True
"""


@pytest.fixture
def start(pytester, pair, monkeypatch):
    """Runs ten prompts in a process of their own, which actors start from."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'draftproof[ray]'")
    pytester.makepyfile(test_letters=SUITE.replace('["a b c", "c b a", "d e"]', repr(PROMPTS)))
    pytester.makepyfile(engines=TROUBLED)
    monkeypatch.setenv("PYTHONPATH", str(pytester.path), prepend=":")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Ray leaves files and sockets to be collected when the process ends.
    ignored = ["-W", "ignore::ResourceWarning", "-W", "ignore::FutureWarning"]

    def start(*options):
        return pytester.runpytest_subprocess(
            "-p", "no:cacheprovider", *ignored, *pair, "--spec-max-new-tokens=8", *options,
            timeout=400,
        )  # fmt: skip

    return start


def same(one, two):
    """Whether two records are of the same outputs and nodes."""
    assert one.speculative.token_ids == two.speculative.token_ids
    for name in ("token_id", "parent", "accepted", "target_rank"):
        assert np.array_equal(one.nodes[name], two.nodes[name])


def test_actors_that_are_killed_or_hang_are_replaced_and_the_report_is_that_of_one_process(
    start, pytester
):
    start("--report", "--report-dir=one").assert_outcomes(passed=10)
    engine = ["--spec-engine=engines:Troubled", "--spec-engine-timeout=20"]
    trouble = ["killed=letters/2", "stopped=letters/5", f"flags={pytester.path}"]
    result = start(
        "--report", "--report-dir=two", "--spec-executor=ray:2", *engine,
        *(f"--spec-engine-option={option}" for option in trouble),
    )  # fmt: skip
    result.assert_outcomes(passed=10)
    text = result.stdout.str()
    assert "cases are measured by 2 actors of Ray" in text
    assert text.count("one of the actors of Ray is lost") == 2
    assert "nothing was heard of a case for 40 seconds" in text
    one, two = (load_run(pytester.path / folder) for folder in ("one", "two"))
    assert two.complete
    assert not (pytester.path / "two" / "journal.jsonl").exists()
    cases = {case.case_id: case for case in two.cases}
    assert {case.case_id for case in one.cases} == cases.keys()
    for case in one.cases:
        same(case, cases[case.case_id])
    assert two.run.models["engine"]["executor"] == "2 actors of Ray"
    assert two.run.models["draft"]["sha256"] == one.run.models["draft"]["sha256"]
    assert two.run.prompt_tokens == one.run.prompt_tokens


def test_batches_failures_and_resuming(start, pytester):
    """A failing case fails alone; what arrived before a session ended is not measured again."""
    result = start(
        "--report", "--report-dir=out", "--spec-executor=ray:2", "--spec-engine=engines:Troubled",
        "--spec-engine-option=fails=letters/1", "-x",
    )  # fmt: skip
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*on purpose*"])
    journal = (pytester.path / "out" / "journal.jsonl").read_text().splitlines()
    arrived = [json.loads(line).get("case_id") for line in journal[1:]]
    assert {"letters/0", "letters/1"} <= set(arrived)
    kept = [case for case in arrived if case != "letters/1"]
    again = start(
        "--report", "--report-dir=out", "--spec-executor=ray:1", "--spec-engine=engines:Troubled",
        "--spec-engine-option=fails=letters/1", "--spec-resume",
    )  # fmt: skip
    again.assert_outcomes(passed=9, failed=1)
    assert len(load_run(pytester.path / "out").cases) == 10
    assert kept

    batched = start("--report", "--report-dir=many", "--spec-executor=ray:2", "--spec-batch=3")
    batched.assert_outcomes(passed=10)
    saved = load_run(pytester.path / "many")
    assert saved.run.models["engine"]["prompts at once"] == 3
    assert len(saved.cases) == 10


# What needs no Ray -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--spec-executor=dask"], "--spec-executor: unknown value 'dask'"),
        (["--spec-executor=ray:0"], "'0' is not a number of actors"),
        (["--spec-executor=ray", "--spec-against=tree=chain:2", "--report"], "--spec-against"),
        (["--spec-executor=ray", "--spec-log-draws=draws"], "--spec-log-draws"),
        (["--spec-executor=ray", "--spec-concurrency=4"], "--spec-concurrency"),
    ],
)
def test_what_actors_cannot_do_is_refused(run, options, message):
    result = run(*options)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{message}*"])


def test_workers_of_xdist_and_actors_are_refused_together(run):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    result = run("--spec-executor=ray", "-n2")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*leave out -n*"])


def test_a_missing_ray_is_said_before_anything_is_loaded(run, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "ray" else find(name, *more),
    )
    result = run("--spec-executor=ray")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*Ray is not installed; pip install 'draftproof[[]ray]'*"])


def test_parts_of_a_conftest_are_refused(run, pytester, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: find("json" if name == "ray" else name)
    )
    pytester.makeconftest(
        "import pytest\nfrom draftproof.acceptance import GreedyRule\n\n\n"
        "@pytest.fixture(scope='session')\ndef acceptance_rule():\n    return GreedyRule()\n"
    )
    result = run("--spec-executor=ray")
    assert result.ret == 4
    result.stdout.fnmatch_lines(["*stay in this process*"])


def test_models_are_named_by_whole_paths(tmp_path, monkeypatch):
    from draftproof.config import RunConfig
    from draftproof.plugin.executing import with_whole_paths

    (tmp_path / "target").mkdir()
    monkeypatch.chdir(tmp_path)
    found = with_whole_paths(RunConfig(target="target", draft="some/hub-id"))
    assert Path(found.target) == tmp_path / "target"
    assert found.draft == "some/hub-id"


NODES = [
    {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 4.0}},
    {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]


@pytest.mark.parametrize(
    ("settings", "workers", "found"),
    [
        ({}, None, (6, {"num_gpus": 1})),
        ({}, 3, (3, {"num_gpus": 1})),
        ({"device": "cpu"}, None, (2, {"num_cpus": 4})),
        ({"device": "cpu"}, 12, (12, {"num_cpus": 1})),
    ],
)
def test_actors_get_a_gpu_each_or_the_cores_that_there_are(settings, workers, found):
    from draftproof.config import RunConfig
    from draftproof.executors.ray_cluster import room_of

    assert room_of(RunConfig(**settings), workers, NODES) == found


@pytest.mark.parametrize(
    ("settings", "workers", "message"),
    [
        ({}, 7, "the cluster has 6 GPUs, and an actor takes one"),
        ({"device": "cpu"}, 13, "has 12 processor cores"),
        ({"device": "cuda:1"}, 2, "an actor has one GPU, and --spec-device cuda:1 names another"),
        ({"device": "spread"}, None, "an actor has one GPU"),
    ],
)
def test_a_cluster_without_room_is_refused(settings, workers, message):
    from draftproof.config import RunConfig
    from draftproof.errors import UsageError
    from draftproof.executors.ray_cluster import room_of

    with pytest.raises(UsageError, match=message):
        room_of(RunConfig(**settings), workers, NODES)
