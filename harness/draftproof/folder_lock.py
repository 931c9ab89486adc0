"""One run at a time in a report folder: a lock that ends with the process that has it.

The lock is the system's own, of a file in the folder: one that was killed leaves none behind,
whatever is left of its files and of the processes that it started. Where a file system has no
locks, as some that lie on a network, there is none, and the run says so.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from pathlib import Path

from draftproof.errors import UsageError, clean_text

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_FILE = ".running"
"""In the report folder, while a run lasts; says which process has the lock."""

_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
"""What the system says of a lock that another process has."""

_FAR = 1 << 30
"""The byte that is locked: behind what the file says, which others may read (Windows)."""


class _HeldError(Exception):
    """Another process has the lock."""


class FolderLock:
    """The lock of a report folder, from when it is made until it is closed.

    Args:
        folder: Of the report; made where it is not there.
        option: The name of the option that gave it, for errors.

    Attributes:
        note: Why there is no lock; empty where there is one.

    Raises:
        UsageError: Another process has it, or the folder cannot be made.
    """

    def __init__(self, folder: Path, option: str = "--report-dir") -> None:
        self.note = ""
        self._made = _made(folder, option)
        self._path = folder / LOCK_FILE
        self._descriptor: int | None = None
        try:
            self._descriptor = _locked(self._path)
        except _HeldError as error:
            self._remove_made()
            raise UsageError(
                f"another run is going on in {folder} ({_holder(self._path)}); wait for its end, "
                f"or give another {option}"
            ) from error
        except OSError as error:
            self.note = (
                f"{folder} cannot be locked ({error.strerror or error}): let no other run write "
                "there at the same time"
            )

    def close(self) -> None:
        """Let other runs in; takes away what was made for the lock, as far as it is empty."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = None
        self._remove_made()

    def _remove_made(self) -> None:
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _made(folder: Path, option: str) -> list[Path]:
    """Make a folder; those that had to be made, the innermost first."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{option} {folder}: it cannot be made: {error.strerror}; give another folder"
        ) from error
    return missing


def _locked(path: Path) -> int:
    """The descriptor of a file on which this process has the lock.

    Raises:
        _HeldError: Another process has it.
        OSError: There are no locks there.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            # Its holder may have taken the file away before it let go.
            if _is_at(descriptor, path):
                with contextlib.suppress(OSError):  # a full disk: the lock stands without a name
                    os.ftruncate(descriptor, 0)
                    name = f"process {os.getpid()} on {socket.gethostname()}\n"
                    os.write(descriptor, name.encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    os.lseek(descriptor, _FAR, os.SEEK_SET)
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            # Of the process and not of the open file: no process that it forks has it too.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0, os.SEEK_CUR)
    except OSError as error:
        if error.errno in _HELD:
            raise _HeldError from error
        raise
    os.lseek(descriptor, 0, os.SEEK_SET)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    """Who has the lock, as far as it can be read."""
    try:
        return clean_text(path.read_text("utf-8", "replace").strip(), 200) or "an unnamed process"
    except OSError:
        return "an unnamed process"
