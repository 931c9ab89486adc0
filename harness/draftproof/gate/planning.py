"""What gates can see, known before anything is run: the prompts needed, and the least change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.gate.comparison import scopes_of
from draftproof.gate.expression import IDENTICAL, OVERALL, RATIOS, SPEEDUP, Gate
from draftproof.gate.judging import (
    LEVEL,
    POWER,
    detectable,
    failing_level,
    fewest_prompts,
    unseen_kind,
)
from draftproof.gate.measured import MeasuredRun
from draftproof.gate.paired import DRAWS
from draftproof.gate.timing import fewest_to_bound
from draftproof.statistics.summary import in_domain_order

RARE = 0.1
"""A kind of prompt that is a larger share of a domain than this should not be missing unnoticed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one gate can see in one scope of a baseline.

    Attributes:
        gate: The condition.
        scope: A domain, or ``overall``.
        prompts: The baseline's prompts that carry the figure there.
        baseline: The figure; NaN where it does not exist.
        detectable: The least change that fails with a chance of `POWER`, margin included, in the
            gate's own unit; where the gate has a bound, the least distance from it. Infinite where
            there are too few prompts, NaN where it is not known (seconds).
        needed_margin: The least margin at which an unchanged engine passes with that chance.
        fewest: Prompts below which nothing can fail; None where no number is enough.
    """

    gate: Gate
    scope: str
    prompts: int
    baseline: float
    detectable: float
    needed_margin: float
    fewest: int | None


def plans(baseline: MeasuredRun, gates: Sequence[Gate], alpha: float) -> list[Plan]:
    """What each gate can see, from the spread between the baseline's prompts.

    The two runs are taken to agree on a prompt no more than on different prompts. Pairing can only
    do better, and runs of one greedy configuration pair exactly: there every change is seen.

    Args:
        baseline: The earlier run.
        gates: The conditions. Those on equality are left out: it needs no power.
        alpha: Level of all of them together.

    Raises:
        UsageError: A gate is about a domain that the baseline does not have.
    """
    applied = _applied(gates, in_domain_order(baseline.domains))
    return [_plan(baseline, gate, scope, alpha, len(applied)) for gate, scope in applied
            if gate.metric != IDENTICAL]  # fmt: skip


def plan_lines(found: Sequence[Plan]) -> list[str]:
    """A line a gate for the head of a run: the scope that sees least stands for the gate."""
    lines = []
    for gate in dict.fromkeys(plan.gate for plan in found):
        own = [plan for plan in found if plan.gate == gate]
        worst = max(own, key=lambda plan: (_is_blind(plan), plan.detectable, plan.scope))
        if sentence := _sentence(worst, len(own)):
            lines.append(f"gate {gate.text}: {sentence}")
    return lines


def undecidable_lines(gates: Sequence[Gate], prompts: Mapping[str, int], alpha: float) -> list[str]:
    """A line for each gate that so few prompts cannot fail somewhere.

    Args:
        gates: The conditions.
        prompts: How many prompts each domain has.
        alpha: Level of all gates together.

    Raises:
        UsageError: A gate is about a domain that is not there.
    """
    counts = {**prompts, OVERALL: sum(prompts.values())}
    applied = _applied(gates, in_domain_order(prompts))
    lines = []
    for gate in gates:
        if gate.metric == IDENTICAL:
            continue
        fewest = fewest_to_fail(gate, alpha, len(applied))
        few = [
            f"{scope} ({counts[scope]})"
            for other, scope in applied
            if other == gate and (fewest is None or counts[scope] < fewest)
        ]
        if few:
            lines.append(f"gate {gate.text}: cannot fail in {', '.join(few)}: {_needed(fewest)}")
    return lines


def fewest_to_fail(gate: Gate, alpha: float, tests: int) -> int | None:
    """Prompts without which a gate cannot fail; None where no number is enough.

    Args:
        gate: The condition.
        alpha: Level of all gates together.
        tests: How many of them there are, each domain counted.

    Example:
        >>> from draftproof.gate.expression import parse_gate
        >>> fewest_to_fail(parse_gate("acceptance_rate:-0.02"), 0.05, tests=4)
        8
    """
    level = failing_level(gate, alpha, tests)
    if gate.metric != SPEEDUP:
        return fewest_prompts(level)
    by_sign_test = math.ceil(-math.log2(level))
    return max(by_sign_test, fewest_to_bound(LEVEL)) if gate.needs_baseline else by_sign_test


def _applied(gates: Sequence[Gate], domains: Sequence[str]) -> list[tuple[Gate, str]]:
    return [(gate, scope) for gate in gates for scope in scopes_of(gate, domains)]


def _is_blind(plan: Plan) -> bool:
    return plan.fewest is None or plan.prompts < plan.fewest


def _needed(fewest: int | None) -> str:
    if fewest is not None:
        return f"at least {fewest} prompts are needed"
    return (
        f"so many gates at so small a level ask for p-values below what {DRAWS:,} exchanges can "
        "show; give fewer gates, or a larger --spec-alpha"
    )


def _sentence(plan: Plan, scopes: int) -> str:
    where = f"{plan.scope}, {plan.prompts} prompts"
    where = f"in the least sure of {scopes} domains ({where})" if scopes > 1 else f"({where})"
    if _is_blind(plan):
        return f"cannot fail {where}: {_needed(plan.fewest)}"
    if plan.gate.metric == SPEEDUP:
        return ""
    if plan.gate.relative and plan.baseline == 0:
        return f"cannot be judged {where}: the figure is 0, of which no change is a share; give " \
            "a margin without %"  # fmt: skip
    text = _seen(plan, where)
    kind = unseen_kind(plan.prompts)
    if kind > RARE:
        text += (
            f"; {plan.prompts} prompts may hold none of a kind that is {kind:.0%} of a domain, and "
            "what that kind does is then not seen"
        )
    return text


def _seen(plan: Plan, where: str) -> str:
    gate = plan.gate
    if gate.bound is not None:
        sign, beyond = (-1, "below") if math.isfinite(gate.fall) else (1, "above")
        edge = gate.bound + sign * plan.detectable
        return (
            f"a figure {beyond} {edge:.3f} fails with a chance of {POWER:.0%} {where}; it was "
            f"{plan.baseline:.3f}"
        )
    text = (
        f"a change of {_amount(gate, plan.detectable)} fails with a chance of {POWER:.0%} "
        f"{where}, or a smaller one where the runs pair closely"
    )
    margin = min(gate.fall, gate.rise)
    if plan.needed_margin > margin:
        text += (
            f"; unless they do, a margin below {_amount(gate, plan.needed_margin)} leaves "
            "unchanged engines inconclusive"
        )
    return text


def _amount(gate: Gate, amount: float) -> str:
    return f"{amount:.1%}" if gate.relative else f"{amount:.3f}"


def _plan(baseline: MeasuredRun, gate: Gate, scope: str, alpha: float, tests: int) -> Plan:
    inside = np.array([scope in (OVERALL, domain) for domain in baseline.domains], bool)
    fewest = fewest_to_fail(gate, alpha, tests)
    if gate.metric == SPEEDUP:
        return Plan(gate=gate, scope=scope, prompts=int(inside.sum()), baseline=math.nan,
                    detectable=math.nan, needed_margin=math.nan, fewest=fewest)  # fmt: skip
    ratio = RATIOS[gate.metric]
    above = baseline.totals[ratio.numerator][inside]
    below = baseline.totals[ratio.denominator][inside]
    above, below = above[below > 0], below[below > 0]
    prompts = len(below)
    level = failing_level(gate, alpha, tests)
    value = float(above.sum() / below.sum()) if prompts else math.nan
    error = _error(above, below, gate)
    margin = min(gate.fall, gate.rise)
    return Plan(
        gate=gate,
        scope=scope,
        prompts=prompts,
        baseline=value,
        detectable=margin + detectable(error, prompts, level),
        needed_margin=detectable(error, prompts, alpha),
        fewest=fewest,
    )


def _error(above: np.ndarray, below: np.ndarray, gate: Gate) -> float:
    """Standard error of the change between two runs whose prompts have nothing in common.

    Where the gate has a bound, that of the figure.
    """
    n = len(below)
    if n < 2:
        return math.inf
    value = above.sum() / below.sum()
    residuals = (above - value * below) * n / below.sum()
    runs = 2 if gate.needs_baseline else 1
    error = float(np.std(residuals, ddof=1) * math.sqrt(runs / n))
    return error / float(value) if gate.relative and value > 0 else error
