"""``--spec-batch``: cases are decoded ahead, and each has its own result, order and failure."""

import json

import pytest
from plugin_sources import WRONG_RULE

from draftproof.engines.reference import ReferenceEngine

USAGE_ERROR = 4

SUITE = """
import pytest

pytestmark = pytest.mark.suite("letters", prompts=PROMPTS)


def test_lossless(case, speculation):
    speculation.run(case).assert_lossless()
"""


@pytest.fixture
def suite(pytester):
    def suite(*prompts):
        source = SUITE.replace("PROMPTS", repr(list(prompts)))
        pytester.makepyfile(test_letters=source)

    return suite


@pytest.fixture
def batches(monkeypatch):
    """What the reference engine was asked for at once: most rows, and ids as they were taken."""
    batches = []
    generate = ReferenceEngine.generate

    def noted(self, requests, *, most_rows, plainly=False):
        taken = []
        batches.append((most_rows, taken))

        def noting():
            for request in requests:
                taken.append(request.request_id)
                yield request

        return generate(self, noting(), most_rows=most_rows, plainly=plainly)

    monkeypatch.setattr(ReferenceEngine, "generate", noted)
    return batches


def decoded(batches, most_rows=4):
    """The cases that were decoded in batches, the warm-up left out."""
    assert {rows for rows, _ in batches} == {most_rows}
    return [[name for name in taken if "warm-up" not in name] for _, taken in batches]


def outputs(pytester, folder):
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(pytester.path / folder / "cases.parquet")
    kept = ("case_id", "verdict", "speculative_token_ids", "plain_token_ids", "message")
    return table.select([name for name in table.column_names if name in kept]).to_pylist()


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_a_run_in_batches_measures_what_a_run_of_single_cases_does(
    run, pytester, suite, temperature, metrics, batches
):
    suite("a b c", "c b a", "d e", "a", "e d c b a", "b b")
    options = ("--report", f"--spec-temperature={temperature}", "--spec-tree=chain:2")
    alone = run(*options, "--report-dir=alone")
    assert not batches
    together = run(*options, "--report-dir=together", "--spec-batch=4")
    alone.assert_outcomes(passed=6)
    together.assert_outcomes(passed=6)
    every = [f"letters/{number}" for number in range(6)]
    # Plainly and with speculation, in one batch each that is refilled as its rows end.
    assert [taken for taken in decoded(batches) if taken] == [every, every]
    together.stdout.fnmatch_lines(["*4 prompts are decoded at once"])
    assert outputs(pytester, "together") == outputs(pytester, "alone")
    assert len(outputs(pytester, "alone")) == 6
    for folder, expected in (("alone", None), ("together", 4)):
        described = json.loads((pytester.path / folder / "run.json").read_text())
        assert described["models"]["engine"].get("prompts at once") == expected
        page = (pytester.path / folder / "summary.md").read_text()
        assert ("4 prompts at once" in page) == (expected is not None)
    found, expected = (metrics(name)["domains"]["letters"] for name in ("together", "alone"))
    for name, figure in expected.items():
        if isinstance(figure, dict) and "seconds" not in name and "speedup" not in name:
            value = found[name].get("value")
            assert value == pytest.approx(figure.get("value"), nan_ok=True, abs=1e-6), name


def test_a_prompt_that_does_not_fit_fails_alone(run, suite):
    suite("a b c", "a " * 5000, "d e", "c")
    result = run("--spec-batch=4")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*letters/1: the prompt has * tokens*"])


def test_as_many_as_fit(run, suite):
    suite("a b c", "c b a", "d e")
    result = run("--spec-batch=auto")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*16 prompts are decoded at once"])


def test_tests_that_are_not_run_are_no_trouble(run, suite):
    suite("a b c", "c b a", "d e", "c")
    run("--spec-batch=4", "-k", "letters/3 or letters/1").assert_outcomes(passed=2, deselected=2)


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_other_numbers_are_refused(run, suite, value):
    suite("a")
    assert run(f"--spec-batch={value}").ret == USAGE_ERROR


def test_workers_are_refused(run, suite):
    suite("a", "b")
    result = run("--spec-batch=4", "-n", "2")
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines(["*--spec-batch: 2 workers of pytest-xdist*leave out -n*"])


def test_a_rule_of_ones_own_is_refused(run, pytester, suite):
    suite("a", "b")
    pytester.makeconftest(WRONG_RULE)
    result = run("--spec-batch=4")
    assert result.ret == USAGE_ERROR
    result.stdout.fnmatch_lines(["*--spec-batch: reference decodes one request at a time*"])


