"""The most that any acceptance rule could keep: optimal transport between drafts and the target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import lil_matrix

from draftproof.laws import ProposalLaw

Law = Callable[[tuple[int, ...]], Sequence[float]]
"""From the tokens so far to the next token's probabilities."""


def sibling_sets(q: Sequence[float], count: int, law: ProposalLaw) -> dict[tuple[int, ...], float]:
    """The probability of every sequence of siblings drawn from q.

    Args:
        q: ``[vocabulary]`` the draft model's distribution.
        count: Siblings; without replacement there are fewer where q has fewer tokens.
        law: With replacement, or without.

    Example:
        >>> sibling_sets([0.5, 0.5], 2, ProposalLaw.WITHOUT_REPLACEMENT)
        {(0, 1): 0.5, (1, 0): 0.5}
    """
    possible = [token for token, probability in enumerate(q) if probability > 0]
    if law is ProposalLaw.INDEPENDENT:
        return {
            drawn: math.prod(q[token] for token in drawn)
            for drawn in itertools.product(possible, repeat=count)
        }
    result = {}
    for drawn in itertools.permutations(possible, min(count, len(possible))):
        left, probability = math.fsum(q), 1.0
        for token in drawn:
            probability *= q[token] / left
            left -= q[token]
        result[drawn] = probability
    return result


def best_acceptance(p: Sequence[float], siblings: dict[tuple[int, ...], float]) -> float:
    """The largest probability with which one of the siblings can be kept, losslessly.

    The value of the optimal transport between the siblings' law and p that gains 1 where the
    emitted token is among the siblings; solved as a linear program. Mass that gains nothing may be
    left over, which changes no optimum and leaves room for rounding.

    Args:
        p: ``[vocabulary]`` the target's distribution.
        siblings: The law of what is proposed; see `sibling_sets`.

    Source:
        SpecTr, Sun et al. 2023 (arXiv 2310.15141), section 4 (optimal transport with membership
        cost).

    Example:
        >>> round(best_acceptance([0.5, 0.5], {(0,): 0.8, (1,): 0.2}), 9)
        0.7
    """
    drafts = list(siblings)
    variables = [(draft, token) for draft in range(len(drafts)) for token in range(len(p))]
    gain = np.array([float(token in drafts[draft]) for draft, token in variables])
    constraints = lil_matrix((len(drafts) + len(p), len(variables)))
    for column, (draft, token) in enumerate(variables):
        constraints[draft, column] = 1
        constraints[len(drafts) + token, column] = 1
    totals = np.array([*siblings.values(), *p])
    solved = linprog(-gain, A_ub=constraints.tocsr(), b_ub=totals, bounds=(0, None))
    if not solved.success:
        raise ArithmeticError(f"the transport problem was not solved: {solved.message}")
    return float(-solved.fun)


def best_acceptance_of_draws(
    p: Sequence[float], q: Sequence[float], count: int, law: ProposalLaw
) -> float:
    """`best_acceptance` for siblings drawn from q, without a linear program, for any vocabulary.

    By duality the optimum is 1 + min over sets H of tokens of p(H) − P(every sibling is in H), and
    the minimum is at one of the sets that take the tokens in the order of p/q. One draw gives
    Σ min(p, q), the overlap.

    Args:
        p: ``[vocabulary]`` the target's distribution.
        q: ``[vocabulary]`` the draft model's.
        count: Siblings; at most 2 without replacement.
        law: With replacement, or without.

    Raises:
        ValueError: More than two siblings without replacement.

    Source:
        Hu et al. 2025 (arXiv 2502.18779), on the dual of the transport problem and its solution
        for draws with and without replacement.

    Example:
        >>> round(best_acceptance_of_draws([0.5, 0.5], [0.8, 0.2], 1, ProposalLaw.INDEPENDENT), 9)
        0.7
    """
    target, draft = np.asarray(p, float), np.asarray(q, float)
    possible = np.flatnonzero(draft > 0)
    order = possible[np.argsort(target[possible] / draft[possible], kind="stable")]
    target, draft = target[order], draft[order]
    within = np.cumsum(draft)
    if law is ProposalLaw.INDEPENDENT:
        all_within = within**count
    elif count == 1 or len(order) == 1:
        all_within = within
    elif count == 2:
        others = draft.sum() - draft
        first, both = np.cumsum(draft / others), np.cumsum(draft**2 / others)
        all_within = within * first - both
    else:
        raise ValueError(f"{count} siblings without replacement: only up to 2 are solved")
    return float(1 + min(0.0, (np.cumsum(target) - all_within).min()))


def prefix_overlap(
    target: Law, draft: Law, context: tuple[int, ...], length: int, vocabulary: int
) -> float:
    """Σ min(P(x), Q(x)) over all continuations x of a length: no chain rule can keep more often.

    Args:
        target: The target's law.
        draft: The draft model's law.
        context: The tokens so far.
        length: Length of the continuations.
        vocabulary: Number of ids.

    Source:
        Sun et al. 2024 (arXiv 2403.10444), section 4: the probability of keeping a whole prefix is
        at most the overlap of its two joint laws.
    """
    total = 0.0
    for continuation in itertools.product(range(vocabulary), repeat=length):
        both = [1.0, 1.0]
        for index, token in enumerate(continuation):
            before = (*context, *continuation[:index])
            both = [both[0] * target(before)[token], both[1] * draft(before)[token]]
        total += min(both)
    return total
