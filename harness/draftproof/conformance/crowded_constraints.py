"""Does a request keep its own settings in a crowd, and do its neighbours keep theirs?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from draftproof.config import Sampling
from draftproof.conformance.check_result import Finding, Tally, not_available
from draftproof.conformance.constraint_checks import LawPairs, extras_tried, refused
from draftproof.conformance.crowd_law import CrowdLaw
from draftproof.conformance.request_checks import require_same_answer
from draftproof.conformance.subject import GREEDY, Subject
from draftproof.engines.certifying import judged_by_plain
from draftproof.engines.protocol import (
    BatchEngine,
    Capability,
    ConstrainableEngine,
    Engine,
    Generation,
    Request,
)

_PROMPTS = 2
"""Prompts of a crowd: each is there with the setting and without it."""
_TOKENS = 24
"""Length of their outputs, at most."""
_STOP = 2
"""Index of the token that stops are made of."""
_HELD = 4
"""Tokens for which it is held back beyond its place."""
_ROUNDS = 3
"""How often a crowd is asked whose outputs have no seed."""
_BESIDE = 4
"""Requests with the setting in a crowd whose outputs have no seed, and as many without it."""
_PENALTY = 3.0
_TOP_K = 1

Constrain = Callable[[Request, Generation], Request]
"""From a request and its usual answer to the request with a setting of its own."""


def crowded_constraints(subject: Subject) -> Finding:
    """In a crowd, a request keeps the settings that it alone has, and no neighbour gets them."""
    tally = subject.tally("tokens of answers that a setting of their own had changed")
    capabilities = subject.capabilities
    if Capability.BATCHES not in capabilities:
        return not_available(Capability.BATCHES)
    lines: list[str] = []
    for sampling in (GREEDY, subject.sampled):
        if not sampling.greedy and Capability.SAMPLING not in capabilities:
            lines.append("above temperature 0 not available: the engine cannot sample")
            continue
        with subject.engine(sampling=sampling) as engine:
            if not isinstance(engine, BatchEngine):
                return not_available(Capability.BATCHES)
            is_same = sampling.greedy or Capability.SEEDS in engine.capabilities
            usual = [(asked, engine.speculate(asked)) for asked in _requests(subject, sampling)]
            outputs = [answer.token_ids for _, answer in usual]
            for name, constrain in _constraints(subject, engine, sampling, outputs).items():
                where = f"{name} at temperature {sampling.temperature:g}"
                first = constrain(*usual[0])
                if first.extras and (refusal := refused(engine.speculate, first)):
                    lines.append(f"{where} not available: {refusal}")
                elif is_same:
                    lines += _require_as_alone(subject, tally, engine, usual, constrain, name)
                else:
                    lines += _require_law(subject, tally, engine, constrain, where)
    return tally.finding(*lines, untried="no setting changed an answer")


def _requests(subject: Subject, sampling: Sampling, again: int = 0) -> list[Request]:
    """Requests without any setting of their own, and without the extras of the settings."""
    bare = "" if Capability.EXTRAS in subject.capabilities else None
    return [
        subject.request(
            prompt,
            sampling=sampling,
            max_new_tokens=min(_TOKENS, subject.config.max_new_tokens),
            seed=subject.config.seed + again,
            extras=bare,
        )
        for prompt in subject.prompts[:_PROMPTS]
    ]


def _constraints(
    subject: Subject, engine: Engine, sampling: Sampling, outputs: Sequence[Sequence[int]]
) -> dict[str, Constrain]:
    """What a request may ask for that its neighbours do not, as far as the engine knows it."""
    capabilities = engine.capabilities
    found: dict[str, Constrain] = {}
    if Capability.FILTERS in capabilities:
        found["a repetition penalty"] = partial(_sampled, repetition_penalty=_PENALTY)
        if not sampling.greedy:
            found["top-k"] = partial(_sampled, top_k=_TOP_K)
    if Capability.STOP_TOKENS in capabilities:
        found["a stop token"] = _stopped
        if Capability.MIN_NEW_TOKENS in capabilities:
            found["min_new_tokens"] = _held_back
    if Capability.EXTRAS in capabilities and isinstance(engine, ConstrainableEngine):
        for name, extras in extras_tried(engine, outputs).items():
            found[name] = partial(_with_extras, extras)
    return found


def _sampled(asked: Request, usual: Generation, **changes: Any) -> Request:
    return replace(asked, sampling=replace(asked.sampling, **changes))


def _stopped(asked: Request, usual: Generation) -> Request:
    stop = usual.token_ids[min(_STOP, len(usual.token_ids) - 1)]
    return replace(asked, stopping=replace(asked.stopping, stop_token_ids=frozenset({stop})))


def _held_back(asked: Request, usual: Generation) -> Request:
    return _sampled(_stopped(asked, usual), usual, min_new_tokens=_STOP + _HELD)


def _with_extras(extras: str | None, asked: Request, usual: Generation) -> Request:
    return replace(asked, extras=extras)


def _require_as_alone(
    subject: Subject,
    tally: Tally,
    engine: Any,
    usual: Sequence[tuple[Request, Generation]],
    constrain: Constrain,
    name: str,
) -> list[str]:
    """The answers of a crowd are those that its requests have alone."""
    alone, changed = [], 0
    for asked, answer in usual:
        # The same request otherwise, and so the same draws: what differs is the setting's doing.
        constrained = constrain(asked, answer)
        own = engine.speculate(constrained)
        changed += len(own.token_ids) if own.token_ids != answer.token_ids else 0
        alone += [(constrained, own), (asked, answer)]
    tally.places += changed
    crowd = [asked for asked, _ in alone]
    answers = dict(engine.generate(crowd, most_rows=len(crowd)))
    for index, (asked, answer) in enumerate(alone):
        has_it = index % 2 == 0
        require_same_answer(
            subject, tally, engine, asked, answer, answers[index],
            when=("alone", "in the crowd"),
            meaning="drafts depend on who else is served",
            where=f", {'beside ones without' if has_it else 'beside ones with'} {name}",
            places=0,
        )  # fmt: skip
    where = f"{name} at temperature {usual[0][0].sampling.temperature:g}"
    return [] if changed else [f"{where} not tried: it changed no answer"]


def _require_law(
    subject: Subject, tally: Tally, engine: Any, constrain: Constrain, where: str
) -> list[str]:
    """What is drawn in a crowd follows the law of each request, of engines without seeds."""
    law = CrowdLaw(subject, engine)
    requests = _requests(subject, subject.sampled)
    if judged_by_plain(engine, constrain(requests[0], engine.speculate(requests[0]))):
        return _require_plain_law(subject, tally, engine, constrain, where, law)
    for again in range(_ROUNDS):
        crowd = []
        for asked in _requests(subject, subject.sampled, again):
            answer = engine.speculate(asked)
            law.add_alone(asked, answer)
            constrained = constrain(asked, answer)
            law.add_alone(constrained, engine.speculate(constrained))
            crowd += [constrained, asked]
        for index, answer in sorted(engine.generate(crowd, most_rows=len(crowd))):
            law.add(crowd[index], answer, f"ones with and without {where}")
    tally.require(not law.problem, f"{where}: {law.problem}", places=law.tokens)
    return [f"{where}: {line}" for line in law.lines]


def _require_plain_law(
    subject: Subject, tally: Tally, engine: Any, constrain: Constrain, where: str, law: CrowdLaw
) -> list[str]:
    """The same of a setting that the judge does not know: plain decoding's law is taken for it."""
    if Capability.PLAIN not in engine.capabilities:
        return [f"{where} not available: the engine does not have: {Capability.PLAIN}"]
    first = _requests(subject, subject.sampled)[0]
    extras = constrain(first, engine.speculate(first)).extras
    laws = LawPairs(subject, engine, partial(_beside_bare, engine, law))
    lines = laws.require(tally, where, extras, "in a crowd of ones without it")
    tally.require(not law.problem, f"beside ones with {where}: {law.problem}", places=0)
    return lines


def _beside_bare(engine: Any, law: CrowdLaw, requests: Sequence[Request]) -> Iterator[Generation]:
    """The answers to requests in crowds, each beside itself without the setting."""
    for begin in range(0, len(requests), _BESIDE):
        some = requests[begin : begin + _BESIDE]
        bare = [replace(one, extras="", request_id=f"{one.request_id}/bare") for one in some]
        law.add_alone(bare[0], engine.speculate(bare[0]))
        crowd = [one for pair in zip(some, bare, strict=True) for one in pair]
        answers = dict(engine.generate(crowd, most_rows=len(crowd)))
        for index, neighbour in enumerate(bare):
            law.add(neighbour, answers[2 * index + 1], "ones with extras")
        yield from (answers[2 * index] for index in range(len(some)))
