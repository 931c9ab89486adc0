"""One run at a time in a report folder, and no lock that outlives the process that had it."""

import contextlib
import errno
import os
import signal
import subprocess
import sys

import pytest

from draftproof import folder_lock
from draftproof.errors import UsageError
from draftproof.folder_lock import LOCK_FILE, FolderLock

HOLDS = """
import os, sys, time
from pathlib import Path
from draftproof.folder_lock import FolderLock

lock = FolderLock(Path(sys.argv[1]))
if sys.argv[2] != "fork" or os.fork():
    print("locked", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that has the lock of `tmp_path / "out"`."""
    started = []

    def start(how="alone"):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(tmp_path / "out"), how],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in started:
        if sys.platform == "win32":
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_folder_has_one_lock(tmp_path, holder):
    process = holder()
    with pytest.raises(UsageError, match=rf"another run is going on in .*process {process.pid} on"):
        FolderLock(tmp_path / "out")
    with pytest.raises(UsageError, match="or give another --out"):
        FolderLock(tmp_path / "out", "--out")
    FolderLock(tmp_path / "other").close()


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_killed_process_leaves_no_lock(tmp_path, holder, how):
    """Not in a process that it forked and that lives on either."""
    process = holder(how)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "out" / LOCK_FILE).exists()
    lock = FolderLock(tmp_path / "out")
    assert not lock.note
    lock.close()
    assert not (tmp_path / "out" / LOCK_FILE).exists()


def test_what_was_made_for_the_lock_is_taken_away(tmp_path):
    FolderLock(tmp_path / "some" / "where").close()
    assert not (tmp_path / "some").exists()
    lock = FolderLock(tmp_path / "some" / "where")
    (tmp_path / "some" / "where" / "run.json").write_text("{}")
    lock.close()
    assert [path.name for path in (tmp_path / "some" / "where").iterdir()] == ["run.json"]


def test_a_file_system_without_locks_is_noted(tmp_path, monkeypatch):
    def no_locks(descriptor):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(folder_lock, "_lock", no_locks)
    lock = FolderLock(tmp_path / "out")
    assert "cannot be locked (No locks available): let no other run write there" in lock.note
    lock.close()


def test_a_lock_file_that_was_taken_away_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """Its holder ended between our opening the file and our locking it."""
    path, lock_it = tmp_path / LOCK_FILE, folder_lock._lock
    opened = []

    def takes_away(descriptor):
        if not opened:
            path.unlink()
        opened.append(descriptor)
        lock_it(descriptor)

    monkeypatch.setattr(folder_lock, "_lock", takes_away)
    FolderLock(tmp_path)
    assert len(opened) == 2
    assert path.exists()
