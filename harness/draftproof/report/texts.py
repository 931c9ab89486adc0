"""``texts.json``: the text of tokens and, where it may be kept, of prompts. For the page only.

No figure needs it: a report without it says the same, and shows token ids in place of text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from draftproof.errors import TraceError
from draftproof.files import write_text
from draftproof.trace import CaseRecord

TEXTS_FILE = "texts.json"
TEXTS_VERSION = 1
"""Raised whenever a key of ``texts.json`` changes its name, its type or its meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What a report can show as text.

    Attributes:
        tokens: The text of each token id that occurs in an output or a draft.
        prompts: The text of prompts, by case id; only of those that may be kept.
    """

    tokens: Mapping[int, str] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)


def texts_of(cases: Sequence[CaseRecord]) -> Texts:
    """The texts that records carry, each once."""
    tokens: dict[int, str] = {}
    for case in cases:
        tokens.update(case.token_texts)
    return Texts(
        tokens=dict(sorted(tokens.items())),
        prompts={case.case_id: case.prompt_text for case in cases if case.prompt_text},
    )


def write_texts(directory: Path, texts: Texts) -> None:
    """Writes ``texts.json``; where there is no text, none.

    Raises:
        DraftproofError: It cannot be written.
    """
    if texts.tokens or texts.prompts:
        document = {
            "schema_version": TEXTS_VERSION,
            "tokens": {str(token): text for token, text in texts.tokens.items()},
            "prompts": dict(texts.prompts),
        }
        text = json.dumps(document, ensure_ascii=False, indent=0)
        # Half of a surrogate pair, which a token can be, has no UTF-8.
        write_text(directory / TEXTS_FILE, text.encode("utf-8", "replace").decode("utf-8") + "\n")


def read_texts(directory: Path) -> Texts:
    """The texts of a saved run; none where it kept none.

    Raises:
        TraceError: The file is corrupt or of a newer version.
    """
    path = directory / TEXTS_FILE
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Texts()
    except (OSError, ValueError) as error:
        raise _unusable(path, str(error)) from error
    try:
        if document["schema_version"] > TEXTS_VERSION:
            raise _unusable(path, f"schema version {document['schema_version']} is newer")
        return Texts(
            tokens={int(token): str(text) for token, text in document["tokens"].items()},
            prompts={str(case): str(text) for case, text in document["prompts"].items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unusable(path, repr(error)) from error


def _unusable(path: Path, why: str) -> TraceError:
    return TraceError(
        f"{path} cannot be used ({why}); restore it, or remove it to show token ids in its place"
    )
