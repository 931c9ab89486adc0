"""Where an engine's blocks lie, and outputs with places inside them to end at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from draftproof.config import Sampling
from draftproof.conformance.subject import GREEDY, Subject
from draftproof.data.encoding import prompt_ids
from draftproof.engines.protocol import Capability, Engine, Generation

EDGES = 10
"""Places that a check of ends examines: more than one block of the usual drafts."""

UNTOLD_EDGES, _UNTOLD_OUTPUTS = 24, 4
"""Places, and outputs to take them from, where the engine does not tell its blocks: so many that
the later offsets of blocks are among them, too."""

_BOUNDARIES = 2
"""Places beside them that are not inside a block: what ends there must end, too."""

_CONTEXTS = 10
"""Outputs that are looked through for places, at most."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A token's place in the block that emitted it.

    Attributes:
        offset: Tokens of the block before it.
        is_inside: Whether the block goes on after it.
    """

    offset: int
    is_inside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A token of an output at which another output may be made to end.

    Attributes:
        prompt_token_ids: The output's prompt.
        name: What to call that prompt.
        output: The engine's answer, which no stop token ends if it can do without.
        plain: What its plain decoding answers, if it can.
        index: Of the token in the output.
        spot: Its place in its block; None where the engine does not tell its blocks.
    """

    prompt_token_ids: tuple[int, ...]
    name: str
    output: tuple[int, ...]
    plain: tuple[int, ...] | None
    index: int
    spot: Spot | None

    @property
    def is_inside(self) -> bool:
        """Whether its block is known to go on after it."""
        return self.spot is not None and self.spot.is_inside


def spots(generation: Generation) -> list[Spot] | None:
    """Where each token of an output stands in the block that emitted it.

    Of the steps that an engine tells, or of the tokens that it calls accepted: an accepted token
    never ends a block, which goes on to a correction or a bonus token.

    Args:
        generation: An engine's answer.

    Returns:
        ``[tokens]``, or None where the engine tells neither. Of the last token it is not known
        whether its block would have gone on; it is taken to have not.
    """
    tokens = len(generation.token_ids)
    if generation.steps is not None:
        committed = [int(count) for count in generation.steps["committed_tokens"]]
        lengths = [1] * (tokens - sum(committed)) + committed
    elif generation.accepted is not None:
        lengths = [0]
        for accepted in generation.accepted:
            lengths[-1] += 1
            if not accepted:
                lengths.append(0)
    else:
        return None
    found = [Spot(offset, offset + 1 < length) for length in lengths for offset in range(length)]
    if len(found) != tokens:
        # What it tells is not of this output: other checks say so.
        return None
    return [*found[:-1], Spot(found[-1].offset, False)] if found else found


Fits = Callable[[Sequence[int], int], bool]
"""From an output and an index to whether an output can be made to end there."""


def first_of_its_kind(output: Sequence[int], index: int) -> bool:
    """Whether a token does not occur before: as a stop token it ends the output here."""
    return output[index] not in output[:index]


def anywhere(output: Sequence[int], index: int) -> bool:
    """Any token."""
    return True


def places(
    subject: Subject, engine: Engine, fits: Fits, *, sampling: Sampling = GREEDY
) -> list[Place]:
    """Places at which an output can be made to end, as many as possible inside blocks.

    A repetitive output has few tokens that do not occur before, and its blocks may hold none of
    them. So other outputs are asked for until there are `EDGES` places inside blocks: those of the
    other prompts, and of prompts that are cut, or that go on with part of an answer.

    Args:
        subject: Whose prompts are asked.
        engine: What is asked.
        fits: Which indices will do.
        sampling: What outputs are asked for with; above temperature 0 plain decoding is not asked.

    Returns:
        Inside blocks where the engine tells its blocks, spread over the offsets of a block, and a
        few beside them; else any but the first token's, from several outputs, and that.
    """
    inside: list[Place] = []
    untold: list[Place] = []
    others: list[Place] = []
    for outputs, (name, prompt) in enumerate(_prompts(subject, engine), start=1):
        for place in _of_output(subject, engine, name, prompt, sampling):
            if not fits(place.output, place.index):
                continue
            if place.spot is None and place.index:
                untold.append(place)
            else:
                (inside if place.is_inside else others).append(place)
        is_enough = len(untold) >= UNTOLD_EDGES and outputs >= _UNTOLD_OUTPUTS
        if len(inside) >= EDGES or is_enough:
            break
    return [
        *_spread(inside)[:EDGES],
        *_by_turns(untold)[:UNTOLD_EDGES],
        *_spread(others)[:_BOUNDARIES],
    ]


def kind_of(chosen: Sequence[Place], told: str) -> str:
    """What to call the places of a check: `told` where the engine tells its blocks."""
    if any(place.spot is None for place in chosen):
        return "ends of which it is not told where their blocks end"
    return told


def counted(chosen: Sequence[Place]) -> tuple[int, str]:
    """How many places of some are examined, and what may be said of them.

    Where the engine does not tell its blocks, every place but a first token's counts, and it is
    said that it is not known how many are inside a block.
    """
    if any(place.spot is None for place in chosen):
        count = sum(place.index > 0 for place in chosen)
        return count, (
            f"the engine does not tell its blocks: how many of the {count} places are inside one "
            "is not known"
        )
    return sum(place.is_inside for place in chosen), ""


def _of_output(
    subject: Subject, engine: Engine, name: str, prompt: tuple[int, ...], sampling: Sampling
) -> Iterator[Place]:
    stops = frozenset[int]() if Capability.STOP_TOKENS in engine.capabilities else None
    asked = subject.request(prompt, sampling=sampling, stop_token_ids=stops)
    answer = engine.speculate(asked)
    plain = subject.plain(asked) if sampling.greedy else None
    where = spots(answer)
    drafts_nothing = answer.counts is not None and not answer.counts.accepted
    for index in range(len(answer.token_ids) - 1):
        spot = None if where is None else where[index]
        if where is None and drafts_nothing:
            # Where no drafted token was kept, every block has one token.
            spot = Spot(0, False)
        yield Place(
            prompt_token_ids=prompt,
            name=name,
            output=answer.token_ids,
            plain=None if plain is None else plain.token_ids,
            index=index,
            spot=spot,
        )


def _prompts(subject: Subject, engine: Engine) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Prompts by name: the subject's, then parts of them, then with part of their answers."""
    whole = [(p.prompt_id, prompt_ids(subject.pair, p)) for p in subject.prompts]
    found = list(whole)
    if Capability.TOKEN_PROMPTS in engine.capabilities:
        for share in (3, 1, 2):
            found += [
                (f"{name}, cut", tuple(ids[: len(ids) * share // 4]))
                for name, ids in whole
                if len(ids) >= 4
            ]
    yield from found[: max(_CONTEXTS, len(subject.prompts))]


def _spread(found: Sequence[Place]) -> list[Place]:
    """Places in an order in which every offset of a block comes early."""
    return _one_of_each(found, lambda place: 0 if place.spot is None else place.spot.offset)


def _by_turns(found: Sequence[Place]) -> list[Place]:
    """Places in an order in which every output's come early."""
    return _one_of_each(found, lambda place: place.name)


def _one_of_each(found: Sequence[Place], group: Callable[[Place], object]) -> list[Place]:
    """One place of each group after another, then the second ones, and so on."""
    seen: Counter[object] = Counter()
    ranked = []
    for order, place in enumerate(found):
        ranked.append((seen[group(place)], order, place))
        seen[group(place)] += 1
    return [place for _, _, place in sorted(ranked, key=lambda entry: entry[:2])]
