"""What an engine is: it turns a prompt into tokens and, where it can, tells how it came to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from draftproof.config import Sampling
from draftproof.errors import EngineError
from draftproof.stopping import Stopping, StopReason
from draftproof.trace import Arrivals, Columns, ServerSeconds
from draftproof.trace import Counts as Counts


class Capability(StrEnum):
    """What an engine can do or tell beyond decoding greedily; what it cannot is never made up."""

    PLAIN = "plain decoding"
    """It can decode without speculation, with the same kernels and settings."""
    SAMPLING = "sampling"
    """It can decode at a temperature above 0."""
    FILTERS = "filters"
    """It applies top-k, top-p, min-p and the repetition penalty as `TokenLaw` does."""
    MIN_NEW_TOKENS = "min_new_tokens"
    """It holds stop tokens back until an output has so many tokens."""
    STOP_TOKENS = "stop tokens"
    """It ends an output with any stop token that a request names, or with none, not only with its
    model's own."""
    STOP_STRINGS = "stop strings"
    """It ends an output with the token that completes a text."""
    TOKEN_PROMPTS = "prompts as token ids"
    """It takes a prompt's token ids, so that any sequence of them can be a prompt."""
    SEEDS = "seeds"
    """At a temperature above 0, the same request gives the same output, and a request with another
    seed or another id is drawn anew: see `Request.folded_seed`."""
    RUN_SETTINGS = "the run's settings"
    """It is made of `RunConfig.tree`, `rule`, `sampling` and `check_state`, and is made anew where
    they differ. Others are made once, and serve whatever a request asks for."""
    DRAFT_LENGTH = "a draft length"
    """It has a setting of its own, ``draft_length``: tokens in a draft."""
    PAIR_TARGET = "the pair's target"
    """It computes with the target of the pair that it was given, with that model's own kernels."""
    PAIR_DRAFT = "the pair's draft model"
    """It drafts with the draft model of the pair that it was given."""
    ACCEPTED = "accepted tokens"
    """It tells which emitted tokens were accepted drafts: `Generation.accepted`."""
    COUNTS = "acceptance counts"
    """It tells how much was drafted and accepted: `Generation.counts`."""
    STEPS = "steps"
    """It tells every step: `Generation.steps`."""
    NODES = "nodes"
    """It tells every node of every draft: `Generation.nodes`."""
    LOG_PROBABILITIES = "log-probabilities"
    """At temperature 0 it tells each token's: `Generation.log_probabilities`."""
    BATCHES = "batches"
    """It decodes many requests at once: `BatchEngine.generate`."""
    STREAMS = "streams"
    """It has a setting of its own, ``stream``: whether answers are asked for piece by piece."""
    EXTRAS = "extras of a request"
    """It adds to a request what `Request.extras` says, such as a grammar or a bias, and nothing
    where that is empty: `ConstrainableEngine`."""
    CANCELS = "cancelled requests"
    """It can be asked for an output that is then given up: `CancellingEngine.cancel`."""
    STATE_CHECKS = "state checks"
    """It compares its cached state with a recompute where `RunConfig.check_state` asks for it."""


