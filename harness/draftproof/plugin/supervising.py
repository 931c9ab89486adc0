"""A test session that did not come to its end is never taken for one that passed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from draftproof.plugin.guest import is_worker
from draftproof.plugin.options import given
from draftproof.supervision import SayEnd, end_file, supervised

_NAME = "draftproof-supervised"
_NO_SESSION = frozenset({"--version", "-V"})


class SaysEnd:
    """Says, when all is done, that the session came to its end, and with which exit code.

    Args:
        say: Told the exit code.
        session: Where it has started already.
    """

    def __init__(self, say: SayEnd, session: pytest.Session | None = None) -> None:
        self._say = say
        self._session = session

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        # Without a session only words were asked for, such as those of --help.
        self._say(0 if self._session is None else int(self._session.exitstatus))


def supervise(config: pytest.Config, session: pytest.Session | None = None) -> None:
    """Go on in a process of its own where this one was started to run tests, and for nothing else.

    Called before anything is loaded, no ``conftest.py``, no model, no thread; where no option says
    that the session is about draftproof, once a suite was collected.

    Args:
        config: Perhaps before it is complete.
        session: Where it has started already.
    """
    if config.pluginmanager.has_plugin(_NAME) or is_worker(config) or _has_device():
        return
    typed = config.invocation_params
    words = [str(word) for word in typed.args]
    # Else a program called pytest, or this is a worker of pytest-xdist.
    is_started_for_it = not typed.plugins and sys.argv[1:] == words
    if is_started_for_it and not _NO_SESSION.intersection(words):
        say = supervised("the tests", _KEPT)
        if say is not None:
            config.pluginmanager.register(SaysEnd(say, session), _NAME)


_KEPT = (
    "Cases that were measured are kept in the report folder, if there is one; with pytest-xdist "
    "(-n 1) a case that ends its process is recorded as an error and the others go on"
)


def _has_device() -> bool:
    """Whether a library has taken hold of a GPU, which no process that is forked can use."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def note_end(config: pytest.Config) -> None:
    """Have the end of the session written into the file of --spec-finished.

    Raises:
        UsageError: It cannot be.
    """
    path = given(config, "spec_finished")
    if path is not None:
        say = end_file(Path(path).absolute(), "--spec-finished")
        config.pluginmanager.register(SaysEnd(say), "draftproof-finished")
