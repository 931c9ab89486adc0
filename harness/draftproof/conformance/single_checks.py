"""Two ways to one output: rows of a batch, and one sequence at a time, on small models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.stats import kstest

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Finding, Status, Tally
from draftproof.conformance.places import spots
from draftproof.conformance.small_models import VOCABULARY, WINDOW, small_pairs
from draftproof.conformance.subject import GREEDY, Subject
from draftproof.engines.parts import make_parts
from draftproof.engines.protocol import Generation, Request
from draftproof.engines.reference import ReferenceEngine
from draftproof.errors import DraftproofError
from draftproof.laws import RULES, valid_rules
from draftproof.lossless.stated_law import ends, stated_distribution
from draftproof.models.loading import ModelPair
from draftproof.randomness import Draw, SeededRandomness
from draftproof.shapes import LookupShape, TreeShape, parse_tree
from draftproof.stopping import Stopping
from draftproof.trace import Columns

SHAPES = (
    "chain:3",
    "chain:3,stop=0.4",
    "3x2",
    "static:[[0],[1],[0,0],[1,0],[0,0,0]]",
    "sampled:2x2",
    "distinct:2x2",
    "best-first:5,depth=3,branching=2",
    "lookup:3,ngram=1",
    "none",
)
"""One of each kind, the subject's own beside them."""
_LONG, _SHORT = 40, 3
"""Lengths of prompts; the long one is many times as long as the small models' window."""
_TOKENS = 20
_FILTERS = (
    Sampling(top_k=6),
    Sampling(top_p=0.8, min_new_tokens=4),
    Sampling(min_p=0.05, repetition_penalty=1.3),
)
_GREEDY_FILTERS = (Sampling(repetition_penalty=1.3, min_new_tokens=4),)
_CLOSE = 1e-5
"""Facts of nodes may differ by rounding: float32 where the batch works on a device."""
_KEPT, _SECOND = "drafted tokens kept", "outputs that end at a kept token or after one"
_STOP, _TEXT = "ended by one of several stop tokens", "by one of several stop strings"
_BEYOND = "tokens beyond a window"
_DRAWS = "draws whose numbers were looked at"
_CONDITIONS = (_KEPT, _SECOND, _STOP, _TEXT, _BEYOND, _DRAWS)
_FEWEST, _CHANCE, _SPREADS = 100, 1e-7, 6.0
"""Of tests of numbers: the fewest to look at, and what is not put down to chance."""
_TIMES = ("draft_seconds", "verify_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What is decoded in both ways."""

    pair: ModelPair
    config: RunConfig
    requests: tuple[Request, ...]
    name: str


def rows_and_single(subject: Subject) -> Finding:
    """As rows of a batch and one at a time, requests have the same tokens, nodes and draws."""
    tally = subject.tally("tokens that were decoded in rows and one at a time")
    reason = _why_not(subject)
    if reason:
        return Finding(status=Status.NOT_AVAILABLE, lines=(reason,))
    met: Counter[str] = Counter()
    draws: list[Draw] = []
    for case in _cases(subject):
        _compare_ways(tally, case, met, draws)
    for problem in draws_problems(draws):
        tally.require(False, problem)
    met[_DRAWS] = len(draws)
    return tally.finding(
        *conditions_met(met, _CONDITIONS),
        untried="no token came back",
        **{what: met[what] for what in _CONDITIONS},
    )


def conditions_met(met: Mapping[str, int], conditions: Sequence[str]) -> Iterator[str]:
    """Lines that say how often each condition was met, and which never was."""
    told = ", ".join(f"{what} {met[what]:,}" for what in conditions)
    yield f"how often its conditions were met: {told}"
    never = [what for what in conditions if not met[what]]
    if never:
        yield f"never met: {', '.join(never)}"


def _why_not(subject: Subject) -> str:
    config = subject.config
    is_own = subject.rule is not None or subject.drafter is not None or config.has_own_parts
    if subject.make is not None or config.engine != "reference" or is_own:
        return "the engine is not made of parts that decode in both ways"
    return ""


def _cases(subject: Subject) -> Iterator[_Case]:
    """Every shape with every lossless rule, at temperature 0 and above, on one of the pairs."""
    pairs = list(small_pairs(subject.pair))
    shapes = [parse_tree(text) for text in SHAPES]
    if subject.config.tree not in shapes and subject.config.tree.most_nodes <= _LONG:
        shapes.append(subject.config.tree)
    count = 0
    for shape, is_greedy in product(shapes, (True, False)):
        for rule in _rules(shape, is_greedy=is_greedy):
            kind, pair = pairs[count % len(pairs)]
            sampling = GREEDY if is_greedy else subject.sampled
            config = replace(
                subject.config, tree=shape, rule=rule, sampling=sampling, check_state=1.0
            )
            filters = _GREEDY_FILTERS if is_greedy else _FILTERS
            yield _Case(
                pair=pair,
                config=config,
                requests=_requests(sampling, filters[count % len(filters)], count),
                name=f"{shape} with the rule {rule} at temperature {sampling.temperature:g}, on a "
                f"small model with {kind}",
            )
            count += 1


def _rules(shape: TreeShape, *, is_greedy: bool) -> list[str]:
    names = valid_rules(shape.law, is_chain=shape.is_chain, is_greedy=is_greedy)
    return ["greedy"] if is_greedy else [name for name in names if RULES[name].lossless]


def _requests(sampling: Sampling, filters: Sampling, count: int) -> tuple[Request, ...]:
    """A long prompt and a long output; a short one with filters and several ends at once."""
    numbers = np.random.default_rng(count)
    long, short = (
        tuple(numbers.integers(0, VOCABULARY, size).tolist()) for size in (_LONG, _SHORT)
    )
    # An output in three has no stop tokens: one of the stop strings may end it.
    stops = frozenset(numbers.integers(0, VOCABULARY, 2 if count % 3 else 0).tolist())
    texts = tuple(text_of(numbers.integers(0, VOCABULARY, 2).tolist()) for _ in range(24))
    whole = Stopping(max_new_tokens=_TOKENS)
    several = replace(whole, stop_token_ids=stops, stop_strings=texts, decode=text_of)
    wanted = {
        "long": (long, sampling, whole),
        "short": (short, replace(filters, temperature=sampling.temperature), several),
        # Beside the others: in rows, one at temperature 0 is decoded with those above it.
        "greedy": (long[:_SHORT], Sampling(repetition_penalty=1.3), whole),
    }
    return tuple(
        Request(
            request_id=f"{name}/{count}",
            prompt_token_ids=prompt,
            sampling=settings,
            stopping=stopping,
            seed=count,
        )
        for name, (prompt, settings, stopping) in wanted.items()
        if name != "greedy" or not sampling.greedy
    )


def text_of(tokens: Sequence[int]) -> str:
    """A letter an id, so that a text of two tokens lies across them."""
    return "".join(chr(ord("A") + token) for token in tokens)


def _compare_ways(tally: Tally, case: _Case, met: Counter[str], draws: list[Draw]) -> None:
    own: list[Draw] = []
    log = own.append
    try:
        rows = ReferenceEngine(case.pair, case.config)
        draft = None if isinstance(case.config.tree, LookupShape) else case.pair.draft
        parts = make_parts(case.pair.target, draft, case.config)
        watched = replace(
            parts, make_randomness=lambda seed, name, _=None: SeededRandomness(seed, name, log)
        )
        single = ReferenceEngine.of(watched, case.config)
        answers = dict(rows.generate(case.requests, most_rows=len(case.requests)))
        for index, asked in enumerate(case.requests):
            own.clear()
            found = single.speculate(asked)
            draws += own
            _count_conditions(met, asked, found)
            name = f"{asked.request_id}, {case.name}"
            for problem in (
                different(answers[index], found),
                _uncounted(found, own),
                _misjudged(case.pair, asked, found),
                _unlike_plain(rows, single, asked),
            ):
                tally.require(not problem, f"{name}: {problem}", places=len(found.token_ids))
    except DraftproofError as error:
        tally.require(False, f"{case.name}: {error}")


def _count_conditions(met: Counter[str], asked: Request, found: Generation) -> None:
    """Take note of what an output met: conditions under which faults hide."""
    met[_KEPT] += 0 if found.counts is None else found.counts.accepted
    where = spots(found)
    # The last token is never called inside: what follows a stop is not told.
    met[_SECOND] += 0 if where is None else bool(where and where[-1].offset)
    met[_STOP] += found.stop_reason == "stop_token"
    met[_TEXT] += found.stop_reason == "stop_string"
    first = len(asked.prompt_token_ids)
    met[_BEYOND] += sum(first + index > WINDOW for index in range(len(found.token_ids)))


def _uncounted(found: Generation, draws: Sequence[Draw]) -> str:
    """Whether an answer tells other counts of draws than there were."""
    told = {purpose: count for purpose, count in (found.draws or {}).items() if count}
    were = dict(Counter(str(draw.purpose) for draw in draws))
    return "" if told == were else f"its draws are told as {told}, and there were {were}"


def draws_problems(draws: Sequence[Draw]) -> Iterator[str]:
    """What the numbers that decided draws show: used again, not uniform, or alike.

    Args:
        draws: Of many requests, each with a seed and an id of its own, in the order of the draws.
    """
    numbers = np.array([draw.uniform for draw in draws])
    first: dict[float, int] = {}
    for index, number in enumerate(numbers.tolist()):
        other = first.setdefault(number, index)
        if other != index:
            yield (
                f"draw {index} ({draws[index].purpose}) is decided by the number {number:.6g} that "
                f"decided draw {other} ({draws[other].purpose}): numbers are used again"
            )
            return
    if len(numbers) < _FEWEST:
        return
    # The chance that a sound generator is flagged is far below 1e-6 for each of these.
    if kstest(numbers, "uniform").pvalue < _CHANCE:
        yield f"the {len(numbers)} numbers that decide draws are not uniform on [0, 1)"
    scores = math.sqrt(12) * (numbers - 0.5)
    for what, alike in (
        ("one after another", scores[1:] * scores[:-1]),
        ("of two purposes", _across_purposes(draws, scores)),
    ):
        if len(alike) and abs(alike.sum()) / math.sqrt(len(alike)) > _SPREADS:
            yield f"numbers that decide draws {what} depend on one another"


def _across_purposes(draws: Sequence[Draw], scores: np.ndarray) -> np.ndarray:
    """Products of the scores of draws with the same index and another purpose, of one request."""
    products: list[float] = []
    latest: dict[int, tuple[str, float]] = {}
    for draw, score in zip(draws, scores.tolist(), strict=True):
        if draw.purpose == "plain":
            latest.clear()  # a request begins
        purpose, other = latest.get(draw.index, (str(draw.purpose), 0.0))
        if purpose != str(draw.purpose):
            products.append(score * other)
        latest[draw.index] = str(draw.purpose), score
    return np.array(products)


def different(rows: Generation, single: Generation) -> str:
    """What an answer from rows says otherwise than one that was decoded alone; empty if nothing."""
    if rows.token_ids != single.token_ids:
        return f"in rows the output is {rows.token_ids}, and one at a time {single.token_ids}"
    for name in ("stop_reason", "accepted", "counts"):
        ours, theirs = getattr(rows, name), getattr(single, name)
        if ours != theirs:
            return f"in rows its {name} is {ours}, and one at a time {theirs}"
    draws = [{k: n for k, n in (each.draws or {}).items() if n} for each in (rows, single)]
    if draws[0] != draws[1]:
        return f"in rows it draws {draws[0]}, and one at a time {draws[1]}"
    for kind in ("steps", "nodes"):
        problem = _other_columns(getattr(rows, kind), getattr(single, kind))
        if problem:
            return f"of its {kind}, {problem}"
    return ""


def _other_columns(rows: Columns | None, single: Columns | None) -> str:
    if rows is None or single is None:
        return "none are told"
    for name, ours in rows.items():
        theirs = single[name]
        if name in _TIMES:
            continue
        if len(ours) != len(theirs):
            return f"there are {len(ours)} in rows, and {len(theirs)} one at a time"
        if not np.allclose(ours, theirs, rtol=_CLOSE, atol=_CLOSE, equal_nan=True):
            at = int(np.flatnonzero(~np.isclose(ours, theirs, _CLOSE, _CLOSE, equal_nan=True))[0])
            return f"{name} is {ours[at]} in rows, and {theirs[at]} one at a time, at index {at}"
    return ""


def _misjudged(pair: ModelPair, asked: Request, found: Generation) -> str:
    """Whether a token is impossible, or an end wrong, by a statement that shares no code."""
    prompt, sampling, stopping = asked.prompt_token_ids, asked.sampling, asked.stopping
    sequence = [*prompt, *found.token_ids]
    # Of any total: their logarithms are the logits, which a penalty is of.
    weights = pair.target.recompute(sequence, len(prompt) - 1)[:-1].double().exp().tolist()
    for index, token in enumerate(found.token_ids):
        law = stated_distribution(
            tuple(sequence[: len(prompt) + index]),
            weights[index],
            sampling,
            prompt_length=len(prompt),
            stop_token_ids=stopping.stop_token_ids,
        )
        if not law[token]:
            return f"token {index} is {token}, which has no probability there"
        reason = ends(
            found.token_ids[: index + 1],
            max_new_tokens=stopping.max_new_tokens,
            stop_token_ids=stopping.stop_token_ids,
            stop_strings=stopping.stop_strings,
            decode=stopping.decode,
        )
        is_last = index + 1 == len(found.token_ids)
        if (reason is not None) != is_last or (is_last and reason != found.stop_reason):
            return f"after token {index} it should end by {reason}, and ends by " + (
                found.stop_reason if is_last else "nothing"
            )
    return ""


def _unlike_plain(rows: ReferenceEngine, single: ReferenceEngine, asked: Request) -> str:
    """Whether plain decoding is another one in rows, or another than greedy speculation."""
    ours, theirs = rows.plain(asked), single.plain(asked)
    if (ours.token_ids, ours.stop_reason) != (theirs.token_ids, theirs.stop_reason):
        return (
            f"in rows plain decoding's output is {ours.token_ids}, and one at a time "
            f"{theirs.token_ids}"
        )
    return ""
