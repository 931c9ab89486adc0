"""draftproof: the test harness for speculative decoding.

Importing this package costs next to nothing: names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.config import RunConfig, Sampling
    from harness.data.prompt import Prompt
    from harness.decoding import plain_decode, speculate
    from harness.engines.measuring import Bench
    from harness.engines.reference import ReferenceEngine
    from harness.errors import DraftproofError
    from harness.models.loading import load_pair
    from harness.trace import CaseRecord, Verdict
    from harness.tree import DraftTree

_HOMES = {
    "Bench": "harness.engines.measuring",
    "CaseRecord": "harness.trace",
    "DraftTree": "harness.tree",
    "DraftproofError": "harness.errors",
    "Prompt": "harness.data.prompt",
    "ReferenceEngine": "harness.engines.reference",
    "RunConfig": "harness.config",
    "Sampling": "harness.config",
    "Verdict": "harness.trace",
    "load_pair": "harness.models.loading",
    "plain_decode": "harness.decoding",
    "speculate": "harness.decoding",
}

__all__ = [
    "Bench",
    "CaseRecord",
    "DraftTree",
    "DraftproofError",
    "Prompt",
    "ReferenceEngine",
    "RunConfig",
    "Sampling",
    "Verdict",
    "load_pair",
    "plain_decode",
    "speculate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
