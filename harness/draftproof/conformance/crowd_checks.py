"""Does an answer depend on who else is being served, and on how it is delivered?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from draftproof.config import Sampling
from draftproof.conformance.check_result import Finding, Tally, not_available
from draftproof.conformance.crowd_law import CrowdLaw
from draftproof.conformance.request_checks import (
    is_rounding,
    is_same,
    parting,
    require_same_answer,
)
from draftproof.conformance.subject import GREEDY, Subject
from draftproof.engines.protocol import (
    BatchEngine,
    CancellingEngine,
    Capability,
    Engine,
    Generation,
    Request,
)
from draftproof.errors import DraftproofError

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
_STOP_TOKENS = 4
"""Tokens that a stop string lies across: pieces of fewer tokens do not hold it."""
_CANCELLED = "like ones, of which some are cancelled"
_GIVEN_UP = 2
"""Neighbours that are cancelled one after the other while a crowd is served."""
_ROUNDS = 2
"""How often the crowds are asked where outputs have no seed, and are judged by their law."""

Crowd = list[Request]
"""Neighbours of a request, which are asked at the same time."""


def alone_and_crowded(subject: Subject) -> Finding:
    """In a crowd, whoever the others are, a request has the answer and acceptance it has alone."""
    tally = subject.tally("tokens that were answered alone and in a crowd")
    if Capability.BATCHES not in subject.capabilities:
        return not_available(Capability.BATCHES)
    lines: list[str] = []
    for sampling in (GREEDY, subject.sampled):
        with subject.engine(sampling=sampling) as engine:
            if not isinstance(engine, BatchEngine):
                return not_available(Capability.BATCHES)
            if not sampling.greedy and Capability.SAMPLING not in engine.capabilities:
                lines.append("above temperature 0 not available: the engine cannot sample")
            elif not sampling.greedy and Capability.SEEDS not in engine.capabilities:
                lines += _laws(subject, tally, engine)
            else:
                for asked in _asked(subject, sampling):
                    alone = engine.speculate(asked)
                    for kind, beside in _crowds(subject, engine, asked):
                        crowd, answers = _together(tally, engine, asked, kind, beside)
                        crowded = answers[crowd.index(asked)]
                        require_same_answer(
                            subject, tally, engine, asked, alone, crowded,
                            when=("alone", "in the crowd"),
                            meaning="drafts depend on who else is served",
                            where=f", beside {kind}",
                        )  # fmt: skip
            if not _cancels(engine) and sampling.greedy:
                lines.append("beside cancelled requests not available: it cannot give one up")
    return tally.finding(*lines, untried="no token came back")


def _asked(subject: Subject, sampling: Sampling, more: int = 0) -> Iterator[Request]:
    for prompt in subject.prompts[:_ALONE]:
        tokens = min(_TOKENS, subject.config.max_new_tokens)
        seed = subject.config.seed + more
        yield subject.request(prompt, sampling=sampling, max_new_tokens=tokens, seed=seed)


def _laws(subject: Subject, tally: Tally, engine: Engine) -> list[str]:
    """Judge what is drawn in crowds by its law, of an engine that draws anew each time."""
    law = CrowdLaw(subject, engine)
    for more in range(_ROUNDS):
        for asked in _asked(subject, subject.sampled, more):
            law.add_alone(asked, engine.speculate(asked))
            for kind, beside in _crowds(subject, engine, asked):
                crowd, answers = _together(tally, engine, asked, kind, beside)
                for index, generation in sorted(answers.items()):
                    law.add(crowd[index], generation, kind)
    tally.require(not law.problem, law.problem, places=law.tokens)
    return law.lines


def _together(
    tally: Tally, engine: Any, asked: Request, kind: str, beside: Crowd
) -> tuple[Crowd, dict[int, Generation]]:
    """A crowd with the request in its middle, and its answers; some beside it may be cancelled."""
    middle = len(beside) // 2
    crowd = [*beside[:middle], asked, *beside[middle:]]
    if kind != _CANCELLED:
        return crowd, dict(engine.generate(crowd, most_rows=len(crowd)))
    leaving = _limited(asked, "cancelled", asked.stopping.max_new_tokens + _LONGER)
    with ThreadPoolExecutor(1, thread_name_prefix="leaving") as pool:
        gone = [
            pool.submit(engine.cancel, _named(leaving, f"{number}")) for number in range(_GIVEN_UP)
        ]
        answers = dict(engine.generate(crowd, most_rows=len(crowd)))
    for future in gone:
        error = future.exception()
        if error is not None and not isinstance(error, DraftproofError):
            raise error
        tally.require(error is None, f"{asked.request_id}, to be cancelled: {error}", places=0)
    return crowd, answers


def _crowds(subject: Subject, engine: Engine, asked: Request) -> Iterator[tuple[str, Crowd]]:
    """The crowds that a request is asked in, by what its neighbours are."""
    others = [
        subject.request(prompt, sampling=asked.sampling)
        for prompt in subject.prompts
        if prompt.prompt_id != asked.request_id
    ] or [_named(asked, "again")]
    like = [_named(other, f"like {n}") for n, other in enumerate(others[:3])]
    yield "like ones", like
    if _cancels(engine):
        yield _CANCELLED, like
    yield "shorter and longer ones", _short_and_long(asked, others)
    yield "ones with the same beginning", _same_beginning(asked)
    unlike = _unlike(engine, asked)
    if unlike:
        yield "ones with other settings", unlike


def _cancels(engine: Engine) -> bool:
    return Capability.CANCELS in engine.capabilities and isinstance(engine, CancellingEngine)


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
    """Some prompts, and each again with a stop string that lies across tokens and pieces."""
    for prompt in subject.prompts[:_STREAMED]:
        asked = subject.request(prompt)
        yield asked
        if Capability.STOP_STRINGS in subject.capabilities:
            with subject.engine() as engine:
                output = engine.speculate(asked).token_ids
            text = subject.pair.decode(output[2 : 2 + _STOP_TOKENS])
            if len(text) > 1 and "\ufffd" not in text:
                yield replace(asked, stopping=replace(asked.stopping, stop_strings=(text,)))
