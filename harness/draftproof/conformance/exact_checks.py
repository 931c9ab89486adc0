"""Subjects that are Python parts, on small tables: exact laws of outputs and of drafts."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch

from draftproof.acceptance import AcceptanceRule
from draftproof.batch.decoding import BatchStep, Job, ignore, speculate_all
from draftproof.batch.drafters import make_batch_drafter
from draftproof.batch.draws import BatchDraws, FollowedDraws
from draftproof.batch.models import SeparateRows
from draftproof.config import RunConfig, Sampling, is_own_part
from draftproof.conformance.check_result import Finding, Status, Tally
from draftproof.conformance.exact_cases import (
    PROMPTS,
    Case,
    cases_of,
    own_cases,
    plain_cases,
    tables,
    text_of,
    weights_of,
)
from draftproof.conformance.subject import Subject
from draftproof.decoding import Step, speculate
from draftproof.drafting import Drafter, make_drafter
from draftproof.engines.own_parts import drafter_of, place_of, rule_of
from draftproof.enumeration import EnumerationBudgetError, exact_law
from draftproof.lossless.exact_law import plain_law, speculative_law
from draftproof.lossless.stated_drafts import Nodes, stated_drafts
from draftproof.lossless.stated_law import Weights, stated_distribution, stated_law
from draftproof.lossless.tables import pair_from
from draftproof.models.table import TableLM
from draftproof.randomness import Randomness, SeededRandomness
from draftproof.sampling import TokenLaw
from draftproof.shapes import NO_TREE, ChainShape, TreeShape, parse_tree
from draftproof.stopping import Stopping

Key = TypeVar("Key", bound=Hashable)

EXACT = 1e-9
"""A larger difference of two exact probabilities is a fault; rounding makes 1e-12."""
_BUDGET = 60_000
_MOST_NODES = 6
"""Of the largest draft that is followed down every branch."""
_SHAPES = (
    "chain:2",
    "chain:3",
    "2x2",
    "static:[[0],[1],[0,0],[1,0],[1,1]]",
    "sampled:1x2",
    "distinct:1x2",
    "best-first:4,depth=3,branching=2",
    "lookup:3,ngram=2",
    "none",
)
"""One of each kind, deep enough for a fault at depth 2 and at a second sibling."""
_BATCH_SHAPES = ("chain:2", "2x2", "sampled:1x2", "distinct:1x2", "lookup:2,ngram=2")


def exact_outputs(subject: Subject) -> Finding:
    """On small tables every output has exactly the probability that the target gives it."""
    reason = why_not_on_tables(subject)
    if reason:
        return Finding(status=Status.NOT_AVAILABLE, lines=(reason,))
    rule = rule_under_test(subject)
    tally = subject.tally("outputs whose exact probability was compared")
    with torch.inference_mode():
        config = subject.config
        for case in own_cases(subject) or cases_of(
            shapes_of(subject, _SHAPES), rule, place=rule_place(subject)
        ):
            _compare(tally, case, partial(_outputs, case, rule), "the output", _stated)
        for case in plain_cases():
            _compare(tally, case, partial(_plainly, case), "plain decoding's output", _stated)
        if rule is None and config.drafter is None:
            for case in cases_of(shapes_of(subject, _BATCH_SHAPES), None, is_batch=True):
                found = partial(_batch_outputs, case)
                _compare(tally, case, found, "in a batch, the output", _stated)
            # What is left of three ids after a rejection has a shape; of two it has none.
            for case in cases_of(shapes_of(subject, _BATCH_SHAPES), None):
                if case.shape.most_nodes <= _MOST_NODES:
                    first_step = partial(_batch_step, case)
                    _compare(tally, case, first_step, "in a batch, the beginning", _beginnings)
    return tally.finding(*_skipped(tally), untried="no case has few enough branches to follow")


def exact_drafts(subject: Subject) -> Finding:
    """On small tables every draft has exactly the probability that the shape of drafts states."""
    reason = why_not_on_tables(subject)
    if subject.config.drafter is not None:
        reason = f"what {subject.config.drafter} should propose is stated nowhere"
    if reason:
        return Finding(status=Status.NOT_AVAILABLE, lines=(reason,))
    rule = rule_under_test(subject)
    tally = subject.tally("drafts whose exact probability was compared")
    with torch.inference_mode():
        shapes = shapes_of(subject, _SHAPES)
        for case in _at_each_prompt(
            cases_of(shapes, rule, place=rule_place(subject), every_rule=False)
        ):
            _compare(tally, case, partial(_drafts, case, rule), "the draft", _proposed)
        if rule is None:
            for case in _at_each_prompt(cases_of(shapes, None, every_rule=False, is_batch=True)):
                found = partial(_batch_drafts, case)
                _compare(tally, case, found, "in a batch, the draft", _proposed)
    return tally.finding(*_skipped(tally), untried="no case has few enough branches to follow")


def _skipped(tally: Tally) -> list[str]:
    if not tally.skipped:
        return []
    return [
        f"{tally.skipped} cases have more than {_BUDGET:,} branches a step, and were not followed"
    ]


def _at_each_prompt(cases: Iterable[Case]) -> Iterator[Case]:
    return (replace(case, prompt=prompt) for case in cases for prompt in PROMPTS)


def why_not_on_tables(subject: Subject) -> str:
    """Why a subject's parts cannot be given small tables for models; empty if they can."""
    if subject.make is not None or subject.config.engine != "reference":
        return "the engine is not made of parts that can be given tables for models"
    if subject.drafter is not None:
        return "the drafter is given with its model, which cannot be exchanged for a table"
    if subject.config.drafter is not None:
        return _fails_on_tables(subject.config)
    return ""


