"""Makes what is examined from a run's settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from draftproof.config import RunConfig
from draftproof.conformance.subject import Subject
from draftproof.data import DOMAINS, OTHER
from draftproof.data.load import PromptLoader
from draftproof.engines.names import PROBE
from draftproof.engines.registry import check_engine, judging_pair
from draftproof.errors import UsageError
from draftproof.models.loading import load_pair
from draftproof.plugin.collection import prompt_source

PROMPTS = 2
"""Prompts of each domain in a pytest run, unless its settings ask for fewer."""


def make_subject(
    config: RunConfig,
    *,
    prompts: int | None = PROMPTS,
    report: Callable[[str], None] = print,
    to_the_end: bool = True,
) -> Subject:
    """The engine that some settings name, with the judge's models loaded.

    Args:
        config: The settings.
        prompts: At most so many of each domain; None for as many as the settings' limit says.
        report: Told what is being loaded.
        to_the_end: Whether a check goes on after the first problem that it finds.

    Raises:
        UsageError: The engine cannot be used; found before a model is loaded.
        ModelError: A model cannot be loaded.
        DataError: Prompts cannot be loaded.
    """
    check_engine(config)
    if config.engine == PROBE:
        raise UsageError(
            "the engine probe decodes without speculation, so that there is nothing to verify: "
            "name another one, or leave the engine out for the reference engine"
        )
    limits = [limit for limit in (prompts, config.limit) if limit is not None]
    loader = PromptLoader(replace(prompt_source(config), limit=min(limits, default=None)))
    chosen = [
        record.prompt for domain in (*DOMAINS, OTHER) for record in loader.domain(domain).records
    ]
    pair = judging_pair(load_pair(config, report), config)
    return Subject(pair=pair, config=config, prompts=chosen, to_the_end=to_the_end)
