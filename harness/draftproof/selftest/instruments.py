"""The instruments as the self-test runs them: each on a mutant, up to the first problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Status
from draftproof.conformance.kit import CHECKS
from draftproof.conformance.subject import Subject
from draftproof.data.prompt import Prompt
from draftproof.decoding import Step
from draftproof.engines.law_test import evidence_of
from draftproof.engines.protocol import Engine, Generation, Request, check_generation
from draftproof.engines.reference import ReferenceEngine
from draftproof.enumeration import EnumerationBudgetError
from draftproof.errors import DraftproofError
from draftproof.lossless.evidence.verdict import LawVerdict, Trial
from draftproof.lossless.exact_law import plain_law, speculative_law
from draftproof.lossless.tables import Row, adversarial, pair_from
from draftproof.models.loading import ModelPair
from draftproof.selftest.figures import wrong_figures
from draftproof.selftest.mutant import Mutant
from draftproof.shapes import parse_tree
from draftproof.stopping import Stopping


class Family(StrEnum):
    """The kinds of instrument; the design has five, and requests ask what is left of another."""

    EXACT = "exact law"
    GREEDY = "greedy certificate"
    LAW = "anytime-valid test"
    STATE = "state equivalence"
    IDENTITIES = "metric identities"
    SELF_DRAFT = "self-draft"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an instrument said of a mutant.

    Attributes:
        instrument: Key of `INSTRUMENTS`.
        status: `FAILED` where it caught something.
        message: What it said, or why it is not available.
        tokens: Tokens that speculation had committed by then.
        steps: Steps that it had taken.
        request_steps: Of these, those of the request at hand.
        requests: Requests that it had begun.
        laws: Exact laws that had been enumerated.
    """

    instrument: str
    status: Status
    message: str = ""
    tokens: int = 0
    steps: int = 0
    request_steps: int = 0
    requests: int = 0
    laws: int = 0

    @property
    def caught(self) -> bool:
        """Whether the instrument reported a fault."""
        return self.status is Status.FAILED


@dataclass(slots=True)
class Progress:
    """How much speculation went into a check so far; an observer of `speculate`."""

    tokens: int = 0
    steps: int = 0
    request_steps: int = 0
    requests: int = 0
    laws: int = 0

    def answered(self, generation: Generation) -> None:
        """Take note of a whole answer, where steps cannot be watched."""
        steps = 0 if generation.steps is None else len(generation.steps["step"])
        self.tokens += len(generation.token_ids)
        self.steps += steps
        self.request_steps = steps
        self.requests += 1

    def __call__(self, step: Step, committed: tuple[int, ...]) -> None:
        """Take note of a step."""
        self.tokens += len(committed)
        self.steps += 1
        is_first = step.root_position == step.law.prompt_length
        self.requests += is_first
        self.request_steps = 1 if is_first else self.request_steps + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What mutants are examined with.

    Attributes:
        pair: A sound pair of transformers, the judge's.
        prompts: What they are asked.
        law_tokens: The most tokens of the anytime-valid test on tables.
        max_new_tokens: Length of an output.
        seed: Seeds every draw.
    """

    pair: ModelPair
    prompts: Sequence[Prompt]
    law_tokens: int = 1500
    max_new_tokens: int = 32
    seed: int = 0


Found = tuple[Status, str]
Instrument = Callable[[Mutant, Surroundings, Progress], Found]
_PASSED: Found = (Status.PASSED, "")
_TABLE_PROMPT = (0, 1, 0)
_STOP = 2
EXACT = 1e-9
"""A larger difference of two exact probabilities is a fault; rounding makes 1e-12."""

ULP = 2.0**-52

EVERY_TABLE = (Sampling(temperature=1.0),)
"""Settings that are enumerated on every table."""

SOME_TABLES = (
    Sampling(),
    Sampling(temperature=0.6),
    Sampling(temperature=1.0, top_k=2),
    Sampling(temperature=1.5, top_p=0.95),
    Sampling(temperature=1.0, repetition_penalty=1.8),
    Sampling(temperature=1.0, min_new_tokens=2),
    Sampling(repetition_penalty=3.0),
)
"""Settings that are enumerated on every other table, and on the ties."""


def tables() -> dict[str, tuple[Row, Row]]:
    """Pairs of distributions: the adversarial ones, one with exact ties, some a rounding apart."""
    tied = torch.tensor([0.4, 0.4, 0.2]).double(), torch.tensor([0.3, 0.5, 0.2]).double()
    near = {f"a rounding apart, {index}": pair for index, pair in enumerate(_near())}
    return {"ties": tied, **near, **adversarial()}


def _near() -> Iterator[tuple[Row, Row]]:
    """Pairs of which q is p but for one entry, which is larger by a few roundings."""
    for weights, larger in (
        ((0.785, 0.079, 0.85), 1),
        ((0.406, 0.495, 0.069), 2),
        ((0.087, 0.802, 0.198), 0),
    ):
        p = torch.tensor(weights, dtype=torch.float64)
        q = p.clone()
        q[larger] *= 1 + 8 * ULP
        yield p, q


def exact(mutant: Mutant, around: Surroundings, progress: Progress) -> Found:
    """The law of whole outputs equals the target's, by enumeration on small tables."""
    if mutant.transformer or not mutant.enumerable:
        return Status.NOT_AVAILABLE, "its draws cannot be followed down every branch"
    for name, sampling, rows in _exact_cases():
        progress.laws += 1
        problem = _exact_difference(mutant, sampling, rows)
        if problem:
            return Status.FAILED, f"{_named(sampling)}, table '{name}': {problem}"
    return _PASSED


