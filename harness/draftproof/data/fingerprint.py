"""One hash that says whether two runs were given the same prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from draftproof.data.prompt import Prompt


def prompts_fingerprint(prompts: Iterable[Prompt]) -> str:
    """The SHA-256 of a set of prompts, in hexadecimal.

    It covers ids, earlier turns, texts and answers, and says so if one character differs: an id
    alone does not show that a data set was edited or another revision of it was loaded. The order
    of the prompts does not matter, how often each occurs does.

    Args:
        prompts: The prompts of a run, in any order.

    Returns:
        64 hexadecimal digits, the same on every machine and Python version.

    Example:
        >>> one = Prompt(prompt_id="a/0", domain="math", text="1 + 1?", answer="2")
        >>> two = Prompt(prompt_id="a/1", domain="math", text="1 + 2?", answer="3")
        >>> prompts_fingerprint([one, two]) == prompts_fingerprint([two, one])
        True
    """
    digests = sorted(_digest(prompt) for prompt in prompts)
    return hashlib.sha256(b"".join(digests)).hexdigest()


def prompt_digest(prompt: Prompt) -> str:
    """16 hexadecimal digits that two prompts share exactly when id, text and answer are the same.

    Example:
        >>> prompt_digest(Prompt(prompt_id="a/0", domain="math", text="1 + 1?", answer="2"))
        '7bd472d070e4da0f'
    """
    return _digest(prompt).hex()[:16]


def token_digest(token_ids: Sequence[int]) -> str:
    """16 hexadecimal digits that two prompts share exactly when they are the same token ids.

    Example:
        >>> token_digest([1, 2]) == token_digest((1, 2)) != token_digest([12])
        True
    """
    text = json.dumps(list(token_ids))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _digest(prompt: Prompt) -> bytes:
    # JSON keeps the fields apart, null apart from "null", and is ASCII for any text.
    fields: list[Any] = [prompt.prompt_id, *prompt.earlier, prompt.text, prompt.answer]
    # As it was when there were none.
    fields += [part for part in (prompt.messages, list(prompt.token_ids)) if part]
    return hashlib.sha256(json.dumps(fields, ensure_ascii=True).encode("ascii")).digest()
