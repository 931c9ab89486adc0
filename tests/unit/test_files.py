"""Files that options ask for: whole or not at all, and what is no file is not replaced."""

import os
import stat
import sys
import threading

import pytest

from draftproof.errors import DraftproofError
from draftproof.files import write_asked
from draftproof.supervision import end_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")


def read_later(pipe):
    """What comes out of a named pipe, read by a thread."""
    found = []
    reading = threading.Thread(target=lambda: found.append(pipe.read_text("utf-8")), daemon=True)
    reading.start()
    return lambda: (reading.join(10), *found)[1:]


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_asked(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    (tmp_path / "dangling").symlink_to("made")
    write_asked(tmp_path / "dangling", "too")
    assert (tmp_path / "made").read_text() == "too"


@pytest.mark.parametrize("write", [write_asked, lambda path, text: end_file(path, "--x")(7)])
def test_a_pipe_is_written_to(tmp_path, write):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said = read_later(pipe)
    write(pipe, "7\n")
    assert said() == ("7\n",)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_is_printed_to(tmp_path):
    """Also where it is a file that a shell has redirected it to, which is not replaced."""
    program = (
        "import sys; from pathlib import Path; from draftproof.files import write_asked\n"
        "print('before'); write_asked(Path('/dev/stdout'), 'it\\n'); print('after')"
    )
    out = tmp_path / "out"
    script = tmp_path / "script.py"
    script.write_text(program)
    assert os.system(f"{sys.executable} {script} > {out}") == 0
    assert out.read_text() == "before\nit\nafter\n"


def test_the_end_is_written_through_a_link(tmp_path):
    (tmp_path / "link").symlink_to("finished")
    (tmp_path / "finished").write_text("0\n")
    say = end_file(tmp_path / "link", "--spec-finished")
    assert not (tmp_path / "finished").exists(), "that of an earlier run is removed"
    say(3)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "finished").read_text() == "3\n"


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DraftproofError, match="cannot write .*nowhere"):
        write_asked(tmp_path / "nowhere" / "file", "text")
