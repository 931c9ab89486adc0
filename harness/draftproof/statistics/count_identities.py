"""What must hold of an engine's counters, and what they leave open, where no step is told.

A step keeps some of its drafted tokens and makes one more, the output's first token is prefill's
(or is made by the first step, in engines that draft with the prompt), and only the last step may be
cut by the end of the output. That alone decides most of what counters cannot say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from draftproof.trace import Columns, Counts

ASSUMED_LONGEST_DRAFT = 64
"""Tokens that a step keeps at most, of an engine that does not say how long its drafts are.

Servers are set to drafts of 2 to 16 tokens; llama.cpp's n-gram drafters go up to 64. An engine with
longer drafts says so (``draft_length`` in what it describes)."""

ASSUMED_MOST_NODES = 4096
"""Tokens that a step drafts at most, of an engine that does not say: trees that are made for models
kept outside the accelerator have up to a thousand nodes (Sequoia, 2024)."""

LATE_STEPS = 2
"""Steps that counters may hold beyond an output that a stop string ended: vLLM looks for these
where it makes text, while its scheduler goes on with the next step or two."""


class StepBounds(NamedTuple):
    """Between what the number of steps lies; equal where it is known."""

    fewest: int
    most: int


def step_bounds(counts: Counts, tokens: int | None, *, by_text: bool = False) -> StepBounds | None:
    """How many steps an output took, as far as its counters say.

    Every step makes one token more than it keeps, so without a cut the steps are committed −
    accepted tokens. Where the last step was cut, an engine may have counted accepted tokens that
    the output lacks, at most as many as a draft keeps: then there were that many steps more.

    Args:
        counts: The engine's; they contradict nothing (`check_counts`).
        tokens: Length of the output, its first token, which prefill decides, included; None where
            it is not told.
        by_text: Whether a stop string ended it (`LATE_STEPS`).

    Returns:
        The bounds; None where neither the steps are told nor what they committed.

    Example:
        >>> step_bounds(Counts(drafted=40, accepted=9, drafted_steps=10, longest_draft=4), 33)
        StepBounds(fewest=23, most=27)
        >>> step_bounds(Counts(drafted=40, accepted=0, drafted_steps=10), 33)
        StepBounds(fewest=32, most=32)
        >>> step_bounds(Counts(drafted=40, accepted=9, steps=23), 33)
        StepBounds(fewest=23, most=23)
    """
    if counts.steps is not None:
        return StepBounds(counts.steps, counts.steps)
    committed = committed_tokens(counts, tokens)
    if committed is None:
        return None
    uncut = committed - counts.accepted
    drafted = (counts.drafted_steps or 0) - _late(counts, by_text)
    fewest = max(drafted, uncut, min(committed, 1))
    return StepBounds(fewest, max(fewest, min(committed, uncut + _most_cut(counts, by_text))))


def committed_tokens(counts: Counts, tokens: int | None) -> int | None:
    """What the steps added to the output, but for engines that draft with the prompt.

    Args:
        counts: The engine's.
        tokens: Length of the output; None where it is not told.

    Example:
        >>> committed_tokens(Counts(drafted=40, accepted=9), 33)
        32
        >>> committed_tokens(Counts(drafted=None, accepted=9, committed=30), None)
        30
    """
    if counts.committed is not None:
        return counts.committed
    return None if tokens is None else tokens - counts.outputs


def check_counts(
    counts: Counts, tokens: int | None, *, by_text: bool = False, most_nodes: int | None = None
) -> list[str]:
    """Every way in which counters contradict themselves or the output; none of sound ones.

    Args:
        counts: The engine's.
        tokens: Length of the output; None where it is not told.
        by_text: Whether a stop string ended it (`LATE_STEPS`).
        most_nodes: Nodes of the engine's largest draft; `ASSUMED_MOST_NODES` where it is not known.

    Returns:
        A line each, with the numbers and what they break.

    Example:
        >>> check_counts(Counts(drafted=5, accepted=2, drafted_steps=2), 8)
        []
        >>> check_counts(Counts(drafted=5, accepted=6, drafted_steps=2), 9)
        ['6 tokens were accepted of 5 that were drafted']
    """
    broken = [*_whole(counts)]
    if broken:
        return broken
    return [
        *_kept(counts, most_nodes),
        *_committed(counts),
        *_lengths(counts),
        *([] if tokens is None else _of_output(counts, tokens, by_text, most_nodes)),
    ]


def _of_output(counts: Counts, tokens: int, by_text: bool, most_nodes: int | None) -> Iterator[str]:
    yield from _untold(counts, tokens, by_text, most_nodes)
    # What another tool says of its steps need not be what it says of its output.
    if counts.committed is None:
        yield from _steps_and_tokens(counts, tokens, by_text)
    yield from _generated(counts, tokens, by_text)


def check_told_steps(counts: Counts, steps: Columns) -> list[str]:
    """Where counters leave what the engine itself tells of its steps.

    Args:
        counts: The engine's.
        steps: `STEP_COLUMNS`, each ``[steps]``.
    """
    told = {
        "steps": len(steps["step"]),
        "drafted_steps": int((steps["nodes"] > 0).sum()),
        "drafted": int(steps["nodes"].sum()),
        "accepted": int(steps["accepted_length"].sum()),
    }
    return [
        f"the counter of {name.replace('_', ' ')} says {counted}, and its steps add up to {value}"
        for name, value in told.items()
        if (counted := getattr(counts, name)) is not None and counted != value
    ]


def check_accepted(
    accepted: Sequence[bool], counts: Counts, steps: Columns | None = None
) -> list[str]:
    """Where the tokens that an engine calls accepted leave its counters, or its steps.

    Args:
        accepted: ``[tokens]`` whether each token of the output is called an accepted draft.
        counts: The engine's.
        steps: `STEP_COLUMNS`, each ``[steps]``, or None where it does not tell them.
    """
    called = sum(accepted)
    if called > counts.accepted:
        return [f"{called} tokens of the output are called accepted, and {counts.accepted} were"]
    if steps is not None:
        return _against_told_steps(accepted, steps)
    return [*_called(accepted, counts)]


def longest_told(counts: Counts) -> int:
    """The most tokens that a draft has, as far as counters tell.

    Where they do not say, it is the mean draft, rounded up; and `ASSUMED_LONGEST_DRAFT` where there
    is less than a drafted token a step and steps without a draft are not told apart: some steps
    then had none, and nothing says how long the others' were.

    Example:
        >>> longest_told(Counts(drafted=40, accepted=9, steps=10, longest_draft=4))
        4
        >>> longest_told(Counts(drafted=40, accepted=4, steps=10, lengths=(7, 2, 1)))
        2
        >>> longest_told(Counts(drafted=40, accepted=4, steps=10))
        4
        >>> longest_told(Counts(drafted=8, accepted=4, steps=10))
        64
    """
    if counts.longest_draft is not None:
        return counts.longest_draft
    if counts.lengths is not None:
        return _largest(counts.lengths)
    drafts, _ = _drafts(counts)
    if counts.drafted is None:
        return ASSUMED_LONGEST_DRAFT
    if not counts.drafted:
        return 0
    is_known = drafts and (counts.drafted_steps is not None or counts.drafted >= drafts)
    return -(-counts.drafted // drafts) if drafts and is_known else ASSUMED_LONGEST_DRAFT


def _whole(counts: Counts) -> Iterator[str]:
    numbers = {
        name: getattr(counts, name)
        for name, field in Counts.__dataclass_fields__.items()
        if "int" in str(field.type) and name != "lengths"
    }
    for name, value in numbers.items():
        if value is not None and value < 0:
            yield f"the counter of {name.replace('_', ' ')} is {value}"
    if min(counts.lengths or (0,)) < 0:
        yield f"the counter of accepted lengths is {list(counts.lengths or ())}"


def _kept(counts: Counts, most_nodes: int | None) -> Iterator[str]:
    """Accepted, drafted and the steps that drafted, among themselves."""
    drafted = counts.drafted
    if drafted is not None and counts.accepted > drafted:
        yield f"{counts.accepted} tokens were accepted of {drafted} that were drafted"
    drafts, name = _drafts(counts)
    if drafts is None:
        return
    if counts.steps is not None and drafts > counts.steps:
        yield f"{drafts} steps with a draft are more than the {counts.steps} steps there were"
    if counts.drafted_steps is not None and drafted is not None and drafts > drafted:
        yield f"{drafts} steps with a draft cannot have drafted {drafted} tokens in all"
    if drafted and not drafts:
        yield f"{drafted} tokens were drafted, and in no step"
    longest = counts.longest_draft
    if longest is not None and counts.accepted > drafts * longest:
        yield (
            f"{counts.accepted} tokens were accepted in {drafts} {name}, of which each keeps "
            f"{longest} at most: {drafts * longest}"
        )
    most = ASSUMED_MOST_NODES if most_nodes is None else most_nodes
    if drafted is not None and drafted > drafts * most:
        yield (
            f"{drafted} tokens were drafted in {drafts} {name}, and a draft has "
            f"{most} at most: {drafts * most}{_says_more(most_nodes)}"
        )


def _committed(counts: Counts) -> Iterator[str]:
    """What is told of the steps' own tokens: each makes one at most beside those that it keeps."""
    if counts.committed is None or counts.steps is None:
        return
    if counts.committed > (most := counts.accepted + counts.steps):
        yield (
            f"{counts.committed} tokens cannot come of {counts.steps} steps that kept "
            f"{counts.accepted}: they make {most} at most"
        )


