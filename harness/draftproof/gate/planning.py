"""What gates can see on a baseline, known before anything is run: the minimum detectable change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from draftproof.gate.comparison import scopes_of
from draftproof.gate.expression import IDENTICAL, OVERALL, RATIOS, SPEEDUP, Gate
from draftproof.gate.judging import POWER, detectable, failing_level, fewest_prompts
from draftproof.gate.measured import MeasuredRun
from draftproof.statistics.summary import in_domain_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one gate can see in one scope of a baseline.

    Attributes:
        gate: The condition.
        scope: A domain, or ``overall``.
        prompts: The baseline's prompts that carry the figure there.
        baseline: The figure; NaN where it does not exist.
        detectable: The least change that fails with a chance of `POWER`, margin included, in the
            gate's own unit; infinite where there are too few prompts.
        needed_margin: The least margin at which an unchanged engine passes with that chance.
        fewest: Prompts below which nothing can fail.
    """

    gate: Gate
    scope: str
    prompts: int
    baseline: float
    detectable: float
    needed_margin: float
    fewest: int


def plans(baseline: MeasuredRun, gates: Sequence[Gate], alpha: float) -> list[Plan]:
    """What each gate can see, from the spread between the baseline's prompts.

    The two runs are taken to agree on a prompt no more than on different prompts. Pairing can only
    do better, and runs of one greedy configuration pair exactly: there every change is seen.

    Args:
        baseline: The earlier run.
        gates: The conditions. Those on seconds and on equality are left out: noise of the clock
            is not in a baseline, and equality needs no power.
        alpha: Level of all of them together.

    Raises:
        UsageError: A gate is about a domain that the baseline does not have.
    """
    domains = in_domain_order(baseline.domains)
    applied = [(gate, scope) for gate in gates for scope in scopes_of(gate, domains)]
    return [
        _plan(baseline, gate, scope, alpha, len(applied))
        for gate, scope in applied
        if gate.metric not in (SPEEDUP, IDENTICAL)
    ]


def plan_lines(found: Sequence[Plan]) -> list[str]:
    """A line a gate for the head of a run: the scope that sees least stands for the gate."""
    lines = []
    for gate in dict.fromkeys(plan.gate for plan in found):
        own = [plan for plan in found if plan.gate == gate]
        worst = max(own, key=lambda plan: (plan.detectable, plan.scope))
        lines.append(f"gate {gate.text}: {_sentence(worst, len(own))}")
    return lines


def _sentence(plan: Plan, scopes: int) -> str:
    where = f"{plan.scope}, {plan.prompts} prompts"
    where = f"in the least sure of {scopes} domains ({where})" if scopes > 1 else f"({where})"
    if math.isinf(plan.detectable):
        return f"cannot fail {where}: at least {plan.fewest} prompts are needed"
    text = (
        f"a change of {_amount(plan.gate, plan.detectable)} fails with a chance of {POWER:.0%} "
        f"{where}, or a smaller one where the runs pair closely"
    )
    margin = min(plan.gate.fall, plan.gate.rise)
    if plan.needed_margin > margin:
        text += (
            f"; unless they do, a margin below {_amount(plan.gate, plan.needed_margin)} leaves "
            "unchanged engines inconclusive"
        )
    return text


def _amount(gate: Gate, amount: float) -> str:
    return f"{amount:.1%}" if gate.relative else f"{amount:.3f}"


def _plan(baseline: MeasuredRun, gate: Gate, scope: str, alpha: float, tests: int) -> Plan:
    ratio = RATIOS[gate.metric]
    inside = [scope in (OVERALL, domain) for domain in baseline.domains]
    above = baseline.totals[ratio.numerator][inside]
    below = baseline.totals[ratio.denominator][inside]
    above, below = above[below > 0], below[below > 0]
    prompts = len(below)
    level = failing_level(gate, alpha, tests)
    value = float(above.sum() / below.sum()) if prompts else math.nan
    error = _unpaired_error(above, below, relative=gate.relative)
    margin = min(gate.fall, gate.rise)
    return Plan(
        gate=gate,
        scope=scope,
        prompts=prompts,
        baseline=value,
        detectable=margin + detectable(error, prompts, level),
        needed_margin=detectable(error, prompts, alpha),
        fewest=fewest_prompts(level),
    )


def _unpaired_error(above: np.ndarray, below: np.ndarray, *, relative: bool) -> float:
    """Standard error of the change between two runs whose prompts have nothing in common."""
    n = len(below)
    if n < 2:
        return math.inf
    value = above.sum() / below.sum()
    residuals = (above - value * below) * n / below.sum()
    error = float(np.std(residuals, ddof=1) * math.sqrt(2 / n))
    return error / float(value) if relative and value > 0 else error
