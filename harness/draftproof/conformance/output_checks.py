"""Is the output the target's own: over prompts, and at every edge of a block?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from draftproof.config import Sampling
from draftproof.conformance import places
from draftproof.conformance.check_result import Finding, not_available
from draftproof.conformance.places import Place
from draftproof.conformance.subject import Subject
from draftproof.data.encoding import prompt_ids
from draftproof.engines.certifying import engine_rounding
from draftproof.engines.protocol import Capability, Engine, Generation, Request
from draftproof.errors import DraftproofError, EngineGoneError
from draftproof.lossless.certificate import TIE_TOLERANCE, target_dtype
from draftproof.sampling import Contexts, TokenLaw

PENALTIES = (1.3, 2.0)
"""A usual one, and one so strong that hardly a token comes twice: then any that was not counted
comes back."""

_INSIDE = "ends inside a block"
_HELD_BACK = "stop tokens inside a block, held back or not"
_UNTRIED = (
    "no drafted token was kept where an output can be made to end; give other prompts, or longer "
    "outputs"
)


def greedy_output(subject: Subject) -> Finding:
    """Every token of every prompt's output is the target's own choice after its own prefix."""
    tally = subject.tally("tokens")
    close = compared = 0
    with subject.engine() as engine:
        for prompt in subject.prompts:
            asked = subject.request(prompt)
            judged = subject.judged(engine, asked)
            tokens = judged.generation.token_ids
            tally.add(prompt.prompt_id, judged, len(tokens))
            close += _ties(subject, engine, asked, tokens)
            compared += judged.is_compared
    lines = []
    if close:
        lines.append(
            f"at {close} of {tally.places} tokens another token's logit is within the tolerance: "
            "there a wrong token may pass for rounding"
        )
    if compared < tally.n:
        lines.append("not compared with the engine's plain decoding, which is not available")
    return tally.finding(*lines, untried="no token came back", within_tolerance=close)


def _ties(subject: Subject, engine: Engine, request: Request, tokens: Sequence[int]) -> int:
    """At how many tokens of an output the target's second choice is within the tolerance."""
    tolerance = subject.config.tie_tolerance
    if tolerance is None:
        tolerance = TIE_TOLERANCE.get(target_dtype(subject.pair.target), 0.0)
    tolerance = max(tolerance, engine_rounding(engine, subject.config))
    best = _logits(subject, request, tokens).topk(2).values
    return int((best[:, 0] - best[:, 1] <= tolerance).sum())


def _logits(subject: Subject, request: Request, tokens: Sequence[int]) -> torch.Tensor:
    """``[tokens, vocabulary]`` the target's, before each token of an output."""
    prompt = request.prompt_token_ids
    return subject.pair.target.recompute([*prompt, *tokens], len(prompt) - 1)[:-1]


def stop_token(subject: Subject) -> Finding:
    """An output ends with a stop token, wherever in a block it stands."""

    def request(place: Place) -> Request:
        stops = frozenset({place.output[place.index]})
        return subject.request(place.prompt_token_ids, stop_token_ids=stops)

    return _ends(subject, request, places.first_of_its_kind, Capability.STOP_TOKENS)


def stop_string(subject: Subject) -> Finding:
    """An output ends with the token that completes a stop string, wherever in a block it stands."""

    def request(place: Place) -> Request:
        return subject.request(
            place.prompt_token_ids,
            stop_token_ids=no_stops(subject),
            stop_strings=(completed(subject, place.output, place.index),),
        )

    def fits(output: Sequence[int], index: int) -> bool:
        return bool(completed(subject, output, index))

    return _ends(subject, request, fits, Capability.STOP_STRINGS)


def completed(subject: Subject, output: Sequence[int], index: int) -> str:
    """The shortest text that is there only with a token, and begins before it; '' if none is.

    So it is seen only by what looks at more than the last token, or block. However repetitive an
    output is, a long enough end of it has not been there before.
    """
    before, after = (subject.pair.decode(output[:end]) for end in (index, index + 1))
    if not after.startswith(before) or "\ufffd" in after or not after[len(before) :].strip():
        return ""
    shortest = max(2, len(after) - len(before) + 1) if before else 2
    for size in range(shortest, min(len(after), _LONGEST_STRING) + 1):
        if after[-size:] not in before and after[-size:].strip() == after[-size:]:
            return after[-size:]
    return ""


_LONGEST_STRING = 60


def length_limit(subject: Subject) -> Finding:
    """An output has exactly as many tokens as asked for, also where a block would go on."""

    def request(place: Place) -> Request:
        return subject.request(
            place.prompt_token_ids,
            stop_token_ids=no_stops(subject),
            max_new_tokens=place.index + 1,
        )

    return _ends(subject, request, places.anywhere)


def no_stops(subject: Subject) -> frozenset[int] | None:
    """No stop tokens at all, where the engine can do without its model's own."""
    return frozenset() if Capability.STOP_TOKENS in subject.capabilities else None


def least_length(subject: Subject) -> Finding:
    """A stop token is impossible before an output has `min_new_tokens`, also inside a block."""
    tally = subject.tally(_HELD_BACK)
    with subject.engine() as engine:
        for capability in (Capability.MIN_NEW_TOKENS, Capability.STOP_TOKENS):
            if capability not in engine.capabilities:
                return not_available(capability)
        chosen = places.places(subject, engine, places.first_of_its_kind)
        tally.call_places(places.kind_of(chosen, _HELD_BACK))
        for place in chosen:
            for least in (place.index + 1, place.index + 2):
                asked = subject.request(
                    place.prompt_token_ids,
                    sampling=Sampling(min_new_tokens=least),
                    stop_token_ids=frozenset({place.output[place.index]}),
                    max_new_tokens=min(subject.config.max_new_tokens, place.index + 8),
                )
                examined, _ = places.counted([place])
                tally.add(
                    f"{place.name}, stop token {place.index}, at least {least} tokens",
                    subject.judged(engine, asked),
                    examined,
                )
    return tally.finding(*_told(chosen), untried=_UNTRIED)