def _untold(counts: Counts, tokens: int, by_text: bool, most_nodes: int | None) -> Iterator[str]:
    """What was drafted, where no step is told: each makes a token more than it keeps."""
    if counts.drafted is None or _drafts(counts)[0] is not None:
        return
    most = ASSUMED_MOST_NODES if most_nodes is None else most_nodes
    late = _late(counts, by_text)
    steps = late + min(tokens, tokens - counts.accepted + _most_cut(counts, by_text))
    if counts.drafted > max(most_nodes is None, steps) * most:
        yield (
            f"{counts.drafted} tokens were drafted, and {steps} steps at most made the output's "
            f"{tokens} tokens, of which each drafts {most} at most: {steps * most}"
            f"{_says_more(most_nodes)}"
        )


def _steps_and_tokens(counts: Counts, tokens: int, by_text: bool) -> Iterator[str]:
    """Every step makes a token and keeps the ones accepted; only the last of them is cut."""
    steps, accepted = counts.steps, counts.accepted
    if steps is not None and tokens > (most := counts.outputs + accepted + steps):
        yield (
            f"{tokens} tokens cannot come of {steps} steps that kept {accepted}: they make {most} "
            "at most"
        )
    counted, name = (
        (counts.drafted_steps, "steps with a draft") if steps is None else (steps, "steps")
    )
    late = _late(counts, by_text)
    if counted is not None and counted > tokens + late:
        yield f"{counted} {name} cannot have made {tokens} tokens: each makes one"
        return
    least = counted or -(-accepted // _longest(counts))
    cut, most_cut = accepted + least - tokens, _most_cut(counts, by_text) + late
    if cut > most_cut:
        yield (
            f"{least} steps at least that kept {accepted} make {accepted + least} tokens, {cut} "
            f"more than the output's {tokens}, and its end can have cut off {most_cut} at most"
            + _assumption(counts)
        )


def _lengths(counts: Counts) -> Iterator[str]:
    lengths = counts.lengths
    if lengths is None:
        return
    drafts, name = _drafts(counts)
    if drafts is not None and sum(lengths) != drafts:
        yield f"the accepted lengths are those of {sum(lengths)} steps, and {drafts} {name} counted"
    kept = sum(length * steps for length, steps in enumerate(lengths))
    if kept != counts.accepted:
        yield f"the accepted lengths add up to {kept} tokens, and {counts.accepted} were accepted"
    least = counts.accepted + lengths[0] if lengths and counts.drafted_steps is not None else 0
    if kept == counts.accepted and counts.drafted is not None and counts.drafted < least:
        yield (
            f"{counts.drafted} tokens were drafted, and {kept} that were kept beside {lengths[0]} "
            f"drafts of which none was make {least} at least"
        )
    longest = counts.longest_draft
    if longest is not None and any(lengths[longest + 1 :]):
        yield f"a step kept {_largest(lengths)} tokens, and the longest draft has {longest}"


def _generated(counts: Counts, tokens: int, by_text: bool) -> Iterator[str]:
    """What else the server did: a stop token may not be counted, a cut token may be."""
    generated = counts.generated
    most = tokens + _most_cut(counts, by_text) + _late(counts, by_text)
    if generated is None or tokens - 1 <= generated <= most:
        return
    yield (
        f"the server counts {generated} generated tokens during this request, and its output has "
        f"{tokens}: something else used the server meanwhile, and the counters are of both"
        if generated > tokens
        else f"the server counts {generated} generated tokens during this request, and its output "
        f"has {tokens}"
    )


def _against_told_steps(accepted: Sequence[bool], steps: Columns) -> list[str]:
    told = [
        index < kept
        for kept, committed in zip(
            steps["accepted_length"].tolist(), steps["committed_tokens"].tolist(), strict=True
        )
        for index in range(committed)
    ]
    # An engine may score the prompt with its first draft, or make the first token before any.
    before = len(accepted) - len(told)
    if before not in (0, 1):
        return [f"its steps add up to {len(told)} tokens of an output of {len(accepted)}"]
    return [
        f"token {index} of the output is called {_word(one)}, and by its steps it is {_word(other)}"
        for index, (one, other) in enumerate(zip(accepted, [False] * before + told, strict=True))
        if one != other
    ][:1]


def _called(accepted: Sequence[bool], counts: Counts) -> Iterator[str]:
    """Steps are not told: a step's accepted tokens stand together, and one other follows them."""
    called = sum(accepted)
    cut, most_cut = counts.accepted - called, _most_cut(counts)
    if cut > most_cut:
        yield (
            f"{called} tokens of the output are called accepted and {counts.accepted} were, of "
            f"which the end of the output cut off {most_cut} at most" + _assumption(counts)
        )
    runs = [sum(1 for _ in run) for is_accepted, run in groupby(accepted) if is_accepted]
    drafts, name = _drafts(counts)
    if drafts is not None and len(runs) > drafts:
        yield (
            f"tokens are called accepted at {len(runs)} places with another token between, and "
            f"there were {drafts} {name}"
        )
    longest = max(runs, default=0)
    if counts.longest_draft is not None and longest > counts.longest_draft:
        yield (
            f"{longest} tokens in a row are called accepted, and the longest draft has "
            f"{counts.longest_draft}"
        )
    others = len(accepted) - called
    # One of each step, and prefill's; the last step's may be cut off.
    if counts.steps is not None and not counts.steps - 1 <= others <= counts.steps + 1:
        yield (
            f"{others} tokens of the output are not called accepted, and {counts.steps} steps and "
            "prefill make one each"
        )


def _drafts(counts: Counts) -> tuple[int | None, str]:
    """The steps that the drafted tokens and the accepted lengths belong to, and what they are."""
    if counts.drafted_steps is not None:
        return counts.drafted_steps, "steps with a draft"
    return counts.steps, "steps"


def _longest(counts: Counts) -> int:
    """The most tokens that a step can have kept."""
    longest = counts.longest_draft
    known = ASSUMED_LONGEST_DRAFT if longest is None else longest
    return max(1, known if counts.lengths is None else min(known, _largest(counts.lengths)))


def _largest(lengths: Sequence[int]) -> int:
    """The largest accepted length that occurs."""
    return max((length for length, steps in enumerate(lengths) if steps), default=0)


def _most_cut(counts: Counts, by_text: bool = False) -> int:
    """Accepted tokens that the end of each output can have cut off: those of the last step.

    They are no more than it drafted: every other step with a draft drafted a token at least.
    """
    last = counts.outputs + _late(counts, by_text)
    others = max(0, (counts.drafted_steps or 0) - last)
    drafted = [] if counts.drafted is None else [counts.drafted - others]
    return max(0, min(_longest(counts) * last, counts.accepted, *drafted))


def _late(counts: Counts, by_text: bool) -> int:
    """Steps that counters may hold beyond what a stop string ended."""
    return LATE_STEPS * counts.outputs if by_text else 0


def _assumption(counts: Counts) -> str:
    if counts.longest_draft is not None or counts.lengths is not None:
        return ""
    if counts.accepted <= ASSUMED_LONGEST_DRAFT:
        return ""
    return (
        f" where drafts have up to {ASSUMED_LONGEST_DRAFT} tokens (an engine with longer ones says "
        "so with draft_length)"
    )


def _says_more(most_nodes: int | None) -> str:
    return "" if most_nodes is not None else " (an engine with larger drafts says so with tree)"


def _word(is_accepted: bool) -> str:
    return "accepted" if is_accepted else "not accepted"
