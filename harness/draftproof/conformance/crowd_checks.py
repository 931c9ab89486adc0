"""Does an answer depend on who else is being served, and on how it is delivered?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from draftproof.config import Sampling
from draftproof.conformance.check_result import Finding, Tally, not_available
from draftproof.conformance.request_checks import is_kept, is_rounding, is_same, parting, said
from draftproof.conformance.subject import GREEDY, Subject
from draftproof.engines.protocol import BatchEngine, Capability, Engine, Generation, Request

_ALONE = 2
"""Prompts that are asked alone and in crowds."""
_TOKENS = 24
"""Length of their outputs, at most."""
_SHORT = 2
"""Tokens of the neighbours that leave early."""
_LONGER = 8
"""Tokens by which the neighbours that stay outlive the request."""
_WARMER = 0.7
_PENALTY = 1.5
_TOP_K = 3
_STREAMED = 3

Crowd = list[Request]
"""Neighbours of a request, which are asked at the same time."""


def alone_and_crowded(subject: Subject) -> Finding:
    """In a crowd, whoever the others are, a request has the answer and acceptance it has alone."""
    tally = subject.tally("tokens that were answered alone and in a crowd")
    if Capability.BATCHES not in subject.capabilities:
        return not_available(Capability.BATCHES)
    lines: tuple[str, ...] = ()
    for sampling in (GREEDY, subject.sampled):
        if not sampling.greedy and not _seeded(subject):
            lines = ("above temperature 0 not available: the engine has no seeds",)
            continue
        with subject.engine(sampling=sampling) as engine:
            if not isinstance(engine, BatchEngine):
                return not_available(Capability.BATCHES)
            for prompt in subject.prompts[:_ALONE]:
                tokens = min(_TOKENS, subject.config.max_new_tokens)
                asked = subject.request(prompt, sampling=sampling, max_new_tokens=tokens)
                alone = engine.speculate(asked)
                for kind, beside in _crowds(subject, engine, asked):
                    crowded = _in_the_middle(engine, asked, beside)
                    _compare(subject, tally, engine, asked, kind, alone, crowded)
    return tally.finding(*lines, untried="no token came back")


def _seeded(subject: Subject) -> bool:
    return {Capability.SEEDS, Capability.SAMPLING} <= subject.capabilities


def _in_the_middle(engine: Any, asked: Request, beside: Crowd) -> Generation:
    """The answer to a request that is asked with as many neighbours before it as after it."""
    middle = len(beside) // 2
    crowd = [*beside[:middle], asked, *beside[middle:]]
    answers: dict[int, Generation] = dict(engine.generate(crowd, most_rows=len(crowd)))
    return answers[middle]


def _compare(
    subject: Subject,
    tally: Tally,
    engine: Engine,
    asked: Request,
    kind: str,
    alone: Generation,
    crowded: Generation,
) -> None:
    name = f"{asked.request_id} at temperature {asked.sampling.temperature:g}, beside {kind}"
    tally.numerical += is_rounding(subject, engine, asked, alone, crowded)
    tally.require(
        is_same(subject, engine, asked, alone, crowded),
        f"{name}: its output is another one than alone: {parting(alone, crowded)}",
        places=len(alone.token_ids),
    )
    before, counts = alone.counts, crowded.counts
    if before is not None and counts is not None and alone.token_ids == crowded.token_ids:
        tally.require(
            is_kept(engine, before, counts),
            f"{name}: alone, {said(before)}, and in the crowd {said(counts)}: "
            "drafts depend on who else is served",
            places=0,
        )


def _crowds(subject: Subject, engine: Engine, asked: Request) -> Iterator[tuple[str, Crowd]]:
    """The crowds that a request is asked in, by what its neighbours are."""
    others = [
        subject.request(prompt, sampling=asked.sampling)
        for prompt in subject.prompts
        if prompt.prompt_id != asked.request_id
    ] or [_named(asked, "again")]
    yield "like ones", [_named(other, f"like {n}") for n, other in enumerate(others[:3])]
    yield "shorter and longer ones", _short_and_long(asked, others)
    yield "ones with the same beginning", _same_beginning(asked)
    unlike = _unlike(engine, asked)
    if unlike:
        yield "ones with other settings", unlike


def _named(request: Request, name: str, **changes: Any) -> Request:
    return replace(request, request_id=f"{request.request_id}/{name}", **changes)


def _limited(request: Request, name: str, tokens: int, **changes: Any) -> Request:
    stopping = replace(request.stopping, max_new_tokens=max(1, tokens), stop_strings=())
    return _named(request, name, stopping=stopping, **changes)


def _short_and_long(asked: Request, others: Sequence[Request]) -> Crowd:
    """Two neighbours that leave early, and two that outlive the request, with other prompts."""
    longer = asked.stopping.max_new_tokens + _LONGER
    long = max(others, key=lambda other: len(other.prompt_token_ids))
    start = asked.prompt_token_ids[: max(1, len(asked.prompt_token_ids) // 2)]
    return [
        _limited(others[0], "short", _SHORT),
        _limited(long, "long", longer),
        _limited(asked, "half, short", _SHORT + 1, prompt_token_ids=start),
        _limited(asked, "half, long", longer, prompt_token_ids=start),
    ]


def _same_beginning(asked: Request) -> Crowd:
    """Neighbours whose prompts part from the request's at the end, for caches of prefixes."""
    prompt = asked.prompt_token_ids
    most = asked.stopping.max_new_tokens
    return [
        _limited(asked, "cut", most, prompt_token_ids=prompt[:-1] or prompt),
        _limited(asked, "turned", most, prompt_token_ids=(*prompt[:-2], *reversed(prompt[-2:]))),
        _limited(asked, "doubled", most, prompt_token_ids=(*prompt, prompt[-1])),
    ]


