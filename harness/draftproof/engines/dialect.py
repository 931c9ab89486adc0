"""What a kind of server is: how it is asked, and what is read from its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from draftproof.engines.pieces import Piece, vllm_brought
from draftproof.engines.protocol import Capability, Request
from draftproof.trace import Counts, ServerSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said of one output.

    Attributes:
        token_ids: The ids, or None where it gave texts alone.
        token_texts: The text of each token, or None.
        text: The output's text.
        prompt_token_ids: The ids that it takes the prompt for, or None.
        prompt_tokens: How many, or None.
        output_tokens: How many tokens it counts in the output, or None.
        finish: ``stop`` or ``length``, as it says.
        stopped_by: The stop token's id or the stop string, or None.
        counts: What it counted of speculation, or None.
        log_probabilities: Of the tokens, or None.
        server_seconds: What its own clock says, or None.
    """

    token_ids: tuple[int, ...] | None
    token_texts: tuple[str, ...] | None = None
    text: str | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    finish: str = ""
    stopped_by: int | str | None = None
    counts: Counts | None = None
    log_probabilities: tuple[float, ...] | None = None
    server_seconds: ServerSeconds | None = None


def nothing_to_try(token_ids: Sequence[int]) -> Mapping[str, Mapping[str, Any]]:
    """The extras of a server of which none are known."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A kind of server.

    Attributes:
        path: Where it is asked.
        capabilities: What it can do.
        ask: The body of a request, from the request, its prompt as text and the model's name.
        read: From the body of an answer.
        takes_text: Whether prompts are sent as text.
        in_pieces: What is added to the body for an answer that comes piece by piece.
        joined: From the pieces of such an answer to what it would have been whole; None where this
            project does not read such answers of this server.
        brought: From the pieces of such an answer to the tokens that each brought.
        chat_path: Where chat completions are asked for; empty where they tell no token ids.
        in_chat: What is added to the body of a chat completion.
        renders: Whether it renders chat templates without decoding, as llama.cpp's server does.
        tells_text_alone: Whether its answers hold no ids, and no texts of single tokens.
        extras_to_try: From tokens that are common in its outputs to what may be added to a body so
            that they become rarer, by name.
    """

    path: str
    capabilities: frozenset[Capability]
    ask: Callable[[Request, str, str], dict[str, Any]]
    read: Callable[[Mapping[str, Any]], Answer]
    takes_text: bool = False
    in_pieces: Mapping[str, Any] = field(default_factory=lambda: {"stream": True})
    joined: Callable[[Sequence[Piece]], Mapping[str, Any]] | None = None
    brought: Callable[[Sequence[Piece]], list[int]] = vllm_brought
    chat_path: str = ""
    in_chat: Mapping[str, Any] = field(default_factory=dict)
    renders: bool = False
    tells_text_alone: bool = False
    extras_to_try: Callable[[Sequence[int]], Mapping[str, Mapping[str, Any]]] = nothing_to_try
