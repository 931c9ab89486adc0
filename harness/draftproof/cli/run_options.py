"""Options that commands share with a pytest run: ``--target`` for ``--spec-target``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from draftproof.config import RunConfig
from draftproof.data import DOMAINS, OTHER, Prompt
from draftproof.data.load import PromptLoader


def add_run_options(
    parser: argparse.ArgumentParser,
    names: Sequence[str],
    defaults: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Add some of a pytest run's options to a command.

    Args:
        parser: Of the command.
        names: Of the options, such as ``spec_target``.
        defaults: Where a command's default is not that of a run: the default, and what says so.
    """
    from draftproof.plugin.options import BY_NAME

    for name in names:
        option = BY_NAME[name]
        flags = (option.flag.replace("--spec-", "--"), option.flag)
        _, text = (defaults or {}).get(name, (None, option.help))
        if option.metavar is None:
            parser.add_argument(*flags, dest=name, action="store_true", default=None, help=text)
        else:
            parser.add_argument(
                *flags, dest=name, action="append", metavar=option.metavar, help=text
            )


def given_values(
    arguments: argparse.Namespace,
    names: Sequence[str],
    defaults: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """The values of `add_run_options`'s options; None where one is not given and has no default.

    Raises:
        UsageError: A value is not valid.
    """
    from draftproof.plugin.options import BY_NAME, value_of

    values: dict[str, Any] = {}
    for name in names:
        option, texts = BY_NAME[name], getattr(arguments, name)
        if option.metavar is None:
            values[name] = texts
            continue
        if texts is None and name in (defaults or {}):
            texts = [(defaults or {})[name][0]]
        values[name] = None if texts is None else value_of(option, texts)
    return values


def prompts_of(config: RunConfig) -> list[Prompt]:
    """The prompts that a run's settings ask for, of all domains.

    Raises:
        DataError: They cannot be loaded.
    """
    from draftproof.plugin.collection import prompt_source

    loader = PromptLoader(prompt_source(config))
    return [
        record.prompt for domain in (*DOMAINS, OTHER) for record in loader.domain(domain).records
    ]
