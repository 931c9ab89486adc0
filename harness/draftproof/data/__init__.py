"""Prompts for the domain suites: built in, from the hub, or from local files.

Importing this package costs nothing: the `datasets` library is imported by the first call
that reads real data, and neither torch nor transformers ever is.
"""

from __future__ import annotations

from draftproof.data.fingerprint import prompt_digest, prompts_fingerprint
from draftproof.data.load import OTHER, PromptSource, load_prompts, load_records
from draftproof.data.prompt import DOMAINS, Prompt
from draftproof.data.record import Record

__all__ = [
    "DOMAINS",
    "OTHER",
    "Prompt",
    "PromptSource",
    "Record",
    "load_prompts",
    "load_records",
    "prompt_digest",
    "prompts_fingerprint",
]
