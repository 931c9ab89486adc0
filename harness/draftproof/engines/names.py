"""The engines that come with draftproof, by name: known without loading any of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

GROUP = "draftproof.engines"
"""Entry point group under which other packages register engines."""

REFERENCE = "reference"
"""This project's own engine, which reads the run's settings and has none of its own."""

AT_ONCE = "prompts at once"
"""What an engine's description says of batches: how many prompts one had room for."""

EXECUTOR = "executor"
"""What it says of actors elsewhere that ran it: what they are, and how many."""

PROBE = "probe"
"""Tells what the reference engine would have done, without speculation."""

SPECULATION = "speculation"
"""What an engine's description says of the speculation that ran, where it was none."""

NO_SPECULATION = "none: steps and nodes follow from plain outputs"

BUILT_IN: Mapping[str, str] = {
    REFERENCE: "draftproof.engines.reference:ReferenceEngine",
    "llama-cpp": "draftproof.engines.llama_cpp:LlamaCppEngine",
    PROBE: "draftproof.replay.probing:ProbeEngine",
    "openai": "draftproof.engines.openai:OpenAIEngine",
    "transformers-assisted": "draftproof.engines.assisted:AssistedEngine",
    "transformers-lookup": "draftproof.engines.assisted:LookupEngine",
}
"""Where each of them is made."""


def registered() -> dict[str, metadata.EntryPoint]:
    """The engines that installed packages register, by name."""
    return {entry.name: entry for entry in metadata.entry_points(group=GROUP)}


def engine_names() -> tuple[str, ...]:
    """Every name that ``--spec-engine`` knows here, sorted."""
    return tuple(sorted({*BUILT_IN, *registered()}))


def speculates(described: Mapping[str, Any]) -> bool:
    """Whether an engine with this description decodes with speculation at all."""
    return described.get(SPECULATION) != NO_SPECULATION


def shown_name(given: str, own: str) -> str:
    """What an engine is called in errors and reports.

    Args:
        given: As in ``--spec-engine``.
        own: What the engine calls itself. One that is made from another engine's code may carry the
            name of that, and would be taken for it.

    Example:
        >>> shown_name("my_engine:Mine", "mine")
        'mine'
        >>> shown_name("my_engine:Mine", "openai")
        'my_engine:Mine'
    """
    places = {**{name: entry.value for name, entry in registered().items()}, **BUILT_IN}
    return own if own not in places or given in (own, places[own]) else given
