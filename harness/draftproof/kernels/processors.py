"""Logits processors as functions: on a block of drafted tokens as on one token at a time.

A processor that looks at the tokens so far must see, at every position of a block, the committed
tokens and the drafted ones before that position, and no others; one that does not must act at every
position. Both are compared with the judge's own processing of each position alone, which is written
here the shortest way. One that keeps a state (a grammar's, counts of tokens) must take back
what drafted tokens did to it that were not kept, and have a state for each request: blocks are
therefore also given in turn, of two requests, as a decoding loop gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any, Protocol

import numpy as np
import torch

from draftproof.conformance.check_result import Finding, Status
from draftproof.errors import unknown_value
from draftproof.kernels.calling import KernelError


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorCall:
    """The arguments of a logits processor on a block.

    Attributes:
        logits: ``[drafted + 1, vocabulary]`` the target's, before each drafted token and after the
            last.
        committed: Token ids before the block.
        prompt_length: How many of them are the prompt's.
        draft: ``[drafted]`` ids.
        settings: Values by the names of `SETTINGS`; what is not there is off.
        request: Which request the block is of. The blocks of a request come in their order, each
            with the committed tokens of the one before, those of its drafted tokens that were kept,
            and one more; the first may come with any number of them.
    """

    logits: torch.Tensor
    committed: tuple[int, ...]
    prompt_length: int
    draft: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    request: int = 0


class Processor(Protocol):
    """A processor, or a tiny callable that hands it its arguments."""

    def __call__(self, call: ProcessorCall, /) -> torch.Tensor:
        """``[drafted + 1, vocabulary]`` processed logits, −inf where an id is masked."""
        ...


Row = np.ndarray
"""``[vocabulary]`` logits of one position."""


def _temperature(row: Row, context: Sequence[int], prompt: int, value: float) -> Row:
    return row / value


def _top_k(row: Row, context: Sequence[int], prompt: int, value: int) -> Row:
    return np.where(row >= np.sort(row)[-value], row, -np.inf)


def _top_p(row: Row, context: Sequence[int], prompt: int, value: float) -> Row:
    order = np.argsort(-row, kind="stable")
    law = np.exp(row[order] - row.max())
    law = law / law.sum()
    kept = order[np.cumsum(law) - law < value]
    return np.where(np.isin(np.arange(len(row)), kept), row, -np.inf)


def _min_p(row: Row, context: Sequence[int], prompt: int, value: float) -> Row:
    return np.where(row >= row.max() + np.log(value), row, -np.inf)


def _repetition(row: Row, context: Sequence[int], prompt: int, value: float) -> Row:
    penalised = np.where(row > 0, row / value, row * value)
    return np.where(np.isin(np.arange(len(row)), list(context)), penalised, row)


def _frequency(row: Row, context: Sequence[int], prompt: int, value: float) -> Row:
    lowered: Row = row - value * np.bincount(list(context[prompt:]), minlength=len(row))
    return lowered


def _presence(row: Row, context: Sequence[int], prompt: int, value: float) -> Row:
    lowered: Row = row - value * (np.bincount(list(context[prompt:]), minlength=len(row)) > 0)
    return lowered


def _bias(row: Row, context: Sequence[int], prompt: int, value: dict[int, float]) -> Row:
    raised: Row = row + np.array([value.get(i, 0.0) for i in range(len(row))])
    return raised


def _bad_words(row: Row, context: Sequence[int], prompt: int, value: list[list[int]]) -> Row:
    row = row.copy()
    for *before, last in value:
        if not before or list(context[-len(before) :]) == before:
            row[last] = -np.inf
    return row


def _grammar(row: Row, context: Sequence[int], prompt: int, value: dict[int, list[int]]) -> Row:
    """The allowed ids by the last token: the smallest grammar that has a state."""
    allowed = value.get(context[-1], list(range(len(row))))
    return np.where(np.isin(np.arange(len(row)), allowed), row, -np.inf)


SETTINGS: dict[str, tuple[Callable[[Row, Sequence[int], int, Any], Row], tuple[Any, ...]]] = {
    "repetition_penalty": (_repetition, (1.3, 0.8)),
    "frequency_penalty": (_frequency, (0.7,)),
    "presence_penalty": (_presence, (0.9,)),
    "logit_bias": (_bias, ({1: 2.0, 3: -1.5},)),
    "bad_words": (_bad_words, ([[2]], [[1, 3], [0]], [[4, 1, 2]])),
    "grammar": (_grammar, ({0: [1, 2], 1: [0, 3, 4], 2: [5, 1]},)),
    "temperature": (_temperature, (0.7, 1.5)),
    "top_k": (_top_k, (1, 3)),
    "top_p": (_top_p, (0.3, 0.8)),
    "min_p": (_min_p, (0.2,)),
}
"""By name, in the order in which they apply: the judge's own, and the values to try."""


