"""The smallest and the largest number that may decide a draw, where `<` for `<=` shows.

Enumeration follows branches, not numbers, and a seeded run never meets 0 or 1 − 2⁻⁵³. So every
combination of the two, by purpose, is given to the same parts and settings, on tables of which some
tokens are impossible, and on one whose draft model differs from the target by rounding alone: what
a rejection leaves there is noise.

Nor does enumeration see which numbers decide which token. So numbers from all over [0, 1) decide
the first token in turn, and every token must come as often as its probability says.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch

from draftproof.acceptance import AcceptanceRule
from draftproof.batch.decoding import BatchStep
from draftproof.batch.draws import AheadRandomness, SeededDraws
from draftproof.config import RunConfig
from draftproof.conformance import exact_checks
from draftproof.conformance.check_result import Finding, Status, Tally
from draftproof.conformance.exact_cases import Case, cases_of, own_cases, tables, weights_of
from draftproof.conformance.single_checks import conditions_met
from draftproof.conformance.subject import Subject
from draftproof.decoding import speculate
from draftproof.engines.own_parts import drafter_of
from draftproof.laws import ProposalLaw
from draftproof.lossless.stated_law import ends, stated_distribution
from draftproof.lossless.tables import Row, pair_from
from draftproof.randomness import BOUNDARY_DRAWS, Purpose, UniformRandomness
from draftproof.shapes import TreeShape
from draftproof.stopping import Stopping

_SHAPES = ("chain:2", "2x2", "sampled:2x2", "distinct:2x2")
_TOKENS = 5
_SETTINGS = 2
_SAME, _NEARLY, _IMPOSSIBLE = "the draft is the target", "rounding noise", "impossible tokens"
_SMALLEST, _LARGEST, _NOISE = "draws at 0", "at 1 − 2⁻⁵³", "drafts that differ by rounding alone"
_KEPT = "certain drafts met by the largest number"
_SPREAD = "laws that numbers in between decided"
CONDITIONS = (_SMALLEST, _LARGEST, _NOISE, _KEPT, _SPREAD)
_NUMBERS = 64
"""Numbers in between, at equal distances."""


class EdgeDraws(UniformRandomness):
    """Each purpose's draws are decided by one number, again and again.

    Args:
        numbers: By purpose.
    """

    def __init__(self, numbers: dict[Purpose, float]) -> None:
        super().__init__()
        self._numbers = numbers

    def uniform(self, purpose: Purpose) -> float:
        return self._numbers[purpose]


def edge_draws(subject: Subject) -> Finding:
    """Numbers decide tokens in proportion to the law; at 0 and 1 − 2⁻⁵³, nothing impossible."""
    reason = exact_checks.why_not_on_tables(subject)
    if reason:
        return Finding(status=Status.NOT_AVAILABLE, lines=(reason,))
    rule = exact_checks.rule_under_test(subject)
    tally = subject.tally("outputs that numbers at the edge decided")
    met: Counter[str] = Counter()
    is_ours = rule is None and subject.config.drafter is None
    spread: set[tuple[str, str]] = set()
    with torch.inference_mode():
        for case in _cases(subject, rule):
            ways: dict[str, Callable[[EdgeDraws], tuple[tuple[int, ...], str, bool]]] = {
                "": partial(_alone, case, rule)
            }
            if is_ours:
                ways["in a batch, "] = partial(_in_batch, case)
            law = case.table, str(case.sampling)
            if law not in spread:
                spread.add(law)
                for way, run in ways.items():
                    problem = _disproportion(case, run)
                    tally.require(not problem, f"{way}{problem} ({case})")
                    met[_SPREAD] += 1
            for (what, numbers), (way, run) in itertools.product(_combinations(), ways.items()):
                _judge(tally, case, f"{way}{what}", partial(run, EdgeDraws(numbers)), met, numbers)
    return tally.finding(
        *conditions_met(met, CONDITIONS), untried="no case has a rule that draws", **met
    )


def _cases(subject: Subject, rule: AcceptanceRule | None) -> Iterator[Case]:
    """Every shape with every rule, on a table and on two where drafts are the target's or nearly.

    The first setting that a shape has is a temperature alone, and the second a filter beside it.
    """
    shapes = exact_checks.shapes_of(subject, _SHAPES)
    place = exact_checks.rule_place(subject)
    seen: Counter[tuple[TreeShape, str]] = Counter()
    for case in own_cases(subject) or cases_of(shapes, rule, place=place):
        seen[case.shape, case.rule] += 1
        nth = seen[case.shape, case.rule]
        if case.sampling.greedy or (nth > _SETTINGS and case.drafter is None):
            continue
        case = replace(case, stopping=Stopping(max_new_tokens=_TOKENS))
        is_drawn = case.shape.law is not ProposalLaw.DETERMINISTIC and case.drafter is None
        if is_drawn and nth == 1:
            p = case.rows[0]
            yield replace(case, rows=(p, p), table=_SAME)
            yield replace(case, rows=(p, _nearly(p)), table=_NEARLY)
        elif nth == 1 or not is_drawn:
            yield case
        if is_drawn and nth > 1:
            # Tokens that one of the models cannot emit.
            yield replace(case, table=_IMPOSSIBLE, rows=dict(tables(3))[_IMPOSSIBLE])


def _nearly(p: Row) -> Row:
    """A row that differs from another in its last bits."""
    up, down = torch.nextafter(p, torch.ones_like(p)), torch.nextafter(p, torch.zeros_like(p))
    is_even = torch.arange(len(p)) % 2 == 0
    return torch.where(p > 0, torch.where(is_even, up, down), p)


def _combinations() -> Iterator[tuple[str, dict[Purpose, float]]]:
    for draft, accept, token in itertools.product(BOUNDARY_DRAWS, repeat=3):
        yield (
            f"with drafts drawn by {draft:g}, coins by {accept:g} and other tokens by {token:g}",
            {
                Purpose.DRAFT: draft,
                Purpose.ACCEPT: accept,
                Purpose.CORRECTION: token,
                Purpose.BONUS: token,
                Purpose.PLAIN: token,
            },
        )


def _judge(
    tally: Tally,
    case: Case,
    what: str,
    run: Callable[[], tuple[tuple[int, ...], str, bool]],
    met: Counter[str],
    numbers: dict[Purpose, float],
) -> None:
    for name, number in zip((_SMALLEST, _LARGEST), BOUNDARY_DRAWS, strict=True):
        met[name] += number in numbers.values()
    met[_NOISE] += case.table == _NEARLY
    try:
        output, reason, is_whole = run()
    except Exception as error:
        # Whatever a part under test raises is a finding on it.
        tally.require(False, f"{what}: {type(error).__name__}: {error} ({case})")
        return
    problem = _wrong(case, output, reason)
    is_certain = case.table == _SAME and numbers[Purpose.ACCEPT] > 0
    met[_KEPT] += is_certain
    if is_certain and not problem and not is_whole:
        problem = "a draft that the target is certain to keep was rejected"
    tally.require(not problem, f"{what}: {problem} ({case})")


def _wrong(case: Case, output: tuple[int, ...], reason: str) -> str:
    """What is impossible of an output; empty if nothing is."""
    weights = weights_of(case.rows[0])
    for index, token in enumerate(output):
        context = (*case.prompt, *output[:index])
        law = stated_distribution(
            context, weights(context), case.sampling, prompt_length=len(case.prompt)
        )
        if not 0 <= token < len(law) or not law[token]:
            return f"token {index} of {list(output)} is {token}, which has no probability there"
    end = ends(output, max_new_tokens=case.stopping.max_new_tokens) if output else None
    return "" if end == reason else f"{list(output)} ends by {reason}, and should by {end}"


def _disproportion(
    case: Case, run: Callable[[EdgeDraws], tuple[tuple[int, ...], str, bool]]
) -> str:
    """A token that numbers at equal distances decide too often or too seldom; empty if none.

    An interval as long as a probability holds as many of them as its share of all, give or take
    one.
    """
    found: Counter[int] = Counter()
    for index in range(_NUMBERS):
        number = (index + 0.5) / _NUMBERS
        try:
            output, _, _ = run(EdgeDraws(dict.fromkeys(Purpose, number)))
        except Exception as error:
            return f"with draws by {number:g}: {type(error).__name__}: {error}"
        found[output[0]] += 1
    law = stated_distribution(
        case.prompt,
        weights_of(case.rows[0])(case.prompt),
        case.sampling,
        prompt_length=len(case.prompt),
    )
    for token, probability in enumerate(law):
        if abs(found[token] - probability * _NUMBERS) > 1 + 1e-9:
            return (
                f"of {_NUMBERS} numbers at equal distances in [0, 1), {found[token]} make the "
                f"first token {token}, whose probability is {probability:.3f}"
            )
    return ""


def _alone(
    case: Case, rule: AcceptanceRule | None, randomness: EdgeDraws
) -> tuple[tuple[int, ...], str, bool]:
    target, draft = pair_from(*case.rows)
    drafter = drafter_of(RunConfig(tree=case.shape, drafter=case.drafter), draft)
    whole = []
    output = speculate(
        case.prompt,
        target,
        drafter,
        exact_checks.rule_for(case, rule, None if case.drafter is None else drafter),
        sampling=case.sampling,
        stopping=case.stopping,
        randomness=randomness,
        observe=lambda step, _: whole.append(len(step.acceptance.path) == step.draft.tree.depth),
    )
    return output.token_ids, str(output.stop_reason), all(whole)


def _in_batch(case: Case, randomness: EdgeDraws) -> tuple[tuple[int, ...], str, bool]:
    whole: list[bool] = []

    def observe(step: BatchStep) -> None:
        pairs = zip(step.acceptances, step.trees, strict=True)
        whole.extend(len(kept.path) == tree.depth for kept, tree in pairs)

    output, reason = exact_checks.in_batch(
        case,
        AheadRandomness(randomness),
        case.stopping,
        observe,
        make_draws=partial(SeededDraws, device=torch.device("cpu")),
    )
    return output, reason, all(whole)
