"""Above temperature 0: does an output end where it must, and not before it may?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from draftproof.conformance import places
from draftproof.conformance.check_result import Finding, not_available
from draftproof.conformance.output_checks import completed, no_stops
from draftproof.conformance.places import Place
from draftproof.conformance.subject import Subject
from draftproof.engines.protocol import Capability, Generation, Request, check_generation
from draftproof.errors import EngineError

_PLACES = 4
"""Places at which drawn outputs are made to end, each in every way that the engine has."""


def sampled_ends(subject: Subject) -> Finding:
    """Above temperature 0 an output ends at the first stop, and not before `min_new_tokens`."""
    tally = subject.tally("ends inside a block of a drawn output")
    if Capability.SAMPLING not in subject.capabilities:
        return not_available(Capability.SAMPLING)
    with subject.engine(sampling=subject.sampled) as engine:
        fits = places.first_of_its_kind
        for place in places.places(subject, engine, fits, sampling=subject.sampled)[:_PLACES]:
            for what, asked in _requests(subject, place):
                answer = engine.speculate(asked)
                problem = _wrong_end(answer, asked, subject.pair.target.vocabulary_size)
                # Without seeds the stop need not come at all.
                is_tried = problem or _is_drawn_again(answer, place)
                examined, _ = places.counted([place])
                tally.require(
                    not problem,
                    f"{place.name}, {what}: {problem}",
                    places=examined if is_tried else 0,
                )
    return tally.finding(
        untried="no drafted token was kept where a drawn output can be made to end; give other "
        "prompts, or longer outputs"
    )


def _requests(subject: Subject, place: Place) -> Iterator[tuple[str, Request]]:
    """What the output was the answer to, made to end at the place in every way there is."""
    capabilities, sampling = subject.capabilities, subject.sampled
    prompt, token = place.prompt_token_ids, place.output[place.index]
    if Capability.STOP_TOKENS in capabilities:
        stops = frozenset({token})
        yield (
            f"stop token {token}",
            subject.request(prompt, sampling=sampling, stop_token_ids=stops),
        )
        if Capability.MIN_NEW_TOKENS in capabilities:
            least = place.index + 2
            held_back = replace(sampling, min_new_tokens=least)
            yield (
                f"stop token {token}, at least {least} tokens",
                subject.request(prompt, sampling=held_back, stop_token_ids=stops),
            )
    text = completed(subject, place.output, place.index)
    if Capability.STOP_STRINGS in capabilities and text:
        yield (
            f"stop string {text!r}",
            subject.request(
                prompt,
                sampling=sampling,
                stop_token_ids=no_stops(subject),
                stop_strings=(text,),
            ),
        )
    yield (
        f"length limit {place.index + 1}",
        subject.request(
            prompt,
            sampling=sampling,
            stop_token_ids=no_stops(subject),
            max_new_tokens=place.index + 1,
        ),
    )


def _wrong_end(answer: Generation, asked: Request, vocabulary_size: int) -> str:
    """What is wrong with an output's end; empty if nothing is."""
    try:
        check_generation(answer, asked, vocabulary_size)
    except EngineError as error:
        return str(error)
    least, stops = asked.sampling.min_new_tokens, asked.stopping.stop_token_ids
    early = [index for index, token in enumerate(answer.token_ids[:least]) if token in stops]
    if early:
        return f"token {early[0]} of the output is a stop token, which is impossible so early"
    return ""


def _is_drawn_again(answer: Generation, place: Place) -> bool:
    """Whether an output is the same up to the place, or ends with a stop elsewhere."""
    same = answer.token_ids[: place.index] == place.output[: place.index]
    return same or (answer.stop_reason != "length" and len(answer.token_ids) > 1)
