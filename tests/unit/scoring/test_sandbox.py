"""Programs that try to break out of the sandbox, and fail to harm.

Every program here is held by limits that are set before it starts; none could do worse than slow
the machine for the seconds that it is given.
"""

import functools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from draftproof.errors import DraftproofError
from draftproof.scoring import inside, sandbox
from draftproof.scoring.sandbox import Isolation, Limits, run_python

SYSTEM_PYTHON = "/usr/bin/python3"
SHORT = Limits(
    seconds=1.5, cpu_seconds=1, memory_bytes=192 << 20, processes=6, file_bytes=1 << 20,
    disk_bytes=2 << 20, output_bytes=4096,
)  # fmt: skip
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tries the sandbox of Linux")


UNSHARE = """
import ctypes, sys
spaces = 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000
own_user = 0x10000000 if int(sys.argv[1]) else 0
sys.exit(ctypes.CDLL(None).unshare(spaces | own_user) != 0)
"""


@functools.cache
def can_isolate():
    """Whether the kernel permits namespaces: asked of it, not of the sandbox under test."""
    command = [sys.executable, "-c", UNSHARE, "0" if ROOT else "1"]
    return subprocess.run(command, check=False).returncode == 0


@functools.cache
def can_wrap():
    """Whether bubblewrap works here: asked of it, with a command that is not the sandbox's."""
    tool = shutil.which("bwrap")
    command = [tool, "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "/bin/true"]
    return tool is not None and subprocess.run(command, check=False).returncode == 0


@pytest.fixture(params=list(Isolation))
def run(request, monkeypatch):
    """Runs a program in one of the three ways; afterwards nothing of it is left."""
    namespaces = request.param is not Isolation.LIMITS
    if namespaces and not can_isolate():
        pytest.skip("the kernel permits no namespaces here")
    if request.param is Isolation.BUBBLEWRAP and not can_wrap():
        pytest.skip("bubblewrap is not installed (apt-get install bubblewrap), or does not work")
    if not namespaces and ROOT:
        # Root runs code under a user id of its own, which may not read an interpreter in /root.
        if not Path(SYSTEM_PYTHON).exists():
            pytest.skip(f"needs {SYSTEM_PYTHON}, which every user can read")
        monkeypatch.setattr(sys, "executable", SYSTEM_PYTHON)

    def run(program, **changes):
        limits = Limits(**{**{n: getattr(SHORT, n) for n in SHORT.__slots__}, **changes})
        started = time.monotonic()
        ended = run_python(textwrap.dedent(program), limits, best=request.param)
        assert ended.isolation is request.param
        assert time.monotonic() - started < limits.seconds + 10
        assert left_over() == []
        return ended

    run.namespaces = namespaces
    return run


OWN = f"{os.getpid()}x"
"""Begins the marks of this process's sandboxes: tests that run beside it have some of their own."""


def left_over():
    """Processes that run the bootstrap for a sandbox of this process, wherever they are."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
            environment = (entry.parent / "environ").read_bytes()
        except OSError:
            continue
        if b"no network in the sandbox" in command and f"SANDBOX={OWN}".encode() in environment:
            found.append(entry.parent.name)
    return found


@pytest.fixture(autouse=True)
def _own_marks(monkeypatch):
    drawn = secrets.token_hex
    monkeypatch.setattr(secrets, "token_hex", lambda size: OWN + drawn(size))


def test_what_is_left_would_be_seen():
    """A process with the bootstrap's text and this process's mark, until it is ended."""
    program = "import time; print('no network in the sandbox', flush=True); time.sleep(60)"
    for mark, count in ((OWN, 1), ("1x", 0)):
        environment = {"DRAFTPROOF_SANDBOX": f"{mark}abc"}
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                process.stdout.readline()  # Only a started program has its arguments to show.
                assert len(left_over()) == count
            finally:
                process.kill()


def test_a_program_that_ends_has_passed(run):
    ended = run("import math, typing, collections, json\nprint(math.pi)")
    assert (ended.passed, ended.reason, ended.output) == (True, "passed", "3.141592653589793\n")


@pytest.mark.parametrize(
    "program",
    ["assert 1 == 2", "1/0", "def f(:", "import sys; sys.exit(0)", "import os; os._exit(0)",
     "raise KeyboardInterrupt", "quit()", "import numpy", "import os; os.kill(os.getpid(), 9)"],
)  # fmt: skip
def test_a_program_that_does_not_reach_its_last_line_has_failed(run, program):
    ended = run(program)
    assert (ended.passed, ended.reason) == (False, "failed")


def test_a_fork_bomb_meets_its_limit_and_is_swept_up(run):
    ended = run(
        """
        import os
        while True:
            try:
                os.fork()
            except OSError:
                pass
        """
    )
    assert ended.reason == "too slow"


def test_a_bomb_of_threads_meets_the_same_limit(run):
    ended = run(
        """
        import threading, time
        for _ in range(100):
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        """
    )
    assert not ended.passed
    assert "can't start new thread" in ended.output


def test_what_is_printed_beyond_the_limit_is_forgotten_and_fails_nothing(run):
    ended = run("for _ in range(1000): print('x' * 1000)", seconds=10.0)
    assert (ended.passed, len(ended.output)) == (True, SHORT.output_bytes)


def test_endless_output_is_cut_and_ends_with_the_time(run):
    ended = run("while True: print('x' * 1000)", seconds=10.0)
    assert not ended.passed
    assert len(ended.output) == SHORT.output_bytes


def test_endless_output_of_a_process_of_its_own_session_is_cut_too(run):
    ended = run(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            while True:
                os.write(2, b"y" * 1000)
        time.sleep(60)
        """
    )
    assert ended.reason == "too slow"
    assert len(ended.output) == SHORT.output_bytes


