"""Runs Python code that nobody trusts in a subprocess that can hardly harm the machine.

What it protects from, and what it does not, is in ``SECURITY.md``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from draftproof.errors import DraftproofError
from draftproof.scoring import inside

_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache")
_GRACE_SECONDS = 2.0


class Isolation(StrEnum):
    """How far a program was kept from the machine; the best first."""

    BUBBLEWRAP = "bubblewrap"
    """Such namespaces as below, made by ``bwrap``, a sandbox that is kept well by others."""
    NAMESPACES = "namespaces"
    """Linux namespaces of its own: no network, no files but Python's, no processes but its own."""
    LIMITS = "limits only"
    """The kernel permits no namespaces here: limits, a user id of its own if run by root, and a
    block of sockets inside Python, which determined code gets around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: Of wall time.
        cpu_seconds: Of processor time, each process.
        memory_bytes: Of address space, each process.
        processes: With threads.
        file_bytes: The largest file.
        disk_bytes: All files together (with namespaces).
        output_bytes: Printed text that is kept; a program may print more.
    """

    seconds: float = 30.0
    cpu_seconds: int = 10
    memory_bytes: int = 512 << 20
    processes: int = 8
    file_bytes: int = 8 << 20
    disk_bytes: int = 16 << 20
    output_bytes: int = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended.

    Attributes:
        passed: It ran to its last line.
        reason: ``passed``, ``failed`` or ``too slow``.
        output: What it printed, as far as the limit goes.
        isolation: How it was run.
        filtered: Whether system calls that no such program needs were refused.
        confined: Whether it could write in its own folder alone.
    """

    passed: bool
    reason: str
    output: str
    isolation: Isolation
    filtered: bool
    confined: bool


def run_python(
    program: str, limits: Limits | None = None, *, best: Isolation | None = None
) -> Ended:
    """Runs a program in the sandbox, and ends everything that it started.

    A program that leaves early with success (``sys.exit(0)``) has not run to its last line. Code
    that sets out to can fake that it did, not more.

    Args:
        program: Python source; it sees the standard library only.
        limits: What it may use.
        best: The first way to try, in the order of `Isolation`; None is the first of all.

    Raises:
        DraftproofError: The system has no way to limit a program, so it was not run.
    """
    if os.name != "posix":
        raise DraftproofError("code is executed on Linux and macOS only; run it there")
    limits = limits or Limits()
    wrapper = _bubblewrap() if best in (None, Isolation.BUBBLEWRAP) else None
    return _run(program, limits, wrapper, namespaces=best is not Isolation.LIMITS)


@functools.cache
def _bubblewrap() -> str | None:
    """Where bubblewrap is, if it works here: tried, not looked up."""
    found = shutil.which("bwrap") if sys.platform == "linux" else None
    if found is None:
        return None
    try:
        ended = _run("pass", Limits(), found, namespaces=True)
    except (DraftproofError, OSError):
        return None
    return found if ended.passed else None


def _run(program: str, limits: Limits, wrapper: str | None, *, namespaces: bool) -> Ended:
    """Runs a program, within bubblewrap where that is given."""
    token, marker = secrets.token_hex(16), secrets.token_hex(16)
    with (
        tempfile.TemporaryDirectory(prefix="draftproof-", ignore_cleanup_errors=True) as folder,
        _pipe() as (result, answered),
        _pipe() as (way, told),
    ):
        Path(folder, "root").mkdir()
        settings = {
            "wrapped": wrapper is not None,
            "number": secrets.randbelow(4096),
            "spare": inside.threads_of(os.getuid()),
            "namespaces": namespaces,
            "folder": folder,
            "root": str(Path(folder, "root").resolve()),
            "readable": _readable(),
            "python": os.path.realpath(sys.executable),
            "token": token,
            "marker": marker,
            "result": answered,
            "told": told,
            "cpu_seconds": limits.cpu_seconds,
            "memory_bytes": limits.memory_bytes,
            "processes": limits.processes,
            "file_bytes": limits.file_bytes,
            "disk_bytes": limits.disk_bytes,
        }
        start = [sys.executable, "-I", "-S", "-B", inside.__file__]
        if wrapper is not None:
            source = Path(inside.__file__).read_text(encoding="utf-8")
            start = [*_wrapped(wrapper, limits), "-I", "-S", "-B", "-c", source]
        supervisor = subprocess.Popen(
            [*start, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(answered, told),
            start_new_session=True,
            cwd="/" if wrapper else folder,
            env={},
        )
        try:
            output, reason = _watch(supervisor, program.encode("utf-8", "replace"), limits)
        finally:
            _end(supervisor, marker, wrapped=wrapper is not None)
        answer, taken = _written(result), _written(way)
    text = output.decode("utf-8", "replace")
    # Told by what runs the program, which the program itself has no way to.
    if inside.REFUSED in taken or not taken:
        raise DraftproofError(
            f"code was not executed: no sandbox can be made here ({text.strip()})"
        )
    isolation = next(way for told, way in _TOLD.items() if taken.startswith(told))
    passed = not reason and answer.endswith(token.encode())
    return Ended(
        passed=passed,
        reason=reason or ("passed" if passed else "failed"),
        output=text,
        isolation=isolation,
        filtered=inside.FILTERED in taken,
        confined=inside.CONFINED in taken or isolation is not Isolation.LIMITS,
    )


_TOLD = {
    inside.WRAPPED: Isolation.BUBBLEWRAP,
    inside.ISOLATED: Isolation.NAMESPACES,
    inside.LIMITED: Isolation.LIMITS,
}


def _wrapped(wrapper: str, limits: Limits) -> list[str]:
    """The command of bubblewrap up to the interpreter: what Python needs, and a folder to use."""
    words = [wrapper, "--die-with-parent", "--as-pid-1", "--new-session", "--cap-drop", "ALL"]
    words += [f"--unshare-{each}" for each in ("pid", "net", "ipc", "uts", "cgroup-try")]
    if os.geteuid() == 0:
        # What is started becomes another user before it runs any code, and keeps none of these.
        for right in ("SETUID", "SETGID", "CHOWN"):
            words += ["--cap-add", f"CAP_{right}"]
    else:
        words += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    covered: list[str] = []
    for path in _readable():
        if not os.path.lexists(path) or any(Path(path).is_relative_to(each) for each in covered):
            continue
        covered.append(path)
        for parent in reversed(Path(path).parents[:-1]):
            words += ["--perms", "0755", "--dir", str(parent)]
        link = Path(path).readlink() if Path(path).is_symlink() else None
        words += ["--ro-bind", path, path] if link is None else ["--symlink", str(link), path]
    words += ["--perms", "0755", "--dir", "/dev"]
    for name in ("null", "zero", "urandom"):
        words += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    words += ["--perms", "0777", "--size", str(limits.disk_bytes), "--tmpfs", inside.WORK]
    return [*words, "--remount-ro", "/", "--chdir", inside.WORK, os.path.realpath(sys.executable)]


def sandbox_line() -> str:
    """How code is run on this machine, in a line: tried, not looked up.

    Raises:
        DraftproofError: It cannot be run at all.
    """
    ended = run_python("pass")
    calls = "a filter of system calls" if ended.filtered else "no filter of system calls"
    if ended.isolation is not Isolation.LIMITS:
        where = "namespaces of their own"
        if ended.isolation is Isolation.BUBBLEWRAP:
            where += " by bubblewrap"
        return f"outputs that are code are executed in {where}, without network, with {calls}"
    reached = "files" if ended.filtered else "files and network"
    writing = "to read, and none to write" if ended.confined else "in reach"
    return (
        "WARNING: the kernel permits no namespaces here, so outputs that are code are executed "
        f"under limits and {calls}, with this user's {reached} {writing}; see `draftproof docs "
        "security`"
    )


def _watch(
    supervisor: subprocess.Popen[bytes], program: bytes, limits: Limits
) -> tuple[bytes, str]:
    """What is printed until the program ends, and why it was ended if it had to be."""
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    with contextlib.suppress(BrokenPipeError), supervisor.stdin as stdin:
        stdin.write(program)
    deadline = time.monotonic() + limits.seconds
    printed = b""
    stream = supervisor.stdout.fileno()
    os.set_blocking(stream, False)
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            ended = supervisor.poll() is not None
            if selector.get_map() and selector.select(0 if ended else 0.05):
                block = os.read(stream, 1 << 16)
                # What is beyond the limit is read, so that nobody waits for it, and forgotten.
                printed += block[: limits.output_bytes - len(printed)]
                if not block:
                    selector.unregister(stream)
            elif ended:
                return printed, ""
            elif not selector.get_map():
                time.sleep(0.01)
            if time.monotonic() > deadline:
                return printed, "too slow"


def _end(supervisor: subprocess.Popen[bytes], marker: str, *, wrapped: bool) -> None:
    """End the supervisor, which takes its namespace or its descendants with it.

    bubblewrap would end at once, and its namespace a moment later: it waits where the first process
    in there is ended instead, until nothing is left of it.
    """
    if supervisor.poll() is None:
        below = inside.descendants(supervisor.pid) if wrapped else []
        for process in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if not below:
            supervisor.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            supervisor.wait(_GRACE_SECONDS)
    if supervisor.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(supervisor.pid, signal.SIGKILL)
        supervisor.wait()
    if supervisor.stdout is not None:
        supervisor.stdout.close()
    _sweep(marker)


def _sweep(marker: str) -> None:
    """Kill what is left of a program that stopped its own supervisor; there is none else."""
    wanted = f"DRAFTPROOF_SANDBOX={marker}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in entry.read_bytes().split(b"\0"):
                os.kill(int(entry.parent.name), signal.SIGKILL)


def _written(pipe: int) -> bytes:
    """What a pipe holds by now."""
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, 4096)
    except BlockingIOError:
        return b""


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    try:
        yield read, write
    finally:
        os.close(read)
        os.close(write)


def _readable() -> list[str]:
    """What Python cannot start without: the system's libraries, and its own."""
    base = {"platbase": sys.base_exec_prefix}
    own = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib", vars=base))
    places = [*_SYSTEM, *own, os.path.realpath(sys.executable)]
    library = sysconfig.get_config_var("LIBDIR")
    if library and sysconfig.get_config_var("Py_ENABLE_SHARED"):
        places.append(library)
    # A folder before what lies in it, which would else stand there alone.
    return sorted(dict.fromkeys(path for path in places if path), key=len)
