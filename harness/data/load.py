"""Prompts of a domain by source, limit and seed: what the suites call."""

from __future__ import annotations

import os
from pathlib import Path

from harness.data.builtin import builtin_records
from harness.data.prompt import DOMAINS, Prompt
from harness.data.real import real_records
from harness.data.record import Record
from harness.data.sample import check_limit, sample_indices
from harness.errors import UsageError, unknown_value

SOURCES: tuple[str, ...] = ("builtin", "real")
"""``builtin``: written for this project. ``real``: the public data set of the domain."""


def load_prompts(
    domain: str,
    *,
    source: str = "builtin",
    data_dir: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Prompt]:
    """The prompts of a domain, in the order of the data set.

    Args:
        domain: ``code``, ``math``, ``logic`` or ``chat``.
        source: ``builtin`` or ``real``.
        data_dir: For ``real``, a folder with the authors' files (see
            `harness.data.real.local_layout`); None loads from the hub.
        limit: How many prompts; None, or more than there are, takes all. A sample for a
            limit N is part of the sample for N + 1 (see `harness.data.sample`).
        seed: Decides which prompts a limit chooses.

    Returns:
        At least one prompt; no text is blank, and all ids differ.

    Raises:
        UsageError: An unknown domain or source, a limit below 1, or a data folder given for
            the built-in prompts.
        DataError: The data is missing, unreachable, corrupt, empty or not laid out as expected.
    """
    records = load_records(domain, source=source, data_dir=data_dir, limit=limit, seed=seed)
    return [record.prompt for record in records]


def load_records(
    domain: str,
    *,
    source: str = "builtin",
    data_dir: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> list[Record]:
    """The prompts of `load_prompts`, each with its whole row, for scoring.

    Args:
        domain: As for `load_prompts`.
        source: As for `load_prompts`.
        data_dir: As for `load_prompts`.
        limit: As for `load_prompts`.
        seed: As for `load_prompts`.

    Raises:
        UsageError: As for `load_prompts`.
        DataError: As for `load_prompts`.
    """
    if domain not in DOMAINS:
        raise unknown_value("domain", domain, DOMAINS)
    if source not in SOURCES:
        raise unknown_value("source", source, SOURCES)
    if source == "builtin" and data_dir is not None:
        raise UsageError(
            f"data_dir: {os.fspath(data_dir)} was given, but the built-in prompts are not read "
            "from a folder; use the source 'real', or give no folder"
        )
    check_limit(limit)
    if source == "builtin":
        records = builtin_records(domain)
    else:
        records = real_records(domain, None if data_dir is None else Path(data_dir).expanduser())
    ids = [record.prompt.prompt_id for record in records]
    return [records[position] for position in sample_indices(ids, limit=limit, seed=seed)]
