"""Two runs at once: the later one is kept out of the folder of the first."""

import subprocess
import sys

import pytest
from plugin_sources import SUITE

from draftproof.folder_lock import LOCK_FILE
from draftproof.report import load_run

WAITS = SUITE.replace(
    "    speculation.run(case).assert_lossless()",
    "    import pathlib, time\n"
    "    speculation.run(case).assert_lossless()\n"
    "    if case.prompt.prompt_id == 'letters/0': return\n"
    "    pathlib.Path('begun').touch()\n"
    "    while not pathlib.Path('go').exists(): time.sleep(0.05)",
)


@pytest.fixture
def going_on(pytester, pair):
    """A run in `out` that has measured a case, and goes on until it is told to."""
    pytester.makepyfile(test_waits=WAITS)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *pair, "test_waits.py",
            "--spec-max-new-tokens=8", "--report", "--report-dir=out",
        ],
        cwd=pytester.path,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not (pytester.path / "begun").exists():
        pass
    yield process
    (pytester.path / "go").touch()
    process.wait(timeout=60)


@pytest.mark.parametrize("options", [(), ("--spec-resume",), ("--spec-tree=chain:2",)])
def test_a_run_that_is_going_on_is_left_alone(run, pytester, going_on, options):
    before = (pytester.path / "out" / "journal.jsonl").read_bytes()
    result = run("test_letters.py", "--report", "--report-dir=out", *options)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: another run is going on in *out (process * on *); wait*"])
    assert (pytester.path / "out" / "journal.jsonl").read_bytes() == before
    (pytester.path / "go").touch()
    assert going_on.wait(timeout=60) == 0
    assert load_run(pytester.path / "out").complete
    assert not (pytester.path / "out" / LOCK_FILE).exists()


def test_a_killed_run_is_gone_on_with_at_once(run, pytester, going_on):
    going_on.kill()
    going_on.wait()
    (pytester.path / "go").touch()
    deadline = 100
    while deadline:  # the process that works ends with the one that was started
        result = run("test_waits.py", "--report", "--report-dir=out", "--spec-resume")
        if "another run is going on" not in result.stderr.str():
            break
        deadline -= 1
    result.assert_outcomes(passed=3)
    assert load_run(pytester.path / "out").complete


def test_workers_belong_to_the_run_of_their_controller(run, pytester):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    run("--report", "--report-dir=out", "-n2").assert_outcomes(passed=3)
    assert load_run(pytester.path / "out").complete


def test_words_and_refusals_leave_no_folder(run, pytester):
    for option in ("--collect-only", "--help", "--spec-fail=nothing:-1"):
        run("--report", "--report-dir=out", option)
        assert not (pytester.path / "out").exists(), option
    run("--report", "--report-dir=out").assert_outcomes(passed=3)


def test_a_folder_without_locks_is_noted(run, pytester):
    pytester.makeconftest(
        "import pytest\n"
        "from draftproof import folder_lock\n"
        "real = folder_lock._lock\n"
        "def no_locks(descriptor):\n"
        "    raise OSError(37, 'No locks available')\n"
        "folder_lock._lock = no_locks\n"
        "def pytest_unconfigure():\n"
        "    folder_lock._lock = real\n"
    )
    result = run("--report", "--report-dir=out")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["draftproof: *out cannot be locked (No locks available)*"])