def processed(call: ProcessorCall) -> np.ndarray:
    """``[drafted + 1, vocabulary]`` the judge's logits: each position by itself."""
    rows = []
    for position, row in enumerate(call.logits.double().numpy()):
        context = (*call.committed, *call.draft[:position])
        for name, (apply, _) in SETTINGS.items():
            if name in call.settings:
                row = apply(row, context, call.prompt_length, call.settings[name])
        rows.append(row)
    return np.array(rows)


def examine_processor(
    processor: Processor, names: Sequence[str] = (), *, seed: int = 0, blocks: int = 24
) -> dict[str, Finding]:
    """What is found of a processor, by setting; ``all together`` is every setting at once.

    Args:
        processor: Under test.
        names: Settings that it has; all of them for none.
        seed: Of the logits and tokens.
        blocks: Of drafted tokens, for each value.

    Raises:
        UsageError: There is no such setting.
    """
    wanted = tuple(names) or tuple(SETTINGS)
    for name in wanted:
        if name not in SETTINGS:
            raise unknown_value("--setting", name, SETTINGS)
    cases = {name: [{name: value} for value in SETTINGS[name][1]] for name in wanted}
    if len(wanted) > 1:
        cases["all together"] = [{name: SETTINGS[name][1][0] for name in wanted}]
    numbers = count()
    return {
        name: _examined(processor, settings, seed, blocks, numbers)
        for name, settings in cases.items()
    }


def _examined(
    processor: Processor,
    settings: Sequence[dict[str, Any]],
    seed: int,
    blocks: int,
    numbers: Iterator[int],
) -> Finding:
    problems: list[str] = []
    places = changed = 0
    for values, random, number in (
        (values, np.random.default_rng((seed, number)), number)
        for number in range(blocks)
        for values in settings
    ):
        alone = _call(random, number % 5, values, next(numbers))
        told = [(alone, partial(_told, processor, alone, numbers))]
        if number % _BLOCKS == 0:
            turns = _in_turn(random, values, (next(numbers), next(numbers)))
            told += [
                (call, partial(_told_in_turn, processor, turns[:index], numbers))
                for index, call in enumerate(turns, start=1)
            ]
        for call, tell in told:
            before = call.logits.clone()
            try:
                found = _rows(processor, call)
            except KernelError as error:
                return Finding(status=Status.FAILED, n=places, lines=(str(error),))
            expected = processed(call)
            places += len(expected)
            changed += int(
                (np.abs(_law(expected) - _law(call.logits.double().numpy())) > 1e-9).any(1).sum()
            )
            gaps = np.abs(_law(found) - _law(expected)).max(1)
            if not torch.equal(before, call.logits):
                problems.append(f"{values}: the logits that were given were written to")
            if (gaps > _TOLERANCE).any():
                problems.append(tell(gaps))
    status = Status.FAILED if problems else Status.PASSED if changed else Status.NOT_TRIED
    return Finding(
        status=status, n=places, places=changed, place="positions changed", lines=tuple(problems)
    )


_TOLERANCE = 1e-5
"""In probability: float32's rounding of a law of few tokens is a hundredth of it."""
_BLOCKS = 6
"""Blocks of each of two requests in turn; and one such pair for as many blocks that stand alone."""