def test_memory_ends(run):
    ended = run("x = bytearray(1 << 30)")
    assert "MemoryError" in ended.output
    assert not ended.passed


def test_files_end(run):
    ended = run("open('big', 'wb').write(bytes(8 << 20))")
    assert not ended.passed
    assert "OSError" in ended.output


def test_many_files_end_too(run):
    if not run.namespaces:
        pytest.skip("without namespaces, only the size of each file is limited")
    ended = run("for n in range(64): open(str(n), 'wb').write(bytes(1 << 19))")
    assert "No space left on device" in ended.output


def test_processor_time_ends_even_where_the_signal_is_ignored(run):
    ended = run(
        """
        import signal
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while True:
            pass
        """,
        seconds=20.0,
    )
    assert ended.reason == "failed"  # killed by the hard limit, long before the wall time


def test_signals_that_are_ignored_do_not_help(run):
    ended = run(
        """
        import signal, time
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            time.sleep(1)
        """
    )
    assert ended.reason == "too slow"


def test_a_stopped_program_is_ended(run):
    assert run("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)").reason == "too slow"


def test_closing_every_file_does_not_help(run):
    ended = run("import os, time\nos.closerange(0, 64)\ntime.sleep(60)")
    assert ended.reason == "too slow"


GRANDCHILD = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        time.sleep(60)
    os._exit(0)