def test_another_drafts_run_is_decoded_in_batches_too(run, suite, batches):
    suite("a b c", "c b a", "d e")
    result = run("--report", "--report-dir=out", "--spec-batch=4", "--spec-against=tree=chain:2")
    result.assert_outcomes(passed=3)
    every = ["letters/0", "letters/1", "letters/2"]
    taken = [taken for taken in decoded(batches) if taken]
    assert taken.count(every) == len(taken) >= 3


def test_finished_cases_are_not_decoded_again(run, pytester, suite, batches):
    suite("a b c", "c b a", "d e", "c")
    options = ("--report", "--report-dir=out", "--spec-batch=4")
    run(*options, "--spec-limit=4", "-x", "-k", "letters/0 or letters/2")
    batches.clear()
    result = run(*options, "--spec-limit=4", "--spec-resume")
    result.assert_outcomes(passed=4)
    assert len(outputs(pytester, "out")) == 4


ENGINES = """
from draftproof.engines.protocol import Capability, Generation
from draftproof.engines.reference import ReferenceEngine


class Together:
    name = "together"
    capabilities = frozenset({Capability.PLAIN, Capability.BATCHES})

    def __init__(self, config, pair):
        self.inner = ReferenceEngine(pair, config)

    def speculate(self, request):
        return self._kept(self.inner.speculate(request))

    def plain(self, request):
        return self._kept(self.inner.plain(request))

    def generate(self, requests, *, most_rows, plainly=False):
        for index, answer in self.inner.generate(requests, most_rows=most_rows, plainly=plainly):
            yield index, self._kept(answer)

    def _kept(self, answer):
        return Generation(
            token_ids=answer.token_ids, stop_reason=answer.stop_reason, seconds=answer.seconds
        )

    def describe(self):
        return {"name": self.name}

    def close(self):
        pass


class Stumbles(Together):
    def generate(self, requests, *, most_rows, plainly=False):
        requests = list(requests)
        if any(request.request_id == "letters/1" for request in requests):
            raise ValueError("no room for it")
        yield from super().generate(requests, most_rows=most_rows, plainly=plainly)


class SaysSo(Together):
    generate = None


class Inherits(ReferenceEngine):
    def __init__(self, config, pair):
        super().__init__(pair, config)

    def speculate(self, request):
        return super().speculate(request)
"""


@pytest.mark.parametrize("engine", ["Together", "Stumbles"])
def test_an_engine_of_ones_own_may_decode_in_batches(run, pytester, suite, engine):
    suite("a b c", "c b a", "d e")
    pytester.makepyfile(engines=ENGINES)
    result = run("--spec-batch=2", f"--spec-engine=engines:{engine}")
    result.assert_outcomes(passed=3)


@pytest.mark.parametrize("engine", ["SaysSo", "Inherits"])
def test_one_that_has_none_is_refused(run, pytester, suite, engine):
    """What a class inherits decodes in another way than the class itself does."""
    suite("a b c", "c b a")
    pytester.makepyfile(engines=ENGINES)
    result = run("--spec-batch=2", f"--spec-engine=engines:{engine}")
    assert result.ret == USAGE_ERROR
    result.stdout.fnmatch_lines(["*--spec-batch: *decodes one request at a time*"])


def test_requests_in_flight_are_shuffled_and_judged_one_by_one(run, pytester, suite, batches):
    suite("a b c", "c b a", "d e", "a", "e d c b a", "b b")
    options = ("--report", "--spec-tree=chain:2")
    alone = run(*options, "--report-dir=alone")
    together = run(*options, "--report-dir=together", "--spec-concurrency=3")
    alone.assert_outcomes(passed=6)
    together.assert_outcomes(passed=6)
    together.stdout.fnmatch_lines(["*3 requests in flight*", "*3 prompts are decoded at once"])
    every = [f"letters/{number}" for number in range(6)]
    for taken in filter(None, decoded(batches, most_rows=3)):
        assert taken[0] == every[0]
        assert sorted(taken) == every
        assert taken != every
    assert outputs(pytester, "together") == outputs(pytester, "alone")


def test_requests_in_flight_are_no_batch_as_well(run, suite):
    suite("a b c")
    result = run("--spec-concurrency=3", "--spec-batch=2")
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines(["*--spec-concurrency: the requests in flight are the batch*"])
    result = run("--spec-concurrency=0")
    assert result.ret == USAGE_ERROR
    result.stderr.fnmatch_lines(["*0 requests in flight decode nothing*"])


@pytest.mark.parametrize("option", ["--spec-batch=auto", "--spec-concurrency=4"])
def test_an_engine_that_has_no_batches_is_refused_before_models_are_loaded(run, option):
    result = run(option, "--spec-engine=transformers-lookup", "--spec-target=nowhere")
    assert result.ret == 4
    flag = option.partition("=")[0]
    result.stderr.fnmatch_lines([f"*{flag}: transformers-lookup decodes one request at a time*"])