def repetition_penalty(subject: Subject) -> Finding:
    """The penalty decides tokens inside a block as it does between blocks."""
    tally = subject.tally("tokens inside a block that the penalty decides")
    own, is_told = 0, True
    if Capability.FILTERS not in subject.capabilities:
        return not_available(Capability.FILTERS)
    for penalty in PENALTIES:
        sampling = Sampling(repetition_penalty=penalty)
        with subject.engine(sampling=sampling) as engine:
            for prompt in subject.prompts:
                asked = subject.request(prompt, sampling=sampling)
                judged = subject.judged(engine, asked)
                is_told &= places.spots(judged.generation) is not None
                decided, by_block = _decided(subject, asked, judged.generation)
                own += by_block
                tally.add(f"{prompt.prompt_id}, penalty {penalty:g}", judged, decided)
    lines = [] if is_told else ["the engine does not tell its blocks: taken to have two tokens"]
    if not own:
        lines.append(
            "none of them is decided by a token of its own block: whether that is counted at once "
            "was not tried"
        )
    untried = "the penalty changed no token inside a block"
    return tally.finding(*lines, untried=untried, decided_by_own_block=own)


def _decided(subject: Subject, request: Request, generation: Generation) -> tuple[int, int]:
    """How many tokens inside a block a penalty decides, and how many that of the block's own."""
    tokens, prompt = generation.token_ids, request.prompt_token_ids
    law = TokenLaw(request.sampling, len(prompt), request.stopping.stop_token_ids)
    where = places.spots(generation)
    decided = own = 0
    for index, row in enumerate(_logits(subject, request, tokens)):
        before = min(index, 1) if where is None else where[index].offset
        if not before:
            continue
        seen = [*prompt, *tokens[:index]]
        contexts: Contexts = partial(list, [seen, seen[:-before]])
        best, without = law.penalised(torch.stack([row, row]), contexts).argmax(-1).tolist()
        decided += best != int(row.argmax())
        own += best != without
    return decided, own


def prompt_lengths(subject: Subject) -> Finding:
    """A prompt of one token and one that fills the context are answered, an empty one is not."""
    tally = subject.tally("prompts")
    whole = prompt_ids(subject.pair, subject.prompts[0])
    room = 4
    with subject.engine() as engine:
        if Capability.TOKEN_PROMPTS not in engine.capabilities:
            return not_available(Capability.TOKEN_PROMPTS)
        # A server may be started with less room than its target has, and says so.
        told = getattr(engine, "max_length", None) or _LONGEST
        longest = min(subject.pair.target.max_length, _LONGEST, told) - room
        full = (whole * (1 + longest // len(whole)))[:longest]
        for name, token_ids in (("one token", whole[:1]), ("a full context", full)):
            asked = subject.request(token_ids, max_new_tokens=room)
            try:
                judged = subject.judged(engine, asked)
            except EngineGoneError:
                raise
            except DraftproofError as error:
                tally.require(False, f"{name}: refused: {error}")
            else:
                tally.add(name, judged, 1)
        try:
            answer = engine.speculate(subject.request((), max_new_tokens=room))
        except EngineGoneError:
            raise
        except DraftproofError:
            # To die of it is not to refuse it.
            asked = subject.request(whole[:1], max_new_tokens=room)
            tally.add("one token, after an empty prompt", subject.judged(engine, asked), 1)
        else:
            tally.require(
                False,
                f"an empty prompt was answered with {len(answer.token_ids)} tokens, not refused",
            )
    return tally.finding()


_LONGEST = 2048
"""A longer context is not filled: it would take minutes on a processor."""


def _ends(
    subject: Subject,
    request: Callable[[Place], Request],
    fits: places.Fits,
    capability: Capability | None = None,
) -> Finding:
    """Judge the answers to requests that end at places of the engine's own outputs."""
    tally = subject.tally(_INSIDE)
    with subject.engine() as engine:
        if capability is not None and capability not in engine.capabilities:
            return not_available(capability)
        chosen = places.places(subject, engine, fits)
        tally.call_places(places.kind_of(chosen, _INSIDE))
        for place in chosen:
            asked = request(place)
            plain = place.plain
            if plain is not None:
                # What ends the answer ends plain decoding's, too: it need not be asked again.
                plain, _ = asked.stopping.cut((), plain)
            examined, _ = places.counted([place])
            judged = subject.judged(engine, asked, plain)
            tally.add(f"{place.name}, {_named(asked)}", judged, examined)
    return tally.finding(*_told(chosen), untried=_UNTRIED)


def _told(chosen: Sequence[Place]) -> Iterator[str]:
    _, line = places.counted(chosen)
    if line:
        yield line


def _named(request: Request) -> str:
    stopping = request.stopping
    if stopping.stop_strings:
        return f"stop string {stopping.stop_strings[0]!r}"
    if stopping.stop_token_ids:
        return f"stop tokens {sorted(stopping.stop_token_ids)}"
    return f"length limit {stopping.max_new_tokens}"