def _exact_cases() -> Iterator[tuple[str, Sampling, tuple[Row, Row]]]:
    named = list(tables().items())
    for sampling in EVERY_TABLE:
        yield from ((name, sampling, rows) for name, rows in named)
    for index, sampling in enumerate(SOME_TABLES):
        for name, rows in (named[0], *named[4 + index % 2 :: 2]):
            yield name, sampling, rows


def _exact_difference(mutant: Mutant, sampling: Sampling, rows: tuple[Row, Row]) -> str:
    config = mutant.config(tree=parse_tree(mutant.small_tree), sampling=sampling)
    target, draft = pair_from(*rows)
    stopping = Stopping(max_new_tokens=4, stop_token_ids=frozenset({_STOP}))
    with torch.inference_mode():
        plain = plain_law(_TABLE_PROMPT, target, sampling=sampling, stopping=stopping)
        try:
            parts = mutant.parts(target, draft, config)
            found = speculative_law(
                _TABLE_PROMPT,
                parts.target,
                parts.drafter,
                parts.rule,
                sampling=sampling,
                stopping=parts.stopping(stopping),
                make_law=parts.make_law,
            )
        except EnumerationBudgetError:
            return ""
        except Exception as error:
            # Whatever a faulty engine raises is a finding on it.
            return _text(error)
    outputs = plain.keys() | found.keys()
    worst = max(outputs, key=lambda output: abs(plain.get(output, 0.0) - found.get(output, 0.0)))
    right, wrong = plain.get(worst, 0.0), found.get(worst, 0.0)
    if abs(right - wrong) <= EXACT:
        return ""
    return (
        f"the output {worst.token_ids}, ended by {worst.stop_reason}, has probability {wrong:.6g}, "
        f"and the target's {right:.6g}"
    )


def law_on_tables(mutant: Mutant, around: Surroundings, progress: Progress) -> Found:
    """Drawn tokens follow the target's law, by the anytime-valid test on adversarial tables."""
    if mutant.transformer:
        return Status.NOT_AVAILABLE, "the fault needs a transformer"
    for sampling in (Sampling(temperature=1.0), Sampling(temperature=0.8, top_k=2)):
        found = _law_on_tables(mutant, around, progress, sampling)
        if found[0] is not Status.PASSED:
            return found
    return _PASSED


def _law_on_tables(
    mutant: Mutant, around: Surroundings, progress: Progress, sampling: Sampling
) -> Found:
    config = mutant.config(sampling=sampling, seed=around.seed)
    rows = list(adversarial().values())
    engines = [_table_engine(mutant, pair, config, progress) for pair in rows]
    trial, count = Trial(), 0
    began = progress.tokens
    while progress.tokens - began < around.law_tokens // 2:
        engine, pair = engines[count % len(rows)], rows[count % len(rows)]
        target, draft = pair_from(*pair)
        asked = Request(
            request_id=f"table {count}",
            prompt_token_ids=_TABLE_PROMPT,
            sampling=sampling,
            stopping=Stopping(max_new_tokens=48),
            seed=around.seed,
        )
        try:
            generation = engine.speculate(asked)
            check_generation(generation, asked, target.vocabulary_size)
        except Exception as error:
            return Status.FAILED, _text(error)
        rule = str(engine.describe()["rule"])
        trial.add(evidence_of(generation, asked, target, draft, rule=rule))
        trial.add_control(evidence_of(engine.plain(asked), asked, target, draft))
        count += 1
        found = trial.verdict
        if found is LawVerdict.SETTINGS:
            return Status.NOT_AVAILABLE, "plain decoding is rejected, too"
        if found is not LawVerdict.CONSISTENT:
            pointers = trial.certificate.pointers[:2]
            pointed = "; ".join(f"{p.name}, {p.scope}" for p in pointers)
            return Status.FAILED, f"{_named(sampling)}: {found}; points to: {pointed}"
    return _PASSED