def _call(
    random: np.random.Generator,
    drafted: int,
    values: dict[str, Any],
    request: int,
    committed: tuple[int, ...] = (),
    vocabulary: int = 6,
) -> ProcessorCall:
    tokens = tuple(int(token) for token in random.integers(vocabulary, size=4 + drafted))
    return ProcessorCall(
        logits=torch.from_numpy(2 * random.standard_normal((drafted + 1, vocabulary))).float(),
        committed=committed or tokens[:4],
        prompt_length=2,
        draft=tokens[4:],
        settings=values,
        request=request,
    )


def _in_turn(
    random: np.random.Generator, values: dict[str, Any], requests: tuple[int, int]
) -> list[ProcessorCall]:
    """The blocks of two requests, one of each in turn, of which all, some or none is kept."""
    calls: list[ProcessorCall] = []
    committed: dict[int, tuple[int, ...]] = dict.fromkeys(requests, ())
    for block in range(_BLOCKS):
        for request in requests:
            call = _call(random, (3 + block) % 5, values, request, committed[request])
            kept = int(random.integers(len(call.draft) + 1))
            more = int(random.integers(call.logits.shape[1]))
            committed[request] = (*call.committed, *call.draft[:kept], more)
            calls.append(call)
    return calls


def _rows(processor: Processor, call: ProcessorCall) -> np.ndarray:
    try:
        returned = processor(call)
    except Exception as error:
        raise KernelError(f"the processor raised {type(error).__name__}: {error}") from error
    rows = np.asarray(torch.as_tensor(returned).detach().cpu().double())
    if rows.shape != tuple(call.logits.shape):
        raise KernelError(
            f"the processor returned logits of shape {list(rows.shape)} for "
            f"{list(call.logits.shape)}"
        )
    return rows


def _law(logits: np.ndarray) -> np.ndarray:
    grown = np.exp(logits - logits.max(1, keepdims=True))
    law: np.ndarray = grown / grown.sum(1, keepdims=True)
    return law


def _is_right(processor: Processor, call: ProcessorCall) -> bool:
    gap = np.abs(_law(_rows(processor, call)) - _law(processed(call))).max()
    return bool(gap <= _TOLERANCE)


def _told(
    processor: Processor, call: ProcessorCall, numbers: Iterator[int], gaps: np.ndarray
) -> str:
    """The first wrong position, and whether the processor is right where it is alone."""
    position = int(np.flatnonzero(gaps > _TOLERANCE)[0])
    single = replace(
        call,
        logits=call.logits[position : position + 1],
        committed=(*call.committed, *call.draft[:position]),
        draft=(),
        request=next(numbers),
    )
    why = (
        "one token at a time it is right: the block is processed otherwise"
        if _is_right(processor, single)
        else "one token at a time it is wrong, too: its definition is another"
    )
    raw = np.abs(_law(_rows(processor, call)) - _law(call.logits.double().numpy()))[position].max()
    dropped = ", as if it were not there" if raw < 1e-6 else ""
    return (
        f"{call.settings}: position {position} of {len(gaps)} has a law that is off by "
        f"{gaps[position]:.3g}{dropped}; {why}"
    )


def _told_in_turn(
    processor: Processor, calls: Sequence[ProcessorCall], numbers: Iterator[int], gaps: np.ndarray
) -> str:
    """What it hangs on that the last of some blocks is wrong: itself, blocks before, or others."""
    call = calls[-1]
    afresh = replace(call, request=next(numbers))
    if not _is_right(processor, afresh):
        return _told(processor, afresh, numbers, gaps)
    own = [each for each in calls if each.request == call.request]
    number = next(numbers)
    by_itself = [_is_right(processor, replace(each, request=number)) for each in own][-1]
    cause = (
        "what another request left is in it: each request needs a state of its own"
        if by_itself
        else "what earlier blocks left is in it, such as drafted tokens that were not kept: state "
        "must be set to the committed tokens"
    )
    return (
        f"{call.settings}: block {len(own)} of a request has a law that is off by "
        f"{gaps.max():.3g}; as a request's first block it is right: {cause}"
    )
