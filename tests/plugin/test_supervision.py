"""A run that did not come to its end never ends with an exit code that may mean success."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from plugin_sources import SUITE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")

OURS = "--spec-finished=finished"
"""Any option of draftproof's makes a run one that is watched."""


@pytest.fixture
def start(pytester):
    """Starts pytest, or another module, in a process of its own, as a shell does."""
    started = []

    def start(*words, module="pytest", plain=("-p", "no:cacheprovider")):
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words, *plain],
            cwd=pytester.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process):
    """The exit code and what was printed."""
    text, _ = process.communicate(timeout=120)
    return process.returncode, text


@pytest.mark.parametrize("code", [0, 7])
def test_a_test_that_ends_the_process_passes_nothing(pytester, start, code):
    pytester.makepyfile(f"import os\n\ndef test_one(): pass\n\ndef test_two(): os._exit({code})")
    (pytester.path / "finished").write_text("0\n")
    found, text = ended(start(OURS))
    assert found == 3
    assert f"ended itself before their end, with exit code {code}" in text
    assert not (pytester.path / "finished").exists(), "that of an earlier run is removed"


def test_native_code_that_exits_passes_nothing(pytester, start):
    pytester.makepyfile("import ctypes\n\ndef test_one(): ctypes.CDLL(None).exit(0)")
    assert ended(start(OURS))[0] == 3


def test_a_thread_left_behind_cannot_make_a_failed_run_a_passed_one(pytester, start):
    pytester.makepyfile(
        "import atexit, os\n\ndef test_one():\n    atexit.register(os._exit, 0)\n    assert False"
    )
    assert ended(start(OURS))[0] == 1
    assert (pytester.path / "finished").read_text() == "1\n"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("def test_one(): pass", 0),
        ("", 5),
    ],
)
def test_a_run_that_ends_has_the_exit_code_that_it_had(pytester, start, source, code):
    pytester.makepyfile(source)
    assert ended(start(OURS))[0] == code
    assert (pytester.path / "finished").read_text() == f"{code}\n"


@pytest.mark.parametrize("option", ["--help", "--version", "--spec-tree=bush"])
def test_words_and_refusals_are_as_they_were(pytester, start, option):
    code, text = ended(start(option, "--spec-temperature=0"))
    assert code == (4 if "bush" in option else 0)
    assert "before their end" not in text


def test_a_signal_that_ends_it_is_named(pytester, start):
    pytester.makepyfile("import os, signal\n\ndef test_one(): os.kill(os.getpid(), signal.SIGSEGV)")
    code, text = ended(start(OURS))
    assert code == 128 + signal.SIGSEGV
    assert "ended by SIGSEGV" in text


WAITS = """
import os, time
from pathlib import Path


def test_one():
    Path("begun").write_text(str(os.getpid()))
    time.sleep(60)
"""


def written(file):
    """What a file holds, once it holds something."""
    for _ in range(1200):
        if file.exists() and file.read_text():
            return file.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{file} was not written")


def begun(pytester):
    """The process that runs the tests, once it does."""
    return int(written(pytester.path / "begun"))


@pytest.mark.parametrize("to_both", [True, False])
def test_an_interrupt_is_one_interrupt_whoever_is_sent_it(pytester, start, to_both):
    """A terminal sends it to both processes, and `kill -INT` to the one that waits."""
    pytester.makepyfile(WAITS)
    pytester.makeconftest(
        "import time\n\ndef pytest_sessionfinish():\n    time.sleep(0.3)\n    print('reported')\n"
    )
    process = start(OURS, "-s")
    assert begun(pytester) != process.pid
    if to_both:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    code, text = ended(process)
    assert code == pytest.ExitCode.INTERRUPTED
    assert "reported" in text


