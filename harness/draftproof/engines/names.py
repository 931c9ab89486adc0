"""The engines that come with draftproof, by name: known without loading any of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

GROUP = "draftproof.engines"
"""Entry point group under which other packages register engines."""

BUILT_IN: Mapping[str, str] = {
    "reference": "draftproof.engines.reference:ReferenceEngine",
    "llama-cpp": "draftproof.engines.llama_cpp:LlamaCppEngine",
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