time.sleep(0.2)
"""


def test_a_grandchild_of_its_own_session_ends_with_the_program(run):
    assert run(GRANDCHILD).passed  # and `run` finds nothing left


def test_a_grandchild_ends_with_a_program_that_is_too_slow(run):
    assert run(GRANDCHILD + "time.sleep(60)").reason == "too slow"


def test_the_home_folder_is_another_and_its_files_are_not_there(run, tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    secret = home / "secret"
    secret.write_text("do not tell")
    ended = run("import os\nprint(os.path.expanduser('~'), os.getcwd(), *os.listdir('.'))")
    folder, here, *files = ended.output.split()
    assert folder == here
    assert not Path(folder).exists()
    assert files == ["program.py"] if run.namespaces else set(files) == {"program.py", "root"}
    if not run.namespaces and not ROOT:
        pytest.skip("without namespaces, code can read what the user can")
    ended = run(f"print(open({str(secret)!r}).read())")
    assert "do not tell" not in ended.output
    assert not ended.passed


def test_nothing_of_the_machine_is_there_but_python(run):
    if not run.namespaces:
        pytest.skip("without namespaces, code sees the machine's files and processes")
    ended = run(
        """
        import os
        print(sorted(set(os.listdir('/')) - {'root', 'home', 'opt'}))
        for place in ('/proc/1', '/etc/passwd', '/tmp', '/var', '/sys', '/run'):
            assert not os.path.exists(place), place
        for place in ('/', '/usr', '/dev', os.path.dirname(os.__file__)):
            try:
                open(place + '/written', 'w')
            except OSError:
                continue
            raise SystemExit(place)
        """
    )
    assert ended.passed, ended.output


def test_the_environment_holds_nothing_of_the_user(run, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "do not tell")
    ended = run("import os; print(dict(os.environ))")
    assert "do not tell" not in ended.output
    assert "SECRET" not in ended.output


@pytest.fixture
def server():
    """A server on this machine; gives its port and who has connected."""
    callers = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        stop = threading.Event()

        def listen():
            while not stop.is_set():
                try:
                    connection, address = listening.accept()
                except TimeoutError:
                    continue
                connection.close()
                callers.append(address)

        thread = threading.Thread(target=listen)
        thread.start()
        yield listening.getsockname()[1], callers
        stop.set()
        thread.join()


def test_sockets_are_blocked_in_python(run, server):
    port, callers = server
    for call in ("socket.create_connection(('127.0.0.1', PORT))", "_socket.socket()"):
        ended = run(f"import socket, _socket\n{call.replace('PORT', str(port))}")
        assert "no network in the sandbox" in ended.output
    assert callers == []


@pytest.mark.parametrize("name", ["asyncio", "ssl", "urllib.request", "unittest.mock", "socket"])
def test_modules_that_know_of_sockets_can_be_imported(run, name):
    command = [sys.executable, "-I", "-S", "-c", f"import {name}"]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip(f"this Python has no {name} outside the sandbox either")
    ended = run(f"import {name}", seconds=5.0)
    assert ended.passed, ended.output


def test_a_loop_of_events_runs_and_has_no_network(run, server):
    port, callers = server
    ended = run(
        f"""
        import asyncio, socket
        async def one():
            await asyncio.sleep(0)
            for connect in (
                lambda: asyncio.open_connection("127.0.0.1", {port}),
                lambda: asyncio.open_connection("localhost", {port}),
            ):
                try:
                    await connect()
                except OSError as error:
                    assert "no network in the sandbox" in str(error)
                else:
                    raise SystemExit("connected")
            mine, other = socket.socketpair()
            reader, writer = await asyncio.open_connection(sock=mine)
            writer.writelines([b"a", b"b"])
            assert await asyncio.get_running_loop().sock_recv(other, 2) == b"ab"
            return 1
        assert asyncio.run(one()) == 1
        """,
        seconds=5.0,
    )
    assert ended.passed, ended.output
    assert callers == []


RAW_CONNECT = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
handle = libc.socket(2, 1, 0)
address = struct.pack("=H", 2) + struct.pack(">H", PORT) + bytes([127, 0, 0, 1]) + bytes(8)
assert libc.connect(handle, address, len(address)) == 0, ctypes.get_errno()
"""


def test_there_is_no_network_below_python_either(run, server):
    port, callers = server
    if not run.namespaces and os.uname().machine not in inside.MACHINES:
        pytest.skip("without both, code that avoids Python's socket module has the network")
    assert not run(RAW_CONNECT.replace("PORT", str(port))).passed
    time.sleep(0.2)
    assert callers == []


def test_the_supervisor_cannot_be_killed_to_escape(run):
    ended = run(
        """
        import os, signal, time
        for process in {os.getppid(), 1} - ({1} if os.getppid() != 1 else set()):
            try:
                os.kill(process, signal.SIGKILL)
            except PermissionError:
                pass
        time.sleep(60)
        """
    )
    assert ended.reason in ("too slow", "failed")
    assert not ended.passed


def test_no_capability_is_left(run):
    ended = run(
        """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mount(b"none", b"/dev", b"tmpfs", 0, None) != 0
        assert libc.unshare(0x10000) in (0, -1)
        for call in (lambda: os.setuid(0), lambda: os.chroot("."), lambda: os.nice(-5)):
            try:
                call()
            except PermissionError:
                continue
            raise SystemExit("permitted")
        """
    )
    assert ended.passed, ended.output