TELLING = (Capability.ACCEPTED, Capability.COUNTS, Capability.STEPS, Capability.NODES)
"""What an engine tells of how it came to its tokens; reports say what is missing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt to decode.

    Attributes:
        request_id: Names it; with `seed`, decides every draw of an engine that has seeds. Two
            requests of one run must not share their draws, or what the second emits follows from
            the first, and no evidence on the law of outputs may be added up over them.
        prompt_token_ids: ``[≥ 1]``, chat template included.
        sampling: Temperature, filters and penalties.
        stopping: Where the output ends.
        seed: Seeds every draw.
        messages: What the prompt says as JSON text, a list of messages such as chat endpoints take,
            of which the chat template makes the same token ids. Empty where it is no chat.
        extras: What is asked for beyond all this, as JSON text of an object that is added to the
            request's body; empty for nothing, None for what the engine's own settings add. For
            engines with `Capability.EXTRAS`.
    """

    request_id: str
    prompt_token_ids: tuple[int, ...]
    sampling: Sampling
    stopping: Stopping
    seed: int = 0
    messages: str = ""
    extras: str | None = None

    def folded_seed(self, size: int = 4) -> int:
        """The seed and the id as one number, for whatever takes a number alone, such as a server.

        Args:
            size: Its bytes; the number has one bit less, and is not negative.
        """
        name = f"{self.seed}\0{self.request_id}".encode()
        return int.from_bytes(hashlib.sha256(name).digest()[:size], "little") >> 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What an engine made of a request. What it cannot tell is None: not available.

    Attributes:
        token_ids: The committed tokens after the prompt, a stop token included.
        stop_reason: ``stop_token``, ``stop_string`` or ``length``.
        seconds: Wall time from the prompt to the last token: prefill included, and what only
            watches (recording, state checks, logs, reading counters) left out. Both ways of
            decoding must be timed over this same span, or their ratio is no speedup.
        watching_seconds: Wall time of the call that was spent on what only watches. Of an engine
            that does not come with draftproof, at most a tenth of the call is believed.
        accepted: ``[tokens]`` whether each token was a draft that was kept.
        counts: The engine's own counters.
        steps: `STEP_COLUMNS`, each ``[steps]``.
        nodes: `NODE_COLUMNS`, each ``[nodes]``.
        draws: Number of random draws by purpose.
        text: The output as the engine itself decodes it, a stop token at its end left out or not.
        log_probabilities: ``[tokens]`` the logarithm of each token's probability after the tokens
            before it, in nats, of the unscaled softmax of the target's logits; NaN where the engine
            does not tell it.
        arrivals: When tokens arrived, where the answer came piece by piece: of each piece that
            brought any, the seconds since the request was sent and how many tokens it brought.
        server_seconds: By a server's own clock, the seconds up to the first token and up to the
            last; NaN for one that it does not tell.
    """

    token_ids: tuple[int, ...]
    stop_reason: str
    seconds: float
    accepted: tuple[bool, ...] | None = None
    counts: Counts | None = None
    steps: Columns | None = None
    nodes: Columns | None = None
    draws: Mapping[str, int] = field(default_factory=dict)
    text: str | None = None
    log_probabilities: tuple[float, ...] | None = None
    watching_seconds: float = 0.0
    arrivals: Arrivals | None = None
    server_seconds: ServerSeconds | None = None


@runtime_checkable
class Engine(Protocol):
    """A way of decoding, with and without speculation.

    Third parties register theirs under the entry point group ``draftproof.engines``: a callable
    that takes the run's settings and the judge's pair of models and returns an engine.

    Attributes:
        name: As in ``--spec-engine``.
        capabilities: What it can do and tell.

    Example:
        In the ``pyproject.toml`` of a package of your own::

            [project.entry-points."draftproof.engines"]
            mine = "my_package:make_engine"
    """

    name: str
    capabilities: frozenset[Capability]

    def speculate(self, request: Request) -> Generation:
        """Decode a request with speculation.

        Raises:
            DraftproofError: The request cannot be served; the case fails with this reason.
        """
        ...

    def plain(self, request: Request) -> Generation:
        """Decode a request without speculation; called only with `Capability.PLAIN`."""
        ...

    def describe(self) -> dict[str, Any]:
        """Name, version and settings of the engine, as plain JSON values, for reports."""
        ...

    def close(self) -> None:
        """Free what the engine holds; nothing is asked of it afterwards.

        Called once of each engine that was made: of a pytest run's when the run ends, of those that
        a verification makes for its checks when it is done with them.
        """
        ...


@runtime_checkable
class BatchEngine(Protocol):
    """An engine that decodes many requests at once; it has `Capability.BATCHES`.

    A request's answer, its law and its acceptance are those that it has alone. One that keeps
    `most_rows` requests in flight by itself, as a server's engine does, has an attribute
    ``rounds``: how many times as many requests it is handed in one call, so that each that ends
    makes room for the next. Its seconds are each request's own, from sending it to its last token.
    """

    def generate(
        self, requests: Iterable[Request], *, most_rows: int, plainly: bool = False
    ) -> Iterator[tuple[int, Generation]]:
        """Decode requests as rows of one batch, which is refilled as they end.

        Args:
            requests: Taken as rows become free.
            most_rows: Requests that are decoded at once.
            plainly: Without speculation.

        Yields:
            The index of a request and its answer, in the order in which they end. Its seconds are
            its share of those that the batch took: an equal part of every step that it had part in.

        Raises:
            DraftproofError: One of the requests at hand cannot be served; none of those that have
                not been answered will be.
        """
        ...


@runtime_checkable
class ConstrainableEngine(Protocol):
    """An engine that a request can ask for more than a judge knows; has `Capability.EXTRAS`."""

    def extras_to_try(self, token_ids: Sequence[int]) -> Mapping[str, str]:
        """Extras that any request may be given, so that it can be seen whether they are obeyed.

        Args:
            token_ids: Tokens that are common in its outputs, for biases against them.

        Returns:
            By name, what `Request.extras` is to be; empty where none is known.
        """
        ...


@runtime_checkable
class CancellingEngine(Protocol):
    """An engine whose outputs can be given up in the middle; it has `Capability.CANCELS`."""

    def cancel(self, request: Request) -> None:
        """Ask for an output and give it up once it has begun, as a user does who goes away.

        Called from another thread than the one in which the engine answers other requests.

        Raises:
            DraftproofError: It cannot be asked for, or ended with an error before it was given up.
        """
        ...


def check_generation(generation: Generation, request: Request, vocabulary_size: int) -> None:
    """Verify that an engine's answer is one that the request allows.

    The output must consist of the tokenizer's ids, say what the engine says that they say, and end
    where the request says that it ends: at the first stop token, at the token that completes a stop
    string, or at the length limit.

    Raises:
        EngineError: Says which token or which end is wrong.
    """
    token_ids, stopping = generation.token_ids, request.stopping
    for index, token in enumerate(token_ids):
        if not isinstance(token, int) or not 0 <= token < vocabulary_size:
            raise EngineError(
                f"token {index} of the output is {token!r}, and the tokenizer's ids are 0 to "
                f"{vocabulary_size - 1}; the engine must return ids of the target's tokenizer"
            )
    _require_same_text(generation, stopping)
    kept, reason = stopping.cut((), token_ids)
    if len(kept) < len(token_ids):
        raise EngineError(
            f"the output goes on for {len(token_ids) - len(kept)} tokens after it should have "
            f"ended ({reason}) with token {len(kept) - 1}"
        )
    if reason is None:
        raise EngineError(
            f"the output ends after {len(token_ids)} of {stopping.max_new_tokens} tokens without a "
            f"stop token or a stop string (the engine says: {generation.stop_reason})"
        )
    if str(reason) != generation.stop_reason:
        raise EngineError(
            f"the output ended for the reason {reason}, and the engine says "
            f"{generation.stop_reason}"
        )
    if generation.accepted is not None and len(generation.accepted) != len(token_ids):
        raise EngineError(
            f"the engine says of {len(generation.accepted)} tokens whether they were drafted, and "
            f"returned {len(token_ids)}"
        )
    told = generation.log_probabilities
    if told is not None and len(told) != len(token_ids):
        raise EngineError(
            f"the engine tells the log-probabilities of {len(told)} tokens, and returned "
            f"{len(token_ids)}"
        )


def _require_same_text(generation: Generation, stopping: Stopping) -> None:
    """Verify that the ids are those of the tokenizer that the judge uses."""
    if generation.text is None or stopping.decode is None:
        return
    said = generation.text.strip()
    ids = generation.token_ids
    shown = [stopping.decode(ids)]
    if ids and ids[-1] in stopping.stop_token_ids:
        shown.append(stopping.decode(ids[:-1]))
    # A character that is cut by the end of the output is decoded in many ways.
    same = any(text.strip().rstrip("\ufffd") == said.rstrip("\ufffd") for text in shown)
    if generation.stop_reason == StopReason.STOP_STRING:
        # A server may end its text in the middle of the last token, with the stop string or before.
        same = same or (bool(ids) and _ends_within_last_token(said, ids, stopping.decode))
    if not same:
        raise EngineError(
            f"the engine decodes its own output as {said[:60]!r}, and the target's tokenizer the "
            f"same ids as {shown[-1].strip()[:60]!r}: they are ids of another tokenizer, or "
            "not all of the output's"
        )


def _ends_within_last_token(
    said: str, ids: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> bool:
    """Whether a text is that of the ids up to some character of the last one."""
    whole, before = decode(ids).strip(), decode(ids[:-1]).strip()
    return whole.startswith(said) and len(said) >= len(before)
