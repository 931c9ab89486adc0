"""The pytest plugin: options, fixtures and the report.

A session that asks for none of them pays nothing: loading the plugin imports what makes the command
line, and no library that pytest does without. The rest follows where an option or a suite asks.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from draftproof.plugin.carried import EndsRun
from draftproof.plugin.fixtures import acceptance_rule, case, drafter, speculation
from draftproof.plugin.guest import MARKER, is_asked, is_of_suite, is_typed, is_worker
from draftproof.plugin.registering import add_options, add_short_names
from draftproof.plugin.state import RUN_CONFIG

__all__ = ["acceptance_rule", "case", "drafter", "speculation"]


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None]:
    if is_typed(early_config, args):
        from draftproof.plugin.supervising import supervise

        supervise(early_config)
    yield
    add_short_names(parser)  # every conftest.py has said which options it has


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    if not is_worker(config):
        config.pluginmanager.register(EndsRun(), "draftproof-ends-run")
    if is_asked(config):
        from draftproof.plugin.session import configure

        configure(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    if RUN_CONFIG not in config.stash:
        return []
    from draftproof.plugin.session import header

    return header(config)


def pytest_sessionstart(session: pytest.Session) -> None:
    if RUN_CONFIG in session.config.stash:
        from draftproof.plugin.session import start

        start(session)


@pytest.hookimpl(trylast=True)  # after every conftest.py has parametrized what is its own
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if is_of_suite(metafunc):
        from draftproof.plugin.collection import parametrize_cases
        from draftproof.plugin.session import configured

        configured(metafunc.config)
        parametrize_cases(metafunc)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before anything is deselected, and after
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    if RUN_CONFIG not in config.stash:
        return (yield)
    from draftproof.plugin.session import check_prompts
    from draftproof.plugin.wholeness import expected_cases, note_collected

    check_prompts(config, items)
    expected = expected_cases(config, items)
    yield
    note_collected(config, expected, items)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    if RUN_CONFIG in session.config.stash and not session.config.option.collectonly:
        from draftproof.plugin.supervising import supervise

        supervise(session.config, session)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if RUN_CONFIG in item.config.stash:
        from draftproof.plugin.carried import attach_record

        return attach_record(item, report)
    return report
