"""What is handed back of a case that was measured elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from draftproof.data.prompt import Prompt
from draftproof.errors import error_text
from draftproof.trace import CaseRecord, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A case, measured elsewhere.

    Attributes:
        record: Everything measured, or the error that the case ended in.
        models: The models and the engine, as reports describe them; empty where none was loaded.
        prompt_tokens: The digest of the prompt's token ids; may be empty.
        failure: Why the case ended in an error, for its test; else empty.
        fatal: Why no case can be measured; else empty.
        since_loaded: Seconds since the models were loaded where it was measured; may be None.
        advice: What to do where the run rejects that tokens follow the target's law.
    """

    record: CaseRecord
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prompt_tokens: str = ""
    failure: str = ""
    fatal: str = ""
    since_loaded: float | None = None
    advice: str = ""


def error_record(prompt: Prompt, message: str) -> CaseRecord:
    """The record of a case that ended in an error."""
    return CaseRecord(
        case_id=prompt.prompt_id,
        domain=prompt.domain,
        prompt_tokens=0,
        verdict=Verdict.ERROR,
        message=message,
    )


def named_error(error: Exception) -> str:
    """An error as records keep it: its kind, and its text."""
    return f"{type(error).__name__}: {error_text(error)}"
