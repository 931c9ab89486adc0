"""Report files and folders: written whole or not at all, and never over another run's."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from draftproof.errors import DraftproofError, UsageError, printable

LATEST = "latest"
"""Name of the pointer to the last report, in the folder of reports."""


def write_atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file so that its path holds the old content or the whole new one, never a part.

    Args:
        path: The file; replaced if it exists.
        write: Called with the open temporary file beside it.

    Raises:
        DraftproofError: It cannot be written (disk full, no permission, no such folder). What was
            there is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`write_atomically` for text, in UTF-8, line ends as they are."""
    write_atomically(path, lambda file: _write_all(file, text.encode("utf-8")))


def write_asked(path: Path, text: str) -> None:
    """Writes text where an option asked for it, in UTF-8.

    A file appears whole or not at all, also at the other end of a link. What is no file is not
    replaced: a terminal, a pipe or a device is written to, and so is what standard output is.

    Raises:
        DraftproofError: It cannot be written.
    """
    try:
        place = path.stat()
    except OSError:
        place = None  # nothing is there, or a link to nothing
    try:
        if place is not None and _is_standard_output(place):
            sys.stdout.write(text)
            sys.stdout.flush()
        elif place is not None and not stat.S_ISREG(place.st_mode):
            with path.open("wb", buffering=0) as file:
                file.write(text.encode("utf-8"))
        else:
            write_text(Path(os.path.realpath(path)), text)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _is_standard_output(place: os.stat_result) -> bool:
    try:
        return os.path.samestat(place, os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):
        return False  # it is closed, or no file


def require_folder(path: Path, option: str = "--report-dir") -> None:
    """Verify that files can be written in a folder, which may have to be made first.

    Args:
        path: As the option gave it.
        option: Its name, for errors.

    Raises:
        UsageError: It is a file, a link to nothing, or cannot be made or written.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        name = printable(str(path))
        raise UsageError(f"{option}: {name} is no text in UTF-8; give another name") from error
    try:
        place = _nearest(path, option)
        probe = place / f".draftproof.{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"{option} {path}: nothing can be written there: {error.strerror}; give another folder"
        ) from error


def _nearest(path: Path, option: str) -> Path:
    """The folder itself, or the first above it that is there."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise UsageError(
                f"{option} {path}: {place} is a link to {place.readlink()}, which is not "
                "there; remove the link or give another folder"
            )
        if place.exists():
            if not place.is_dir():
                raise UsageError(f"{option} {path}: {place} is a file; give the path of a folder")
            break
    return place


def new_report_directory(root: Path, name: str, now: datetime) -> Path:
    """A new, empty folder ``<root>/<YYYYmmdd-HHMMSS>-<name>``, made with its parents.

    Args:
        root: The folder of reports.
        name: What the run is called; characters that do not belong in a file name become ``-``.
        now: The time in the name.

    Returns:
        The folder; with ``-2``, ``-3``, … at its end where another run has the name.

    Raises:
        DraftproofError: The folder cannot be made.
    """
    stem = f"{now:%Y%m%d-%H%M%S}-{_file_name(name)}"
    attempt = 1
    while True:
        directory = root / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            root.mkdir(parents=True, exist_ok=True)
            directory.mkdir()
        except FileExistsError as error:
            if not root.is_dir():
                raise _cannot_write(directory, error) from error
            attempt += 1
        except OSError as error:
            raise _cannot_write(directory, error) from error
        else:
            return directory


def point_latest(reports_root: Path, directory: Path) -> Path:
    """Makes ``<reports_root>/latest`` point at a report, in one step.

    Args:
        reports_root: The folder of reports.
        directory: The report.

    Returns:
        The pointer: a relative symbolic link, or, where the file system has none, a text file that
        holds the relative path. `followed` reads both.

    Raises:
        DraftproofError: It cannot be written, or a folder of that name is in the way.
    """
    pointer = reports_root / LATEST
    relative = Path(os.path.relpath(directory.resolve(), reports_root.resolve())).as_posix()
    temporary = reports_root / f".{LATEST}.{os.getpid()}.tmp"
    if pointer.is_dir() and not pointer.is_symlink():
        raise DraftproofError(f"cannot write {pointer}: a folder is in the way; move it elsewhere")
    try:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        temporary.symlink_to(relative, target_is_directory=True)
    except (OSError, NotImplementedError):
        write_text(pointer, relative + "\n")
        return pointer
    try:
        temporary.replace(pointer)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _cannot_write(pointer, error) from error
    return pointer


def followed(path: Path) -> Path:
    """The report that a path means: itself, or what a pointer file of `point_latest` names."""
    if path.name == LATEST and path.is_file():
        return path.parent / path.read_text(encoding="utf-8").strip()
    return path


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "run"


def _write_all(file: BinaryIO, data: bytes) -> None:
    file.write(data)


def _cannot_write(path: Path, error: OSError) -> DraftproofError:
    why = error.strerror or str(error)
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = "free space, or have it written elsewhere" if is_full else "have it written elsewhere"
    return DraftproofError(f"cannot write {path}: {why}; {what}")