def _fails_on_tables(config: RunConfig) -> str:
    """Why a drafter of the user's own cannot be given small tables for models; empty if it can."""
    target, draft = pair_from(*tables(3)[0][1])
    law = TokenLaw(Sampling(), len(PROMPTS[0]))
    try:
        drafter = drafter_of(config, draft)
        drafter.start(PROMPTS[0][:-1])
        drafter.draft(PROMPTS[0], 3, law, SeededRandomness(0, "tables"))
    except Exception as error:
        return (
            f"{config.drafter} does not work on models of {target.vocabulary_size} ids, such as "
            f"can be enumerated: {type(error).__name__}: {error}"
        )
    return ""


def rule_under_test(subject: Subject) -> AcceptanceRule | None:
    """The rule of the user's own, if there is one."""
    if subject.rule is not None or not is_own_part(subject.config.rule):
        return subject.rule
    return rule_of(subject.config)


def rule_place(subject: Subject) -> str:
    """Where the rule of the user's own is, as MODULE:NAME; empty if there is none."""
    rule = rule_under_test(subject)
    if rule is None:
        return ""
    return subject.config.rule if is_own_part(subject.config.rule) else place_of(rule)


def shapes_of(subject: Subject, texts: tuple[str, ...]) -> list[TreeShape]:
    """One shape of each kind; the subject's own comes first where it is small enough."""
    shapes = [parse_tree(text) for text in texts]
    own = subject.config.tree
    is_plain = not isinstance(own, ChainShape) or own.is_fixed
    if own not in shapes and own.most_nodes <= _MOST_NODES and own != NO_TREE and is_plain:
        shapes.insert(0, own)
    return shapes


def _stated(case: Case) -> dict[tuple[tuple[int, ...], str], float]:
    stopping = case.stopping
    return stated_law(
        case.prompt,
        weights_of(case.rows[0]),
        case.sampling,
        max_new_tokens=stopping.max_new_tokens,
        stop_token_ids=stopping.stop_token_ids,
        stop_strings=stopping.stop_strings,
        decode=text_of,
    )


def _plainly(case: Case) -> dict[tuple[tuple[int, ...], str], float]:
    target, _ = pair_from(*case.rows)
    law = plain_law(case.prompt, target, sampling=case.sampling, stopping=case.stopping)
    return {(out.token_ids, str(out.stop_reason)): share for out, share in law.items()}


def rule_for(
    case: Case, rule: AcceptanceRule | None, drafter: Drafter | None = None
) -> AcceptanceRule:
    """The rule of a case: the one under test above temperature 0, if there is one."""
    is_own = rule is not None and not case.sampling.greedy
    if is_own and rule is not None:
        return rule
    return rule_of(
        RunConfig(tree=case.shape, rule=case.rule, drafter=case.drafter, sampling=case.sampling),
        drafter,
    )


def _outputs(
    case: Case, rule: AcceptanceRule | None
) -> dict[tuple[tuple[int, ...], str], float] | None:
    target, draft = pair_from(*case.rows)
    drafter = drafter_of(RunConfig(tree=case.shape, drafter=case.drafter), draft)
    try:
        law = speculative_law(
            case.prompt,
            target,
            drafter,
            rule_for(case, rule, None if case.drafter is None else drafter),
            sampling=case.sampling,
            stopping=case.stopping,
            budget=_BUDGET,
        )
    except EnumerationBudgetError:
        return None
    return {(out.token_ids, str(out.stop_reason)): share for out, share in law.items()}


def _drafts(case: Case, rule: AcceptanceRule | None) -> dict[tuple[int, Nodes], float] | None:
    """The law of the first token and of the draft after it."""
    target, draft = pair_from(*case.rows)
    accepting = rule_for(case, rule)

    def run(randomness: Randomness) -> tuple[int, Nodes]:
        steps: list[Step] = []
        speculate(
            case.prompt,
            target,
            make_drafter(case.shape, draft),
            accepting,
            sampling=case.sampling,
            stopping=Stopping(max_new_tokens=2),
            randomness=randomness,
            observe=lambda step, committed: steps.append(step),
        )
        tree = steps[0].draft.tree
        return steps[0].sequence[-1], tuple(zip(tree.parents, tree.token_ids, strict=True))

    return _enumerated(run)


