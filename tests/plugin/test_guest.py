"""In a project that does not use it, the plugin disturbs nothing and imports next to nothing."""

import subprocess
import sys

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
    pytester.makepyfile("def test_one(pytestconfig): assert not pytestconfig.getini('spec_report')")
    result = pytester.runpytest_inprocess(option, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*draftproof: engine*")


def test_the_own_names_work_beside_them(run, pytester, metrics):
    pytester.makeconftest("def pytest_addoption(parser):\n    parser.addoption('--report')\n")
    run("--report=html", "--spec-report", "--spec-report-dir=out").assert_outcomes(passed=3)
    assert metrics("out")


@pytest.mark.parametrize("line", ["spec_fail = block_efficiency:>=1.2", "spec_tree = 4x1"])
def test_settings_of_an_ini_file_are_for_runs_of_suites(pytester, line):
    pytester.makeini(f"[pytest]\n{line}\n")
    pytester.makepyfile("def test_one(): pass")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


OWN_CASE = """
import pytest

@pytest.fixture
def case():
    return "own"
"""
OWN_PARAMETERS = """
def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", ["own"])
"""
TAKES_CASE = """
import pytest

{marks}
def test_one(case): assert case == "own"
"""


@pytest.mark.parametrize(
    "marks",
    ["", "@pytest.mark.suite", "@pytest.mark.suite('smoke', 3)", "@pytest.mark.suite(level=2)"],
)
@pytest.mark.parametrize("conftest", [OWN_CASE, OWN_PARAMETERS], ids=["fixture", "parameters"])
def test_a_mark_and_a_case_of_ones_own_are_ones_own(pytester, conftest, marks):
    pytester.makeconftest(conftest)
    pytester.makepyfile(TAKES_CASE.format(marks=marks))
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_case_that_the_test_is_parametrized_with_is_its_own(pytester):
    marks = "@pytest.mark.suite('smoke')\n@pytest.mark.parametrize('case', ['own'])"
    pytester.makepyfile(TAKES_CASE.format(marks=marks))
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_case_made_from_ours_is_one_of_a_suite(run, pytester, metrics):
    pytester.makeconftest(
        "import pytest\n\n@pytest.fixture\ndef case(case, request):\n"
        "    request.node.user_properties.append(('asked', case.prompt.text))\n    return case\n"
    )
    run("--report", "--report-dir=out").assert_outcomes(passed=3)
    assert metrics("out")


@pytest.mark.parametrize("mark", ["suite", "suite(level=2)", "suite('a', [], 3)", "suite(7)"])
def test_a_mark_that_is_not_ours_on_a_test_that_takes_our_case_is_refused(pytester, mark):
    pytester.makepyfile(
        f"import pytest\n\n@pytest.mark.{mark}\ndef test_one(case, speculation): pass\n"
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*@pytest.mark.suite(*needs the name of its domain*"])


def test_a_package_called_harness_is_the_projects_own(pytester):
    pytester.mkpydir("harness").joinpath("tools.py").write_text("WORD = 'own'\n")
    pytester.makepyfile("from harness.tools import WORD\n\ndef test_one(): assert WORD == 'own'\n")
    pytester.syspathinsert()
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def imported(folder, *options):
    """Modules that a pytest of one empty test imports, in a process of its own."""
    (folder / "test_own.py").write_text("def test_own(): pass\n")
    (folder / "conftest.py").write_text(
        "import sys\n\ndef pytest_unconfigure():\n    print('imported', *sorted(sys.modules))\n"
    )
    # Plugins of other packages import what they like.
    others = [f"-pno:{name}" for name in ("jaxtyping", "anyio", "hypothesispytest", "xdist")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-pno:cacheprovider", *others, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("imported "))
    return set(line.split()[1:])


def test_a_session_that_asks_for_nothing_imports_nothing_of_weight(tmp_path):
    """Time is measured by benchmarks/start.py; what takes it can be told without a clock."""
    added = imported(tmp_path) - imported(tmp_path, "-pno:draftproof")
    ours = {name for name in added if name.partition(".")[0] == "draftproof"}
    assert "draftproof.plugin" in ours
    assert not {name for name in ours if name.count(".") == 1} - {
        "draftproof.choices",
        "draftproof.engines",  # of which the names alone
        "draftproof.errors",
        "draftproof.laws",
        "draftproof.plugin",
        "draftproof.prompt_sources",
    }
    assert {name.partition(".")[0] for name in added} <= {"draftproof", *sys.stdlib_module_names}


def test_the_types_and_actions_of_a_projects_options_are_left_alone(pytester):
    """Whether a short name is free is read off the options that are there, not tried out."""
    pytester.makeconftest(
        "import argparse, pathlib\n"
        "def made(text):\n"
        "    pathlib.Path(text).mkdir()\n"
        "    return text\n"
        "def pytest_addoption(parser):\n"
        "    parser.addoption('--report-dir', type=made)\n"
        "    parser.addoption('--db', required=True)\n"
    )
    pytester.makepyfile("def test_one(): pass")
    pytester.runpytest("--db=x").assert_outcomes(passed=1)
    assert not (pytester.path / "x").exists()


def test_a_key_of_somebody_elses_ini_file_is_none_of_ours(pytester):
    pytester.makeini("[pytest]\nreport = html\nreport_dir = elsewhere")
    pytester.makeconftest("def pytest_addoption(parser): parser.addini('report', 'theirs')")
    pytester.makepyfile(
        "def test_one(pytestconfig): assert pytestconfig.getini('report') == 'html'"
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    assert "draftproof:" not in result.stdout.str()
    assert not (pytester.path / "elsewhere").exists()
