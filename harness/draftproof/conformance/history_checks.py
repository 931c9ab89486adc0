"""Conditions that usual requests do not meet: talk that goes on, cancelled requests, many ends.

A prompt that extends an earlier one, and its answer, is what caches of prefixes are for; a request
that is given up in the middle leaves rows, counters and draws half used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from draftproof.conformance import places
from draftproof.conformance.check_result import Finding, not_available
from draftproof.conformance.output_checks import completed
from draftproof.conformance.places import Place
from draftproof.conformance.request_checks import require_same_answer
from draftproof.conformance.subject import GREEDY, Subject
from draftproof.data.encoding import prompt_ids
from draftproof.engines.protocol import BatchEngine, Capability, Request
from draftproof.stopping import Stopping

_PROMPTS = 3
_SHARES = (1, 3)
"""Quarters of an answer by which the prompt is extended, one after another."""
_TOKENS = 16
_EARLY = 2
"""Tokens of the request whose answer comes while the others are still being decoded."""
_ABSENT = "\x00never\x00"
_EXTENDED = "outputs after a prompt that extends an earlier one and part of its answer"
_SEVERAL = "ends at one of several stop tokens and strings, inside a block"
_CANCELLED = "tokens that were answered after requests were cancelled in the middle"


def extended_prompts(subject: Subject) -> Finding:
    """A prompt that goes on from an earlier one and its answer is answered as if it were new."""
    tally = subject.tally(_EXTENDED)
    if Capability.TOKEN_PROMPTS not in subject.capabilities:
        return not_available(Capability.TOKEN_PROMPTS)
    with subject.engine() as engine:
        for prompt in subject.prompts[:_PROMPTS]:
            start = prompt_ids(subject.pair, prompt)
            answer = engine.speculate(subject.request(start)).token_ids
            room = subject.pair.target.max_length - len(start) - len(answer) - 1
            for share in _SHARES:
                grown = (*start, *answer[: max(1, len(answer) * share // 4)])
                if len(grown) >= len(start) + len(answer) or room < 1:
                    continue
                # Between the two a prompt that parts from both, as other conversations do.
                parted = (*grown[:-1], grown[0])
                for name, ids in (("extended", grown), ("parted at the end", parted)):
                    asked = subject.request(ids, max_new_tokens=min(_TOKENS, room))
                    judged = subject.judged(engine, asked)
                    tally.add(f"{prompt.prompt_id}, {name} to {len(ids)} tokens", judged, 1)
    return tally.finding(untried="no answer was long enough to go on from; give longer outputs")


def several_ends(subject: Subject) -> Finding:
    """Of several stop tokens and strings at once, the first that is met ends an output."""
    tally = subject.tally(_SEVERAL)
    for capability in (Capability.STOP_TOKENS, Capability.STOP_STRINGS):
        if capability not in subject.capabilities:
            return not_available(capability)
    with subject.engine() as engine:
        chosen = places.places(subject, engine, places.first_of_its_kind)
        tally.call_places(places.kind_of(chosen, _SEVERAL))
        for place in chosen:
            for what, asked in _with_several(subject, place):
                examined, _ = places.counted([place])
                tally.add(f"{place.name}, {what}", subject.judged(engine, asked), examined)
    return tally.finding(
        *(line for line in (places.counted(chosen)[1],) if line),
        untried="no drafted token was kept where an output can be made to end; give other prompts, "
        "or longer outputs",
    )


def _with_several(subject: Subject, place: Place) -> Iterator[tuple[str, Request]]:
    """Requests that the place ends, and others would, were it not for the place."""
    output, index = place.output, place.index
    later = [token for token in output[index + 1 :] if token not in output[:index]][:2]
    unused = next(
        token
        for token in range(subject.pair.target.vocabulary_size)
        if token not in output and token not in place.prompt_token_ids
    )
    stops = frozenset({output[index], *later, unused})
    yield (
        f"stop tokens {sorted(stops)}",
        subject.request(place.prompt_token_ids, stop_token_ids=stops, stop_strings=(_ABSENT,)),
    )
    # With the absent one 4 strings, which is the most that OpenAI-like servers take.
    texts = [completed(subject, output, at) for at in range(index, min(index + 3, len(output)))]
    if texts[0]:
        strings = tuple(dict.fromkeys([_ABSENT, *reversed([text for text in texts if text])]))
        yield (
            f"stop strings {list(strings)}",
            subject.request(
                place.prompt_token_ids,
                stop_token_ids=frozenset({unused, *later}),
                stop_strings=strings,
            ),
        )


def cancelled_requests(subject: Subject) -> Finding:
    """Requests that are cancelled in the middle leave nothing behind, at any temperature."""
    tally = subject.tally(_CANCELLED)
    if Capability.BATCHES not in subject.capabilities:
        return not_available(Capability.BATCHES)
    cancelled = 0
    seeded = {Capability.SEEDS, Capability.SAMPLING} <= subject.capabilities
    for sampling in (GREEDY, *([subject.sampled] if seeded else [])):
        with subject.engine(sampling=sampling) as engine:
            if not isinstance(engine, BatchEngine):
                return not_available(Capability.BATCHES)
            requests = [
                subject.request(prompt, sampling=sampling, max_new_tokens=_TOKENS)
                for prompt in subject.prompts[:_PROMPTS]
            ]
            before = [engine.speculate(request) for request in requests]
            cancelled += _cancel(engine, requests)
            after = [engine.speculate(request) for request in requests]
            together = dict(engine.generate(requests, most_rows=len(requests)))
            for index, asked in enumerate(requests):
                for answer in (after[index], together[index]):
                    require_same_answer(
                        subject, tally, engine, asked, before[index], answer,
                        when=("before others were cancelled", "after that"),
                        meaning="something of them is left",
                    )  # fmt: skip
    if not cancelled:
        tally.places = 0
    return tally.finding(
        f"requests that were cancelled with part of their answers decoded: {cancelled}",
        untried="every request was answered before the others could be cancelled",
    )


def _cancel(engine: BatchEngine, requests: list[Request]) -> int:
    """Give up a batch once its shortest request is answered; how many others were under way."""
    short = replace(
        requests[0],
        request_id=f"{requests[0].request_id}/short",
        stopping=Stopping(max_new_tokens=_EARLY),
    )
    others = [
        replace(request, request_id=f"{request.request_id}/cancelled") for request in requests
    ]
    batch = engine.generate([short, *others], most_rows=1 + len(others))
    done = {index for index, _ in [next(iter(batch))]}
    close = getattr(batch, "close", None)
    if close is not None:
        close()
    return len(others) + 1 - len(done)
