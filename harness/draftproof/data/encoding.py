"""From a prompt to the token ids that an engine is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

from draftproof.data.prompt import Prompt
from draftproof.errors import DataError


class Encoder(Protocol):
    """What turns texts and messages into token ids: a pair of models."""

    @property
    def vocabulary_size(self) -> int:
        """How many ids the target knows, from 0."""
        ...

    def encode(self, text: str, earlier: Sequence[tuple[str, str]] = ()) -> tuple[int, ...]:
        """The ids of what a user says, after turns of a conversation."""
        ...

    def encode_messages(self, messages: Sequence[dict[str, Any]]) -> tuple[int, ...]:
        """The ids of messages, up to where the answer to them begins."""
        ...


def prompt_ids(
    encoder: Encoder, prompt: Prompt, answered: Sequence[tuple[str, str]] = ()
) -> tuple[int, ...]:
    """The token ids of a prompt: its own, or those of its messages or its text.

    Args:
        encoder: The pair of models.
        prompt: The prompt.
        answered: The turns before it, each with its answer.

    Raises:
        DataError: An id of its own is none of the target's.
        ModelError: As `ModelPair.encode`.
    """
    if prompt.token_ids:
        size = encoder.vocabulary_size
        for place, token in enumerate(prompt.token_ids):
            if not 0 <= token < size:
                raise DataError(
                    f"the prompt {prompt.prompt_id} has the token id {token} at position {place}; "
                    f"the target's vocabulary has {size:,} tokens, ids 0 to {size - 1}: give the "
                    "ids of the target's own tokenizer"
                )
        return prompt.token_ids
    if prompt.messages:
        return encoder.encode_messages(json.loads(prompt.messages))
    return encoder.encode(prompt.text, answered)


def prompt_messages(prompt: Prompt, answered: Sequence[tuple[str, str]] = ()) -> str:
    """The prompt as the messages of a chat, as JSON text; empty where it is token ids.

    Args:
        prompt: The prompt.
        answered: The turns before it, each with its answer.
    """
    if prompt.token_ids:
        return ""
    if prompt.messages:
        return prompt.messages
    said = [
        {"role": role, "content": content}
        for turn in answered
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]
    messages = [*said, {"role": "user", "content": prompt.text}]
    return json.dumps(messages, ensure_ascii=False, sort_keys=True)