def _table_engine(
    mutant: Mutant, rows: tuple[Row, Row], config: RunConfig, progress: Progress
) -> ReferenceEngine:
    parts = mutant.parts(*pair_from(*rows), config)
    return ReferenceEngine.of(replace(parts, observe=progress), replace(config, check_state=0.0))


def worked_example(mutant: Mutant, around: Surroundings, progress: Progress) -> Found:
    """The figures of a worked example are those added up by hand."""
    wrong = wrong_figures(mutant.figures)
    return (Status.FAILED, wrong[0]) if wrong else _PASSED


def conformance(name: str) -> Instrument:
    """A check of the conformance kit, as ``draftproof verify`` runs it."""

    def instrument(mutant: Mutant, around: Surroundings, progress: Progress) -> Found:
        def make(pair: ModelPair, config: RunConfig) -> Engine:
            if mutant.engine is not None:
                return mutant.engine(pair, config, observe=progress.answered)
            parts = mutant.parts(pair.target, pair.draft, config)
            return ReferenceEngine.of(replace(parts, observe=progress), config)

        subject = Subject(
            pair=around.pair,
            config=mutant.config(max_new_tokens=around.max_new_tokens, seed=around.seed),
            prompts=around.prompts,
            make=make,
            to_the_end=False,
        )
        try:
            finding = CHECKS[name](subject)
        except Exception as error:
            # As in the kit: whatever an engine raises is a finding on it.
            return Status.FAILED, _text(error)
        finally:
            subject.close()
        return finding.status, "; ".join(finding.lines[:3])

    instrument.__doc__ = CHECKS[name].__doc__
    return instrument


def _text(error: Exception) -> str:
    known = isinstance(error, DraftproofError)
    return str(error) if known else f"{type(error).__name__}: {error}"


def _named(sampling: Sampling) -> str:
    default = Sampling()
    named = [f"temperature {sampling.temperature:g}"]
    named += [
        f"{field} {getattr(sampling, field):g}"
        for field in ("top_k", "top_p", "repetition_penalty", "min_new_tokens")
        if getattr(sampling, field) != getattr(default, field)
    ]
    return ", ".join(named)


_FAMILY_OF_CHECK: dict[str, Family] = {
    "state equivalence": Family.STATE,
    "metric identities": Family.IDENTITIES,
    "facts of nodes": Family.IDENTITIES,
    "acceptance counts": Family.IDENTITIES,
    "self-draft": Family.SELF_DRAFT,
    "same request twice": Family.REQUESTS,
    "nothing left of earlier requests": Family.REQUESTS,
    "other seeds and other requests": Family.REQUESTS,
}

_FIRST = (
    "state equivalence",
    "metric identities",
    "facts of nodes",
    "acceptance counts",
    "self-draft",
)
_LAST = ("law of the output", "law of the output under filters")
_ENUMERATED = ("exact law of outputs", "exact law of drafts")
"""Of the shipped parts; a mutant's own parts are enumerated by the instrument `exact`."""
_BETWEEN = tuple(name for name in CHECKS if name not in (*_FIRST, *_LAST, *_ENUMERATED))

INSTRUMENTS: dict[str, tuple[Family, Instrument]] = {
    "worked example": (Family.IDENTITIES, worked_example),
    **{name: (_FAMILY_OF_CHECK[name], conformance(name)) for name in _FIRST},
    "exact law": (Family.EXACT, exact),
    **{name: (_FAMILY_OF_CHECK.get(name, Family.GREEDY), conformance(name)) for name in _BETWEEN},
    "law on tables": (Family.LAW, law_on_tables),
    **{name: (Family.LAW, conformance(name)) for name in _LAST},
}
"""Every instrument with its family, in the order in which mutants meet them.

All but the worked example, the exact law and the law on tables are the checks of ``draftproof
verify``, under their names; its own exact laws are of the shipped parts alone."""


def run(name: str, mutant: Mutant, around: Surroundings) -> Outcome:
    """What one instrument says of one mutant.

    Args:
        name: Key of `INSTRUMENTS`.
        mutant: What is examined.
        around: What it is examined with.
    """
    progress = Progress()
    status, message = INSTRUMENTS[name][1](mutant, around, progress)
    return Outcome(
        instrument=name,
        status=status,
        message=message,
        tokens=progress.tokens,
        steps=progress.steps,
        request_steps=progress.request_steps,
        requests=progress.requests,
        laws=progress.laws,
    )