def _enumerated(run: Callable[[Randomness], Key]) -> dict[Key, float] | None:
    try:
        return dict(exact_law(run, _BUDGET))
    except EnumerationBudgetError:
        return None


def in_batch(
    case: Case,
    randomness: Randomness,
    stopping: Stopping,
    observe: Callable[[BatchStep], None] = ignore,
    make_draws: Callable[[Sequence[Any]], BatchDraws] = FollowedDraws,
) -> tuple[tuple[int, ...], str]:
    """One row, decoded as rows of a batch are."""
    target, draft = pair_from(*case.rows)

    def rows(model: TableLM) -> SeparateRows:
        return SeparateRows(lambda: TableLM(model._law, model.vocabulary_size))

    job = Job(prompt=case.prompt, sampling=case.sampling, stopping=stopping, randomness=randomness)
    [(_, output)] = speculate_all(
        [job],
        rows(target),
        make_batch_drafter(case.shape, rows(draft)),
        case.rule,
        make_draws=make_draws,
        most_rows=1,
        observe=observe,
    )
    return output.token_ids, str(output.stop_reason)


def _batch_outputs(case: Case) -> dict[tuple[tuple[int, ...], str], float] | None:
    return _enumerated(lambda randomness: in_batch(case, randomness, case.stopping))


class _FirstStepError(Exception):
    """The first step of a row is done."""


def _batch_step(case: Case) -> dict[tuple[int, ...], float] | None:
    """The law of the tokens that a first step may emit, drawn on by the stated law."""
    length = case.shape.deepest + 2

    def run(randomness: Randomness) -> tuple[int, ...]:
        found: list[int] = []

        def end(step: BatchStep) -> None:
            found.extend(step.rows[0].output)
            raise _FirstStepError

        with suppress(_FirstStepError):
            in_batch(case, randomness, Stopping(max_new_tokens=length), end)
        return tuple(found)

    law = _enumerated(run)
    if law is None:
        return None
    whole: dict[tuple[int, ...], float] = defaultdict(float)
    for emitted, share in law.items():
        for rest, chance in _drawn_on(case, emitted, length).items():
            whole[rest] += share * chance
    return whole


def _beginnings(case: Case) -> dict[tuple[int, ...], float]:
    """The target's law of as many tokens as a first step may emit at most."""
    return _drawn_on(case, (), case.shape.deepest + 2)


def _drawn_on(case: Case, emitted: tuple[int, ...], length: int) -> dict[tuple[int, ...], float]:
    if len(emitted) >= length:
        return {emitted: 1.0}
    law: dict[tuple[int, ...], float] = {}
    context = (*case.prompt, *emitted)
    weights = weights_of(case.rows[0])(context)
    p = stated_distribution(context, weights, case.sampling, prompt_length=len(case.prompt))
    for token, share in enumerate(p):
        if share:
            for whole, chance in _drawn_on(case, (*emitted, token), length).items():
                law[whole] = share * chance
    return law


def _batch_drafts(case: Case) -> dict[tuple[int, Nodes], float] | None:
    def run(randomness: Randomness) -> tuple[int, Nodes]:
        steps: list[BatchStep] = []
        output, _ = in_batch(case, randomness, Stopping(max_new_tokens=2), steps.append)
        tree = steps[0].trees[0]
        return output[0], tuple(zip(tree.parents, tree.token_ids, strict=True))

    return _enumerated(run)


def _proposed(case: Case) -> dict[tuple[int, Nodes], float]:
    p, q = (weights_of(row) for row in case.rows)

    def after(weights: Weights) -> Weights:
        return lambda context: stated_distribution(
            context, weights(context), case.sampling, prompt_length=len(case.prompt)
        )

    law: dict[tuple[int, Nodes], float] = defaultdict(float)
    for token, share in enumerate(after(p)(case.prompt)):
        if share:
            drafts = stated_drafts(case.shape, (*case.prompt, token), q, after(q), 1 << 20)
            for nodes, chance in drafts.items():
                law[token, nodes] += share * chance
    return law


def _compare(
    tally: Tally,
    case: Case,
    enumerated: Callable[[], Mapping[Key, float] | None],
    what: str,
    state: Callable[[Case], Mapping[Key, float]],
) -> None:
    """Compare two laws, and name the outcome of which they differ most."""
    try:
        found = enumerated()
    except Exception as error:
        # Whatever a part under test raises is a finding on it.
        tally.require(False, f"{what}: {type(error).__name__}: {error} ({case})")
        return
    if found is None:
        tally.skipped += 1
        return
    stated = state(case)
    outcomes = list(dict.fromkeys(itertools.chain(stated, found)))
    worst = max(outcomes, key=lambda key: abs(stated.get(key, 0.0) - found.get(key, 0.0)))
    right, wrong = stated.get(worst, 0.0), found.get(worst, 0.0)
    tally.require(
        abs(right - wrong) <= EXACT,
        f"{what} {worst} has probability {wrong:.6g} and should have {right:.6g} ({case})",
        places=len(outcomes),
    )
