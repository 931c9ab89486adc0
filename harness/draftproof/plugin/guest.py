"""Whether a test session is about draftproof at all; in one that is not, nothing else is imported.

The plugin is loaded by every pytest of the environment, in projects that have other uses for the
names `case` and `suite`. What stands here is all that it does there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from draftproof.plugin.options import OPTIONS

MARKER = (
    "suite(domain, prompts=None): the tests of this module run once for each prompt of a domain; \
prompts, a list of texts or of draftproof.Prompt, makes a suite of your own. The domain 'other' is \
every one of --spec-prompts that has no suite of its name."
)
_CASE = "case"
_FIXTURES = "draftproof.plugin.fixtures"


def is_asked(config: pytest.Config) -> bool:
    """Whether any option of draftproof's is given, on the command line or in the ini file."""
    return any(
        config.getoption(option.attribute) is not None or config.getini(option.attribute)
        for option in OPTIONS
    )


def is_typed(early_config: pytest.Config, words: list[str]) -> bool:
    """As `is_asked`, while short names such as ``--report`` may still be somebody else's.

    Args:
        early_config: Before it is complete.
        words: The command line, with the words of ``addopts``.
    """
    flags = {word.partition("=")[0] for word in _expanded(words)}
    names = {name for option in OPTIONS for name in (option.flag, option.own_flag)}
    return bool(flags & names) or any(early_config.getini(option.attribute) for option in OPTIONS)


def _expanded(words: list[str], depth: int = 4) -> Iterator[str]:
    """The words, with those that stand in files (``@FILE``, a word a line)."""
    for word in words:
        yield word
        if word.startswith("@") and depth:
            with suppress(OSError, ValueError):
                lines = Path(word[1:]).read_text("utf-8").splitlines()
                yield from _expanded(lines, depth - 1)


def is_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests for a controller of pytest-xdist."""
    return hasattr(config, "workerinput")


def worker_count(config: pytest.Config) -> int:
    """Processes of pytest-xdist that run tests at the same time, asked here or in one of them."""
    if is_worker(config):
        return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    workers = 0
    for spec in getattr(config.option, "tx", None) or ():
        times, star, _ = spec.partition("*")
        workers += int(times) if star and times.isdigit() else 1
    return max(1, workers)


def is_of_suite(metafunc: pytest.Metafunc) -> bool:
    """Whether a test takes our `case` in a suite, and not a fixture of its project's own.

    A `case` that another ``conftest.py`` defines is theirs, unless it is made from ours; so is one
    that the test is parametrized with.
    """
    if _CASE not in metafunc.fixturenames:
        return False
    if metafunc.definition.get_closest_marker("suite") is None:
        return False
    if any(_CASE in call.params for call in metafunc._calls):
        return False
    return _reaches_ours(metafunc._arg2fixturedefs.get(_CASE, ()))


def _reaches_ours(definitions: Any) -> bool:
    """Whether the last of some fixtures of one name is ours, or asks for one that is."""
    for definition in reversed(definitions):
        if definition.func.__module__ == _FIXTURES:
            return True
        if _CASE not in definition.argnames:
            return False
    return False
