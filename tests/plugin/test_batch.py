"""``--spec-batch``: cases are decoded ahead, and each has its own result, order and failure."""

import json

import pytest
from plugin_sources import WRONG_RULE

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


def outputs(pytester, folder):
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(pytester.path / folder / "cases.parquet")
    kept = ("case_id", "verdict", "speculative_token_ids", "plain_token_ids", "message")
    return table.select([name for name in table.column_names if name in kept]).to_pylist()


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_a_run_in_batches_measures_what_a_run_of_single_cases_does(
    run, pytester, suite, temperature, metrics
):
    suite("a b c", "c b a", "d e", "a", "e d c b a", "b b")
    options = ("--report", f"--spec-temperature={temperature}", "--spec-tree=chain:2")
    alone = run(*options, "--report-dir=alone")
    together = run(*options, "--report-dir=together", "--spec-batch=4")
    alone.assert_outcomes(passed=6)
    together.assert_outcomes(passed=6)
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
