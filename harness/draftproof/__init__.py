"""draftproof: the test harness for speculative decoding.

Importing this package costs next to nothing: names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from draftproof.config import RunConfig, Sampling
    from draftproof.data.prompt import Prompt
    from draftproof.decoding import plain_decode, speculate
    from draftproof.engines.measuring import Bench
    from draftproof.engines.reference import ReferenceEngine
    from draftproof.errors import DraftproofError
    from draftproof.models.loading import load_pair
    from draftproof.trace import CaseRecord, Verdict
    from draftproof.tree import DraftTree

_HOMES = {
    "Bench": "draftproof.engines.measuring",
    "CaseRecord": "draftproof.trace",
    "DraftTree": "draftproof.tree",
    "DraftproofError": "draftproof.errors",
    "Prompt": "draftproof.data.prompt",
    "ReferenceEngine": "draftproof.engines.reference",
    "RunConfig": "draftproof.config",
    "Sampling": "draftproof.config",
    "Verdict": "draftproof.trace",
    "load_pair": "draftproof.models.loading",
    "plain_decode": "draftproof.decoding",
    "speculate": "draftproof.decoding",
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
        raise AttributeError(f"module 'draftproof' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