def test_what_is_left_in_the_folder_is_removed_and_links_are_not_followed(run, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("here")
    ended = run(
        f"""
        import os
        os.symlink({str(kept)!r}, "link")
        os.makedirs("a/b/c")
        open("a/b/c/file", "w").close()
        os.chmod("a/b", 0)
        print(os.getcwd())
        """
    )
    assert ended.passed, ended.output
    assert not Path(ended.output.strip()).exists()
    assert (kept / "file").read_text() == "here"


def test_python_is_the_one_that_was_asked_for(run):
    """Its shared library, too, where it has one: another of the system would stand in for it."""
    ended = run("import sys; print(sys.version)")
    command = [sys.executable, "-c", "import sys; print(sys.version)"]
    assert ended.output == subprocess.run(command, check=True, capture_output=True).stdout.decode()


def test_a_long_program_is_passed_whole(run):
    assert run("x = 1\n" * 50_000 + "assert x == 1").passed


def test_no_file_of_the_sandbox_stays_behind(run, tmp_path, monkeypatch):
    if ROOT and not run.namespaces:
        pytest.skip("another user cannot enter a folder of root's")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run("pass")
    run("while True: pass")
    assert list(tmp_path.iterdir()) == []


def test_without_any_way_to_hold_it_code_is_not_run(monkeypatch, tmp_path):
    broken = tmp_path / "inside.py"
    broken.write_text(
        Path(inside.__file__)
        .read_text()
        .replace("def _set_limits(", "def _set_limits(*_):\n    raise OSError(1)\n\n\ndef _unused(")
    )
    monkeypatch.setattr(inside, "__file__", str(broken))
    mark = tmp_path / "ran"
    with pytest.raises(DraftproofError, match="not executed: no sandbox can be made here"):
        run_python(f"open({str(mark)!r}, 'w')", SHORT)
    assert not mark.exists()


USER = """
import sys, threading
for _ in range(30):
    threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()
from draftproof.scoring.sandbox import Isolation, Limits, run_python
ended = run_python(sys.argv[1], Limits(seconds=5, processes=6), best=Isolation(sys.argv[2]))
print(ended.isolation, ended.reason, ended.output)
"""
BOMB = """
import os, socket
print(os.getuid(), os.listdir("/draftproof-work"))
started = 0
try:
    for started in range(20):
        if os.fork() == 0:
            while True: pass
except OSError:
    print("processes", started)
"""


@pytest.mark.parametrize("best", [Isolation.BUBBLEWRAP, Isolation.NAMESPACES])
def test_a_user_without_roots_rights_has_namespaces_too(best):
    if best is Isolation.BUBBLEWRAP and not can_wrap():
        pytest.skip("bubblewrap is not installed (apt-get install bubblewrap), or does not work")
    if not ROOT:
        pytest.skip("the tests above have no root's rights already")
    if not (shutil.which("setpriv") and Path(SYSTEM_PYTHON).exists()):
        pytest.skip(f"needs setpriv and {SYSTEM_PYTHON}")
    repository = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        ["setpriv", "--reuid=64999", "--regid=64999", "--clear-groups", "--inh-caps=-all",
         SYSTEM_PYTHON, "-B", "-c", USER, BOMB, best],
        env={"PYTHONPATH": str(repository / "harness"), "PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )  # fmt: skip
    if done.returncode and "Permission" in done.stderr:
        pytest.skip("another user cannot read this checkout")
    assert done.returncode == 0, done.stderr
    if "limits only" in done.stdout:
        pytest.skip("the kernel permits no namespaces to users here")
    assert f"{best} passed 65534 ['program.py']" in done.stdout
    version = [int(part) for part in os.uname().release.split(".")[:2]]
    if version >= [5, 14]:  # before, the user's own threads count, and are added to the limit
        assert "processes 4" in done.stdout or "processes 5" in done.stdout
    assert left_over() == []


def test_a_bubblewrap_that_does_not_work_is_left_alone(tmp_path, monkeypatch):
    if not can_isolate():
        pytest.skip("the kernel permits no namespaces here")
    tool = tmp_path / "bwrap"
    tool.write_text("#!/bin/sh\necho no permissions to create a new namespace >&2\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sandbox._bubblewrap.cache_clear()
    try:
        ended = run_python("pass", SHORT)
        assert sandbox._bubblewrap() is None
        assert "bubblewrap" not in sandbox.sandbox_line()
    finally:
        sandbox._bubblewrap.cache_clear()
    assert ended.passed
    assert ended.isolation is not Isolation.BUBBLEWRAP


def test_the_line_says_that_bubblewrap_is_used_where_it_is(monkeypatch):
    if not can_wrap() or not can_isolate():
        pytest.skip("needs bubblewrap, and a kernel that permits namespaces")
    assert "in namespaces of their own by bubblewrap, without network" in sandbox.sandbox_line()
    monkeypatch.setattr(sandbox, "_bubblewrap", lambda: None)
    assert "in namespaces of their own, without network" in sandbox.sandbox_line()


CALLED = """
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
column = ["x86_64", "aarch64"].index(platform.machine())
def call(numbers, *arguments):
    ctypes.set_errno(0)
    found = libc.syscall(ctypes.c_long(numbers[column]), *map(ctypes.c_ulong, arguments))
    return found, ctypes.get_errno()
"""
filtered = pytest.mark.skipif(
    os.uname().machine not in inside.MACHINES, reason="no filter of system calls for this machine"
)


@filtered
def test_system_calls_that_no_program_needs_are_refused(run):
    """Each by its number: shared memory, keys, namespaces, mounts, other processes, sockets."""
    ended = run(f"{CALLED}\nfor name, numbers in {inside.REFUSED_CALLS!r}.items():\n"
                "    print(name, *call(numbers, 0, 0, 0, 0, 0, 0))")  # fmt: skip
    assert ended.passed, ended.output
    assert ended.filtered
    assert [line for line in ended.output.splitlines() if not line.endswith(" -1 1")] == []
    assert len(ended.output.splitlines()) == len(inside.REFUSED_CALLS)


@filtered
@pytest.mark.parametrize("space", [0x20000, 0x02000000, 0x10000000, 0x20000000, 0x40000000])
def test_no_process_is_started_in_a_namespace_of_its_own(run, space):
    ended = run(f"{CALLED}\nfound = call({inside.CLONE}, {space} | 17, 0, 0, 0, 0)\n"
                "if found[0] == 0:\n    import os; os._exit(0)\n"
                "print(*found, *call((435, 435), 0, 0))")  # fmt: skip
    assert (ended.passed, ended.output) == (True, "-1 1 -1 38\n")


@filtered
def test_threads_and_processes_are_started_as_ever(run):
    ended = run("""
        import os, threading
        threading.Thread(target=print, args=("thread",)).start()
        if os.fork() == 0:
            os._exit(0)
        os.wait()
    """)
    assert ended.passed, ended.output


@filtered
def test_no_datagram_reaches_a_socket_of_the_machine(run):
    """It lies where every user can reach it, as a log's does; a pair of datagrams would do so."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        path = f"{folder}/listening"
        listening.bind(path)
        Path(folder).chmod(0o755)
        Path(path).chmod(0o777)
        listening.setblocking(False)
        ended = run(f"""
            import ctypes, struct
            libc = ctypes.CDLL(None, use_errno=True)
            pair = (ctypes.c_int * 2)()
            address = struct.pack("H", 1) + {path!r}.encode() + b"\\0"
            later = 0o2000000
            for family, kind in ((1, 2), (1, 5), (1, 2 | later), (30, 1), (1, 1), (1, 1 | later)):
                print(libc.socketpair(family, kind, 0, pair))
                libc.sendto(pair[0], b"hello", 5, 0, address, len(address))
                text = ctypes.create_string_buffer(b"hello")
                part = ctypes.create_string_buffer(struct.pack("PN", ctypes.addressof(text), 5))
                name = ctypes.create_string_buffer(address)
                head = struct.pack("PI4xPN", ctypes.addressof(name), len(address),
                                   ctypes.addressof(part), 1)
                libc.sendmsg(pair[0], head + bytes(24), 0)
            ctypes.set_errno(0)
            print(libc.sendto(pair[0], b"hello", 5, 0, address, len(address)), ctypes.get_errno())
            print(libc.sendto(pair[0], b"hello", 5, 0, None, 0))
        """)
        assert ended.passed, ended.output
        assert ended.output.split("\n") == ["-1"] * 4 + ["0", "0", "-1 1", "5", ""]
        with pytest.raises(BlockingIOError):
            listening.recv(100)


def _segments():
    path = Path("/proc/sysvipc/shm")
    return path.read_text() if path.exists() else ""


@filtered
def test_shared_memory_neither_escapes_the_limit_nor_stays_behind(run):
    before = _segments()
    ended = run("""
        import ctypes, os
        libc = ctypes.CDLL(None)
        made = [libc.shmget(0, 8 << 20, 0o1600) for _ in range(40)]
        print(max(made))
        try:
            os.memfd_create("x")
        except OSError:
            print("none")
    """)
    assert ended.output == "-1\nnone\n"
    assert _segments() == before


def can_confine():
    """Whether the kernel has Landlock: asked of it, not of the sandbox under test."""
    import ctypes

    return ctypes.CDLL(None).syscall(444, None, 0, 1) > 0


def test_nothing_is_written_outside_the_folder(run, tmp_path):
    if not run.namespaces and not can_confine():
        pytest.skip("the kernel has no Landlock")
    tmp_path.chmod(0o777)
    kept = tmp_path / "kept"
    kept.write_text("mine")
    kept.chmod(0o666)
    places = [str(tmp_path / "new"), f"/dev/shm/{OWN}", f"/tmp/{OWN}", f"/var/tmp/{OWN}"]
    ended = run(
        f"""
        import os
        for path in {places!r}:
            try:
                open(path, "w")
                print("written", path)
            except OSError:
                pass
        for change in (
            lambda: open({str(kept)!r}, "w"),
            lambda: os.truncate({str(kept)!r}, 0),
            lambda: os.remove({str(kept)!r}),
            lambda: os.rename({str(kept)!r}, {str(kept)!r} + "2"),
            lambda: os.mkdir({str(tmp_path / "folder")!r}),
        ):
            try:
                change()
                print("changed")
            except OSError:
                pass
        with open("own", "w") as file:
            file.write("x")
        os.rename("own", "other")
        os.remove("other")
        open(os.devnull, "w").write("x")
        """
    )
    assert ended.passed, ended.output
    if not run.namespaces:  # with them, folders of that name may be there, and are others
        assert ended.output == ""
        assert ended.confined
    assert kept.read_text() == "mine"
    assert [path for path in places if Path(path).exists()] == []
    assert list(tmp_path.iterdir()) == [kept]


def test_no_process_outside_is_sent_a_signal(run):
    if not run.namespaces and not can_confine():
        pytest.skip("the kernel has no Landlock")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        run(f"import os, signal\ntry:\n    os.kill({process.pid}, 9)\nexcept OSError: pass")
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("text", [inside.REFUSED, inside.LIMITED, inside.FILTERED, b"NR"])
def test_a_program_cannot_say_that_there_is_no_sandbox(run, text):
    """It writes to every descriptor it has, and fails: that is a failure, not a missing sandbox."""
    ended = run(f"""
        import os
        for descriptor in range(3, 64):
            try:
                os.write(descriptor, {text!r})
            except OSError:
                pass
        assert False
    """)
    assert (ended.passed, ended.reason) == (False, "failed")


@pytest.mark.parametrize(
    "program",
    ["if __name__ == '__main__':\n    import unittest; unittest.main()",
     "if __name__ == '__main__':\n    print(int(input()))",
     "import dataclasses\n@dataclasses.dataclass\nclass A:\n    a: 'int' = 1\nassert A().a == 1",
     "import pickle\nclass A: pass\nassert type(pickle.loads(pickle.dumps(A()))) is A"],
)  # fmt: skip
def test_no_program_is_the_main_one(run, program):
    ended = run(program)
    assert ended.passed, ended.output
