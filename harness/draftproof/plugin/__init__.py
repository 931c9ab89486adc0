"""The pytest plugin: options, fixtures and the report. Loading it does not import torch."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from draftproof.plugin.fixtures import acceptance_rule, case, drafter, speculation
from draftproof.plugin.registering import add_options, add_short_names

__all__ = ["acceptance_rule", "case", "drafter", "speculation"]


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(trylast=True)  # after every conftest.py has said which options it has
def pytest_load_initial_conftests(parser: pytest.Parser) -> None:
    add_short_names(parser)


def pytest_configure(config: pytest.Config) -> None:
    from draftproof.plugin.session import configure

    configure(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    from draftproof.plugin.session import header

    return header(config)


def pytest_sessionstart(session: pytest.Session) -> None:
    from draftproof.plugin.session import start

    start(session)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    from draftproof.plugin.collection import parametrize_cases

    parametrize_cases(metafunc)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    from draftproof.plugin.session import check_prompts

    check_prompts(config, items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    from draftproof.plugin.carried import attach_record

    return attach_record(item, (yield))