def test_the_process_that_works_ends_with_the_one_that_waits(pytester, start):
    pytester.makepyfile(WAITS)
    process = start(OURS)
    working = begun(pytester)
    process.kill()
    ended(process)
    for _ in range(200):
        try:
            os.kill(working, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("it works on, and nobody waits for it")


def test_a_project_that_asks_for_nothing_runs_in_the_process_that_was_started(pytester, start):
    pytester.makepyfile(WAITS)
    process = start()
    assert begun(pytester) == process.pid


DIES = """
import json
import os
from draftproof.engines.protocol import Capability
from draftproof.engines.reference import ReferenceEngine


class Dies:
    name = "dies"
    capabilities = frozenset({Capability.PLAIN, Capability.BATCHES})

    def __init__(self, config, pair):
        self.inner = ReferenceEngine(pair, config)
        self.plain, self.describe, self.close = (
            self.inner.plain, self.inner.describe, self.inner.close
        )

    def speculate(self, request):
        if request.request_id == "letters/1":
            os._exit(0)
        return self.inner.speculate(request)

    def generate(self, requests, **settings):
        requests = list(requests)
        if any(request.request_id == "letters/1" for request in requests):
            os._exit(0)
        yield from self.inner.generate(requests, **settings)


class DiesAtOnce(Dies):
    def speculate(self, request):
        os._exit(0)
"""


@pytest.mark.parametrize("options", [(), ("--spec-batch=3",)])
def test_an_engine_that_ends_the_process_leaves_an_unfinished_run(pytester, pair, start, options):
    from draftproof.report import load_run

    pytester.makepyfile(engines=DIES, test_letters=SUITE)
    chosen = [*pair, "--spec-max-new-tokens=8", "--spec-engine=engines:Dies", *options]
    code, text = ended(start("--report", "--report-dir=out", *chosen))
    assert code == 3
    assert "ended itself before their end" in text
    if not options:
        saved = load_run(pytester.path / "out")
        assert not saved.complete
        assert [case.case_id for case in saved.cases] == ["letters/0"]


PARTS = """
import os, pytest
from draftproof.acceptance import GreedyRule


class Exits(GreedyRule):
    def accept(self, draft, target, randomness):
        os._exit(0)


@pytest.fixture(scope="session")
def acceptance_rule():
    return Exits()
"""


def test_a_suite_without_an_option_is_supervised_once_it_is_collected(pytester, start):
    pytester.makepyfile(test_letters=SUITE)
    pytester.makeconftest(PARTS)
    code, text = ended(start())
    assert code == 3, text
    assert "ended itself before their end, with exit code 0" in text
    assert text.count("test session starts") == 1
    pytester.makeconftest("")
    code, text = ended(start())
    assert code == 0, text
    assert text.count("3 passed") == 1
    assert ended(start("--collect-only"))[0] == 0


def test_options_in_a_file_are_options(pytester, pair, start):
    pytester.makepyfile(engines=DIES, test_letters=SUITE)
    words = [*pair, "--spec-max-new-tokens=8", "--spec-engine=engines:Dies", "--report"]
    (pytester.path / "words.txt").write_text("\n".join([*words, "--report-dir=out"]))
    code, text = ended(start("@words.txt"))
    assert code == 3, text


def test_an_engine_that_ends_the_process_is_not_verified(pytester, pair, start):
    pytester.makepyfile(engines=DIES)
    words = [word.replace("--spec-", "--") for word in pair]
    process = start(
        "verify", "--engine=engines:DiesAtOnce", "--limit=1", "--check=greedy output", *words,
        module="draftproof", plain=(),
    )  # fmt: skip
    code, text = ended(process)
    assert code == 3, text
    assert "the process of the checks ended itself" in text
    assert "No certificate was written" in text


def test_a_recording_that_is_ended_says_that_it_goes_on(pytester, pair, start):
    words = [word.replace("--spec-draft=", "--drafts=").replace("--spec-", "--") for word in pair]
    words += ["--out=recording", "--limit=4"]
    process = start("record", *words, module="draftproof", plain=())
    written(pytester.path / "recording" / "journal.jsonl")
    process.send_signal(signal.SIGTERM)
    code, text = ended(process)
    assert code == 143, text
    assert "the recording was ended by SIGTERM. Prompts that were recorded are kept" in text


KERNELS = """
import os, sys, threading, time

import torch

class Odd(BaseException):
    pass

def exits(*arguments, **named):
    sys.exit(0)

def ends(*arguments, **named):
    os._exit(1)

def raises(*arguments, **named):
    raise Odd("\\x1b[31mred")

def nothing(call):
    rows, positions = call.draft_tokens.shape
    return torch.full((rows, positions + 1), -1, dtype=torch.int64)

def closes(call):
    sys.stdout.close()
    return nothing(call)

def leaves(call):
    if not any(each.name == "left" for each in threading.enumerate()):
        threading.Thread(target=time.sleep, args=(300,), name="left").start()
    return nothing(call)

def moves(call):
    os.chdir("/")
    return nothing(call)
"""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("exits", 3, "called exit (0) before the command was done"),
        ("ends", 3, "ended itself before their end, with exit code 1"),
        ("raises", 3, "the command did not come to its end"),
    ],
)
def test_a_kernel_that_ends_the_command_has_no_verdict(pytester, start, name, code, said):
    pytester.makepyfile(kernels=KERNELS)
    words = [f"kernels:{name}", "--rows=1000", "--json=k.json"]
    found, text = ended(start("verify-kernel", *words, module="draftproof", plain=()))
    assert (found, said in text) == (code, True), text
    assert "\x1b" not in text
    assert not (pytester.path / "k.json").exists()


@pytest.mark.parametrize("name", ["closes", "leaves", "moves"])
def test_a_certificate_is_written_whatever_a_kernel_does(pytester, start, name):
    """Close standard output, leave a thread behind, go to another folder."""
    pytester.makepyfile(kernels=KERNELS)
    words = [f"kernels:{name}", "--rows=1000", "--json=k.json"]
    found, text = ended(start("verify-kernel", *words, module="draftproof", plain=()))
    assert found == 1, text
    assert json.loads((pytester.path / "k.json").read_text("utf-8"))
    assert ("a thread that was left behind still runs" in text) == (name == "leaves")


@pytest.mark.parametrize("words", [["verify", "--engine"], ["verify-kernel"]])
def test_a_module_that_exits_when_it_is_imported_is_not_verified(pytester, start, words):
    pytester.makepyfile(leaving="import sys; sys.exit(0)")
    found, text = ended(start(*words, "leaving:it", module="draftproof", plain=()))
    assert found == 4, text
    assert "leaving fails when it is imported: SystemExit" in text or "SystemExit: 0" in text


def test_a_suite_whose_engine_exits_when_it_is_imported_is_refused(pytester, pair, start):
    pytester.makepyfile(leaving="import sys; sys.exit(0)", test_letters=SUITE)
    found, text = ended(start(*pair, "--spec-engine=leaving:it", "--report"))
    assert found == 4, text
    assert "leaving fails when it is imported: SystemExit" in text


def test_a_signal_after_the_end_takes_nothing_back(pytester, start):
    pytester.makepyfile(kernels=KERNELS)
    words = ["kernels:leaves", "--rows=1000", "--json=k.json"]
    process = start("verify-kernel", *words, module="draftproof", plain=())
    written(pytester.path / "k.json")
    time.sleep(1.5)  # of the five in which the thread is waited for
    process.send_signal(signal.SIGTERM)
    code, text = ended(process)
    assert code in (1, 143), text
    assert "No certificate was written" not in text
