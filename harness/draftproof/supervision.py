"""A process that ends before its work is never taken for one that did it.

What an engine loads can end the process that it runs in, with exit code 0 too (``os._exit(0)``, or
``exit(0)`` somewhere in native code), and no code in that process can prevent it. So the process
that was started only waits: a copy of it, forked before anything was loaded, does the work, and
says through a pipe that it came to its end, and with which exit code. Where processes are not
forked (on anything but Linux), nothing of this happens, and a file that is written at the end says
the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from draftproof.errors import UNFINISHED_EXIT_CODE, UsageError

SayEnd = Callable[[int], None]
"""Told the exit code when the work has come to its end."""

_SAME_INTERRUPT_SECONDS = 0.5
"""Within this time a second SIGINT is the first one once more: a terminal sends it to the waiting
process and to the one that works, and the first hands on what it is sent."""

_FAILED = frozenset({1, 2, 3, 4})
"""Exit codes that mean a failure, whoever ends a process with them before its work is done; all
others may mean something else, such as no failed gate."""

_PR_SET_PDEATHSIG = 1
_SHELL_ADDS = 128
"""What a shell adds to the number of the signal that ended a process."""


def supervised(what: str, kept: str, *, always_says: bool = False) -> SayEnd | None:
    """Go on in a copy of this process, whose end the process itself waits for.

    The process exits as its copy did; where the copy did not say that it came to its end, and exits
    with a code that need not mean a failure, with 3 and a message on standard error. Signals are
    handed on, and the copy is ended with the process.

    Args:
        what: What the copy does, for the message: ``the tests``.
        kept: A sentence on what remains of work that did not come to its end, and how to go on.
        always_says: Whether the copy says so at every end, of a failure too; pytest ends some
            sessions without a word to its plugins.

    Returns:
        In the copy, what is to be told its exit code at the end. None where nothing was forked: the
        system is not Linux, or another thread runs already.
    """
    if sys.platform != "linux" or threading.active_count() > 1:
        return None
    reading, writing = os.pipe()  # not inherited by processes that are started anew
    waiting = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or both processes would write what is still to be written
    with warnings.catch_warnings():
        # Idle threads of numerical libraries, which see to a fork by themselves.
        warnings.simplefilter("ignore", DeprecationWarning)
        working = os.fork()
    if working:
        os.close(writing)
        _wait(working, reading, what, kept, always_says=always_says)
    os.close(reading)
    _end_with(waiting)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _Interrupts())

    def say(exit_code: int) -> None:
        with contextlib.suppress(OSError):
            os.write(writing, f"{exit_code}\n".encode())

    return say


def end_file(path: Path, option: str) -> SayEnd:
    """What writes the exit code into a file at the end; the file is removed now.

    Raises:
        UsageError: It is a folder, lies in none, or cannot be removed.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    is_none = path.exists() and not path.is_file()  # a pipe or a device, which is written to
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not is_none:
            path.unlink(missing_ok=True)
            path.touch()
            path.unlink()
    except OSError as error:
        raise UsageError(
            f"{option} {path}: no file can be written there: {error.strerror}"
        ) from error

    def say(exit_code: int) -> None:
        path.write_text(f"{exit_code}\n", encoding="ascii")

    return say


class _Interrupts:
    """Python's own handler of SIGINT, for the first of several that are one."""

    def __init__(self) -> None:
        self._last = -_SAME_INTERRUPT_SECONDS

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        is_new = now - self._last >= _SAME_INTERRUPT_SECONDS
        self._last = now
        if is_new:
            signal.default_int_handler(number, frame)


def _end_with(parent: int) -> None:
    """Have the kernel end this process when its parent is ended: nobody would wait for it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(UNFINISHED_EXIT_CODE)


def _wait(working: int, reading: int, what: str, kept: str, *, always_says: bool) -> NoReturn:
    """Wait for the process that works, and exit as it did, or as one that did not finish."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda sent, frame: _hand_on(working, sent))
    _, status = os.waitpid(working, 0)
    code = os.waitstatus_to_exitcode(status)
    said = _said(reading)
    if code < 0:
        end = f"draftproof: the process of {what} was ended by {_signal_name(-code)}"
        _tell(f"{end}. {kept}" if said is None else f"{end}, after it was done")
        code = _SHELL_ADDS - code
    elif said is None and (always_says or code not in _FAILED):
        _tell(
            f"draftproof: the process of {what} ended itself before their end, with exit code "
            f"{code}: an engine, or a library below it, called exit. Nothing counts as passed. "
            f"{kept}"
        )
        code = UNFINISHED_EXIT_CODE
    os._exit(said or code)


def _hand_on(working: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(working, number)


def _said(reading: int) -> int | None:
    """The last exit code that the process said it would end with.

    Processes that it left behind may hold the pipe open, so that its end is not waited for.
    """
    os.set_blocking(reading, False)
    try:
        words = os.read(reading, 4096).split()
    except BlockingIOError:
        return None
    return int(words[-1]) if words else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tell(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"\n{line}\n".encode())
