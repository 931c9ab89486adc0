"""The exact law of an output: production code, enumerated, for models that are small enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from draftproof.acceptance.protocol import Acceptance, AcceptanceRule, Distributions
from draftproof.config import Sampling
from draftproof.decoding import (
    LawFactory,
    Output,
    draw_first,
    plain_decode,
    take_step,
    within_context,
)
from draftproof.drafting.protocol import Draft, Drafter
from draftproof.enumeration import DEFAULT_BUDGET, enumerate_branches, exact_law
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Randomness
from draftproof.sampling import TokenLaw
from draftproof.stopping import Stopping


def plain_law(
    prompt: Sequence[int], target: CausalLM, *, sampling: Sampling, stopping: Stopping
) -> dict[Output, float]:
    """The exact probability of every output of `plain_decode`.

    Args:
        prompt: Token ids.
        target: A model with few ids, such as a `TableLM`.
        sampling: Temperature and filters.
        stopping: Ends outputs after few tokens.
    """
    return exact_law(
        lambda randomness: plain_decode(
            prompt, target, sampling=sampling, stopping=stopping, randomness=randomness
        )
    )


def speculative_law(
    prompt: Sequence[int],
    target: CausalLM,
    drafter: Drafter,
    rule: AcceptanceRule,
    *,
    sampling: Sampling,
    stopping: Stopping,
    budget: int = DEFAULT_BUDGET,
    make_law: LawFactory = TokenLaw,
) -> dict[Output, float]:
    """The exact probability of every output of `speculate`.

    Steps that start from the same output are enumerated once: what a step does depends on the
    tokens so far and on nothing else. So a long output costs no more than its distinct prefixes.

    Args:
        prompt: Token ids.
        target: A model with few ids, such as a `TableLM`.
        drafter: Proposes.
        rule: Decides what is kept.
        sampling: Temperature and filters.
        stopping: Ends outputs after few tokens.
        budget: The most branches of one step's draft, and of accepting one draft.
        make_law: As for `speculate`.

    Raises:
        EnumerationBudgetError: A step has more branches than the budget.
    """
    stopping = within_context(stopping, prompt, target)
    law = make_law(sampling, len(prompt), stopping.stop_token_ids)
    ended: dict[Output, float] = defaultdict(float)
    going: dict[tuple[int, ...], float] = defaultdict(float)

    def spread(
        output: tuple[int, ...],
        probability: float,
        emitted_law: Mapping[tuple[int, ...], float],
    ) -> None:
        for emitted, share in emitted_law.items():
            committed, stop_reason = stopping.cut(output, emitted)
            grown = (*output, *committed)
            if stop_reason is None:
                going[grown] += probability * share
            else:
                ended[Output(grown, stop_reason)] += probability * share

    def first(randomness: Randomness) -> tuple[int, ...]:
        return (draw_first(prompt, target, drafter, law, randomness),)

    spread((), 1.0, exact_law(first, budget))
    while going:
        output = min(going, key=len)
        emitted_law = step_law((*prompt, *output), target, drafter, rule, law=law, budget=budget)
        spread(output, going.pop(output), emitted_law)
    return dict(ended)


def step_law(
    sequence: Sequence[int],
    target: CausalLM,
    drafter: Drafter,
    rule: AcceptanceRule,
    *,
    law: TokenLaw,
    budget: int = DEFAULT_BUDGET,
) -> dict[tuple[int, ...], float]:
    """The exact probability of everything that one step can emit.

    Every draft is enumerated, and for each of them every acceptance.

    Args:
        sequence: Prompt and output so far; the last token is the root.
        target: Set to the tokens before the root, in every branch.
        drafter: Started anew with the tokens before the root, in every branch.
        rule: Decides what is kept.
        law: What tokens are drawn from, given logits.
        budget: The most branches of the draft, and of accepting one draft.

    Raises:
        EnumerationBudgetError: There are more branches than the budget.
    """

    def run(randomness: Randomness) -> tuple[tuple[tuple[int, ...], float], ...]:
        target.reset()
        target.advance(sequence[:-1])
        drafter.start(sequence[:-1])
        every = _EveryAcceptance(rule, budget)
        take_step(sequence, target, drafter, every, law=law, randomness=randomness)
        return tuple(every.emitted.items())

    emitted_law: dict[tuple[int, ...], float] = defaultdict(float)
    for emitted_after_draft, probability in enumerate_branches(run, budget):
        for emitted, share in emitted_after_draft:
            emitted_law[emitted] += probability * share
    return dict(emitted_law)


class _EveryAcceptance:
    """Stands in for a rule in a step: every acceptance of the draft at hand, not one of them.

    So a draft is made and verified once, not once for each way of accepting it.

    Args:
        rule: Is enumerated.
        budget: The most branches.
    """

    def __init__(self, rule: AcceptanceRule, budget: int) -> None:
        self.name = rule.name
        self.emitted: dict[tuple[int, ...], float] = defaultdict(float)
        self._rule = rule
        self._budget = budget

    def accept(self, draft: Draft, target: Distributions, randomness: Randomness) -> Acceptance:
        law = exact_law(lambda branch: self._rule.accept(draft, target, branch), self._budget)
        for kept, probability in law.items():
            self.emitted[(*draft.tree.tokens(kept.path), kept.extra_token)] += probability
        return next(iter(law))


def largest_difference(one: Mapping[Output, float], other: Mapping[Output, float]) -> float:
    """The largest difference of two laws' probabilities of one output.

    Example:
        >>> from draftproof.stopping import StopReason
        >>> a, b = Output((1,), StopReason.LENGTH), Output((2,), StopReason.LENGTH)
        >>> largest_difference({a: 1.0}, {a: 0.75, b: 0.25})
        0.25
    """
    outcomes = one.keys() | other.keys()
    return max(abs(one.get(outcome, 0.0) - other.get(outcome, 0.0)) for outcome in outcomes)


def accepted_length_law(
    sequence: Sequence[int],
    target: CausalLM,
    drafter: Drafter,
    rule: AcceptanceRule,
    *,
    law: TokenLaw,
    budget: int = DEFAULT_BUDGET,
) -> dict[int, float]:
    """The exact probability of every accepted length of one step; arguments as for `step_law`.

    Raises:
        EnumerationBudgetError: The step has more branches than the budget.
    """
    lengths: dict[int, float] = defaultdict(float)
    emitted_law = step_law(sequence, target, drafter, rule, law=law, budget=budget)
    for emitted, probability in emitted_law.items():
        lengths[len(emitted) - 1] += probability
    return dict(lengths)
