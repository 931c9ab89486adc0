"""Makes what is examined from a run's settings."""

from __future__ import annotations

from collections.abc import Callable

from draftproof.config import RunConfig
from draftproof.conformance.subject import Subject
from draftproof.data import DOMAINS, OTHER, load_prompts
from draftproof.models.loading import load_pair

PROMPTS = 2
"""Prompts of each domain, unless the settings ask for fewer."""


def make_subject(
    config: RunConfig, *, prompts: int = PROMPTS, report: Callable[[str], None] = print
) -> Subject:
    """The engine that some settings name, with the judge's models loaded.

    Args:
        config: The settings.
        prompts: Prompts of each domain.
        report: Told what is being loaded.

    Raises:
        ModelError: A model cannot be loaded.
        DataError: Prompts cannot be loaded.
    """
    limit = prompts if config.limit is None else min(prompts, config.limit)
    chosen = [
        prompt
        for domain in (*DOMAINS, OTHER)
        for prompt in load_prompts(
            domain,
            source=config.prompts,
            data_dir=config.data_dir,
            limit=limit,
            seed=config.seed,
        )
    ]
    return Subject(pair=load_pair(config, report), config=config, prompts=chosen)
