"""In a project that does not use it, the plugin disturbs nothing."""

import pytest


@pytest.mark.parametrize(
    ("addition", "option"),
    [
        ('parser.addoption("--report", action="store_true")', "--report"),
        ('parser.addoption("--report", dest="report")', "--report=html"),
        ('parser.addoption("--report-dir")', "--report-dir=elsewhere"),
    ],
)
def test_an_option_of_a_conftest_is_its_own(pytester, addition, option):
    pytester.makeconftest(f"def pytest_addoption(parser):\n    {addition}\n")
    pytester.makepyfile("def test_one(pytestconfig): assert not pytestconfig.getini('report')")
    result = pytester.runpytest_inprocess(option, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*draftproof: engine*")


def test_the_own_names_work_beside_them(run, pytester, metrics):
    pytester.makeconftest("def pytest_addoption(parser):\n    parser.addoption('--report')\n")
    run("--report=html", "--spec-report", "--spec-report-dir=out").assert_outcomes(passed=3)
    assert metrics("out")


def test_gates_of_an_ini_file_are_for_runs_with_a_report(pytester):
    pytester.makeini("[pytest]\nspec_fail = block_efficiency:>=1.2\n")
    pytester.makepyfile("def test_one(): pass")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
