"""Is the output the target's own: over prompts, and at every edge of a block?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from draftproof.config import Sampling
from draftproof.conformance.subject import (
    GREEDY,
    Finding,
    Status,
    Subject,
    not_available,
)
from draftproof.engines.protocol import Capability, Request
from draftproof.errors import DraftproofError

EDGES = 10
"""Offsets at which an output is made to end: more than one block of the usual drafts."""

PENALTIES = (1.3, 2.0)
"""A usual one, and one so strong that hardly a token comes twice: then any that was not counted
comes back."""


def greedy_output(subject: Subject) -> Finding:
    """Every token of every prompt's output is the target's own choice after its own prefix."""
    tally = subject.tally()
    tokens = 0
    with subject.engine() as engine:
        for prompt in subject.prompts:
            judged = subject.judged(engine, subject.request(prompt))
            tally.add(prompt.prompt_id, judged)
            tokens += len(judged.generation.token_ids)
    return tally.finding(tokens=tokens)


def stop_token(subject: Subject) -> Finding:
    """An output ends with a stop token, wherever in a block it stands."""

    def requests(own: tuple[int, ...]) -> Iterator[tuple[str, Request]]:
        for index, token in enumerate(own[:EDGES]):
            if own.index(token) == index:
                stops = frozenset({token})
                yield f"stop token {index}", subject.request(prompt, stop_token_ids=stops)

    prompt = subject.prompts[0]
    return _ends(subject, requests)


def stop_string(subject: Subject) -> Finding:
    """An output ends with the token that completes a stop string, wherever in a block it stands."""

    def requests(own: tuple[int, ...]) -> Iterator[tuple[str, Request]]:
        for index in range(1, min(EDGES, len(own))):
            text = subject.pair.decode(own[index - 1 : index + 1])
            if text.strip():
                asked = subject.request(prompt, stop_strings=(text,))
                yield f"stop string {text!r}", asked

    prompt = subject.prompts[0]
    return _ends(subject, requests, Capability.STOP_STRINGS)


def length_limit(subject: Subject) -> Finding:
    """An output has exactly as many tokens as asked for, also where a block would go on."""

    def requests(own: tuple[int, ...]) -> Iterator[tuple[str, Request]]:
        for limit in range(1, min(EDGES, len(own)) + 1):
            yield f"length limit {limit}", subject.request(prompt, max_new_tokens=limit)

    prompt = subject.prompts[0]
    return _ends(subject, requests)


def least_length(subject: Subject) -> Finding:
    """A stop token is impossible before an output has `min_new_tokens`, also inside a block."""

    def requests(own: tuple[int, ...]) -> Iterator[tuple[str, Request]]:
        for index, token in enumerate(own[:EDGES]):
            for least in (index + 1, index + 2):
                yield (
                    f"stop token {index}, at least {least} tokens",
                    subject.request(
                        prompt,
                        sampling=Sampling(min_new_tokens=least),
                        stop_token_ids=frozenset({token}),
                        max_new_tokens=min(subject.config.max_new_tokens, index + 8),
                    ),
                )

    prompt = subject.prompts[0]
    return _ends(subject, requests, Capability.MIN_NEW_TOKENS)


def repetition_penalty(subject: Subject) -> Finding:
    """The penalty of a token counts from the token after it on, also inside a block."""
    tally = subject.tally()
    for penalty in PENALTIES:
        sampling = Sampling(repetition_penalty=penalty)
        with subject.engine(sampling=sampling) as engine:
            if Capability.FILTERS not in engine.capabilities:
                return not_available(Capability.FILTERS)
            for prompt in subject.prompts:
                asked = subject.request(prompt, sampling=sampling)
                judged = subject.judged(engine, asked)
                tally.add(f"{prompt.prompt_id}, penalty {penalty:g}", judged)
    return tally.finding()


def prompt_lengths(subject: Subject) -> Finding:
    """A prompt of one token and one that fills the context are answered, an empty one is not."""
    tally = subject.tally()
    whole = subject.pair.encode(subject.prompts[0].text)
    room = 4
    longest = min(subject.pair.target.max_length, _LONGEST) - room
    full = (whole * (1 + longest // len(whole)))[:longest]
    with subject.engine() as engine:
        for name, token_ids in (("one token", whole[:1]), ("a full context", full)):
            asked = subject.request(token_ids, max_new_tokens=room)
            try:
                judged = subject.judged(engine, asked)
            except DraftproofError as error:
                tally.require(False, f"{name}: refused: {error}")
            else:
                tally.add(name, judged)
        try:
            answer = engine.speculate(subject.request((), max_new_tokens=room))
        except DraftproofError:
            tally.require(True, "")
        else:
            tally.require(
                False,
                f"an empty prompt was answered with {len(answer.token_ids)} tokens, not refused",
            )
    return tally.finding()


_LONGEST = 2048
"""A longer context is not filled: it would take minutes on a processor."""


Requests = Callable[[tuple[int, ...]], Iterator[tuple[str, Request]]]
"""From the target's own output to named requests that end at its places."""


def _ends(subject: Subject, requests: Requests, capability: Capability | None = None) -> Finding:
    """Judge the answers to requests that end at places of the first prompt's own output."""
    tally = subject.tally()
    prompt = subject.prompts[0]
    own = subject.own_output(subject.request(prompt, sampling=GREEDY))
    with subject.engine() as engine:
        if capability is not None and capability not in engine.capabilities:
            return not_available(capability)
        for name, asked in requests(own):
            tally.add(name, subject.judged(engine, asked))
    if not tally.n:
        return Finding(
            status=Status.NOT_AVAILABLE,
            lines=("the first prompt's output has no place to end at; give other prompts",),
        )
    return tally.finding()
