"""The anytime-valid test: do emitted tokens follow the target's law?"""

from __future__ import annotations

from draftproof.lossless.evidence.decision import Pointer, Reading, log_e_value
from draftproof.lossless.evidence.observation import DeclaredRule, Observation, Site, Stream
from draftproof.lossless.evidence.process import Evidence, EvidenceMeter

__all__ = [
    "DeclaredRule",
    "Evidence",
    "EvidenceMeter",
    "Observation",
    "Pointer",
    "Reading",
    "Site",
    "Stream",
    "log_e_value",
]
