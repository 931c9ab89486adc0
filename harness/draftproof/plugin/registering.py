"""Registers the options with pytest: under names of their own, and under short ones where free."""

from __future__ import annotations

from typing import Literal

import pytest

from draftproof.plugin.options import GROUP, GROUP_TITLE, OPTIONS, Option


def add_options(parser: pytest.Parser) -> None:
    """Register every option, with its ini equivalent."""
    group = parser.getgroup(GROUP, GROUP_TITLE)
    for option in OPTIONS:
        if option.metavar is None:
            group.addoption(option.own_flag, action="store_true", default=None, help=_help(option))
            parser.addini(option.attribute, f"As {option.flag}.", type="bool", default=None)
        else:
            group.addoption(
                option.own_flag,
                action="append",
                metavar=option.metavar,
                default=None,
                help=_help(option),
            )
            kind: Literal["linelist", "string"] = "linelist" if option.joined else "string"
            parser.addini(option.attribute, f"As {option.flag}.", type=kind, default=None)


def add_short_names(parser: pytest.Parser) -> None:
    """Register ``--report`` and ``--report-dir`` where no plugin or ``conftest.py`` has them.

    Nothing is parsed for it: the types and actions of a project's options are its own code.
    """
    groups = (parser._anonymous, *parser._groups)
    taken = {name for group in groups for each in group.options for name in each.names()}
    for option in OPTIONS:
        if option.flag == option.own_flag or option.flag in taken:
            continue
        group = parser.getgroup(GROUP, GROUP_TITLE)
        if option.metavar is None:
            group.addoption(
                option.flag,
                action="store_true",
                dest=option.attribute,
                default=None,
                help=f"As {option.own_flag}. {option.help}",
            )
        else:
            group.addoption(
                option.flag,
                action="append",
                dest=option.attribute,
                metavar=option.metavar,
                default=None,
                help=f"As {option.own_flag}. {option.help}",
            )


def _help(option: Option) -> str:
    if option.flag == option.own_flag:
        return option.help
    return f"{option.help} Also {option.flag}, where no other plugin has an option of that name."