def _unlike(engine: Engine, asked: Request) -> Crowd:
    """Neighbours whose temperature, filters or penalties are others than the request's."""
    sampling = asked.sampling
    settings: list[Sampling] = []
    if Capability.FILTERS in engine.capabilities:
        settings.append(replace(sampling, repetition_penalty=_PENALTY))
        if not sampling.greedy:
            settings.append(replace(sampling, top_k=_TOP_K))
    if Capability.RUN_SETTINGS not in engine.capabilities:
        # Such an engine is asked for any temperature, whatever the run's is.
        if sampling.greedy and Capability.SAMPLING in engine.capabilities:
            settings += [Sampling(temperature=_WARMER), Sampling(temperature=2 * _WARMER)]
        elif not sampling.greedy:
            settings.append(GREEDY)
    if not sampling.greedy:
        settings.append(replace(sampling, temperature=sampling.temperature + _WARMER))
    longer = asked.stopping.max_new_tokens + _LONGER
    return [
        _limited(asked, f"other settings {n}", longer, sampling=own)
        for n, own in enumerate(settings)
    ]


def streamed_and_whole(subject: Subject) -> Finding:
    """An answer that comes piece by piece is the one that comes whole: its ids, text and end."""
    tally = subject.tally("tokens that came piece by piece and whole")
    if Capability.STREAMS not in subject.capabilities:
        return not_available(Capability.STREAMS)
    given = [pair for pair in subject.config.engine_options if pair[0] != "stream"]
    several = 0
    with (
        subject.engine(engine_options=(*given, ("stream", "false"))) as whole_engine,
        subject.engine(engine_options=(*given, ("stream", "true"))) as engine,
    ):
        for asked in _streamed_requests(subject):
            whole, streamed = whole_engine.speculate(asked), engine.speculate(asked)
            several += sum(tokens > 1 for _, tokens in streamed.arrivals or ())
            tally.numerical += is_rounding(subject, engine, asked, whole, streamed)
            tally.require(
                is_same(subject, engine, asked, whole, streamed),
                f"{asked.request_id}: whole and then streamed: {parting(whole, streamed)}",
                places=len(whole.token_ids),
            )
            if whole.token_ids == streamed.token_ids:
                tally.require(
                    (whole.text, whole.stop_reason) == (streamed.text, streamed.stop_reason),
                    f"{asked.request_id}: the same ids, and whole the text {whole.text!r}, ended "
                    f"by {whole.stop_reason}, streamed {streamed.text!r}, ended by "
                    f"{streamed.stop_reason}",
                    places=0,
                )
    return tally.finding(
        f"pieces that brought several tokens at once: {several}", untried="no token came back"
    )


def _streamed_requests(subject: Subject) -> Iterator[Request]:
    """Some prompts, and each again with a stop string that lies across two tokens."""
    for prompt in subject.prompts[:_STREAMED]:
        asked = subject.request(prompt)
        yield asked
        if Capability.STOP_STRINGS in subject.capabilities:
            with subject.engine() as engine:
                output = engine.speculate(asked).token_ids
            text = subject.pair.decode(output[2:4])
            if len(text) > 1 and "\ufffd" not in text:
                yield replace(asked, stopping=replace(asked.stopping, stop_strings=(text,)))
