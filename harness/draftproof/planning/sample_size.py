"""How many prompts a domain needs, from the spread between the prompts of a pilot.

A change is planned for the test that judges it (`draftproof.gate.change.ChangeTest`), and the width
of an interval for the interval that reports print (`draftproof.statistics.bootstrap`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from draftproof.errors import UsageError, unknown_value
from draftproof.gate.change import ChangeTest
from draftproof.gate.comparison import paired_sums
from draftproof.gate.expression import ALIASES, RATIOS, Gate, parse_gate
from draftproof.gate.judging import LEVEL, detectable, failing_level, fewest_prompts
from draftproof.gate.measured import MeasuredRun
from draftproof.gate.paired import redrawn
from draftproof.planning.pilot import Pilot
from draftproof.statistics.resampling import Resampling, resampled_totals
from draftproof.statistics.small_samples import degrees_of_freedom, heaviest_share
from draftproof.statistics.studentized import moments

FEWEST_PILOT = 20
"""Prompts of a domain from which a plan is made: the variance of so many is known to about a third
of itself (√(2 ÷ 19)), and the number of prompts is as its variance."""
FEWEST_DEGREES = 9.0
"""Degrees of freedom that the prompts' unequal weights must leave."""
MOST_PROMPTS = 100_000_000
"""More prompts than this are not planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What the run is to show.

    Attributes:
        metric: A key of `draftproof.gate.expression.RATIOS`.
        change: The change beyond the margin that is to be seen; NaN where a width is asked for.
        width: From one end of the interval to the other; NaN where a change is asked for.
        relative: Whether the two are shares of the figure.
        gate: What judges the change; None where a width is asked for.
        power: The chance of seeing it.
        alpha: Level of all domains' gates together.
    """

    metric: str
    change: float
    width: float
    relative: bool
    gate: Gate | None
    power: float
    alpha: float

    @property
    def runs(self) -> int:
        """Runs that are needed: a change is one between two."""
        return 1 if self.gate is None else 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainPlan:
    """The prompts that a domain needs.

    Attributes:
        domain: Its name.
        pilot: Prompts of the pilot that carry the figure (in either run, where there are two).
        value: The figure in the pilot.
        spread: Standard deviation over prompts, by linearisation, of the figure or of the change:
            its standard error is this ÷ √prompts. In the unit of the aim.
        prompts: Prompts that must be measured.
        low: Lower end of the 95% interval of `prompts`, over pilots resampled from this one.
        high: Upper end.
        started: Prompts to start with, so that as many are left after cases that end in an error.
        failing_share: Share of cases that are expected to.
        by_test: Whether it is the test that needs so many, and not the change.
    """

    domain: str
    pilot: int
    value: float
    spread: float
    prompts: int
    low: int
    high: int
    started: int
    failing_share: float
    by_test: bool


def aim_of(
    metric: str,
    *,
    change: str | None,
    width: str | None,
    margin: str | None,
    power: float,
    alpha: float,
) -> Aim:
    """The aim that a command's words state.

    Args:
        metric: A name or an alias of a figure.
        change: The change that is to be seen, such as ``0.02`` or ``3%``; None for a width.
        width: The width of the interval, likewise.
        margin: How much the gate tolerates; None for 0.
        power: The chance of seeing the change.
        alpha: Level of all gates together.

    Raises:
        UsageError: One of them cannot be used.

    Example:
        >>> aim = aim_of("block_efficiency", change="5%", width=None, margin="1%", power=0.8,
        ...              alpha=0.05)
        >>> aim.gate.text, round(aim.change, 12)
        ('block_efficiency:-1%', 0.05)
    """
    name = ALIASES.get(metric, metric)
    if name not in RATIOS:
        raise unknown_value("--metric", metric, (*RATIOS, *ALIASES))
    if (change is None) == (width is None):
        raise UsageError(
            "draftproof plan: what is the run to show? Give one of --change SIZE (a change between "
            "two runs) and --width SIZE (of the 95% interval of a figure), such as 0.02 or 3%"
        )
    if not 0.5 <= power < 1:
        raise UsageError(f"--power: {power:g} is not a chance from 0.5 to below 1")
    if not 0 < alpha < 1:
        raise UsageError(f"--alpha: {alpha:g} is not between 0 and 1")
    if width is not None:
        if margin is not None:
            raise UsageError("--margin is of a change: give --change, or leave it out")
        size, relative = _size("--width", width)
        return Aim(metric=name, change=math.nan, width=size, relative=relative, gate=None,
                   power=power, alpha=alpha)  # fmt: skip
    assert change is not None
    size, relative = _size("--change", change)
    tolerated = 0.0
    if margin is not None:
        tolerated, of_margin = _size("--margin", margin, least=0.0)
        if of_margin is not relative:
            raise UsageError("--margin and --change: give both with % or both without")
        if tolerated >= size:
            raise UsageError(
                f"--change: {change} is within the margin of {margin}, where nothing is to be "
                "seen; give a larger change"
            )
    gate = parse_gate(f"{name}:-{margin if margin is not None else '0%' if relative else '0'}")
    return Aim(metric=name, change=size, width=math.nan, relative=relative, gate=gate, power=power,
               alpha=alpha)  # fmt: skip


def domain_plans(pilot: Pilot, aim: Aim) -> list[DomainPlan]:
    """The prompts that each domain of a pilot needs.

    The later run is taken to differ from the earlier one by the same change in every prompt, and
    its prompts to spread as the pilot's do. Without a second run, the two are taken to agree on a
    prompt no more than on different prompts.

    Raises:
        UsageError: A domain of the pilot says too little to plan from.
    """
    return [_plan(pilot, aim, domain) for domain in pilot.domains]


def prompts_for_change(spread: float, aim: Aim, tests: int) -> int:
    """The fewest prompts at which the change is seen with the power that is asked for.

    Args:
        spread: Standard deviation of the change over prompts.
        aim: The change, its margin, level and power.
        tests: Gates that are judged together (Holm).

    Raises:
        UsageError: The level is below what the test can show at any number of prompts, or more
            than `MOST_PROMPTS` are needed.
    """
    assert aim.gate is not None
    level = failing_level(aim.gate, aim.alpha, tests)
    fewest = fewest_prompts(level)
    if fewest is None:
        raise UsageError(
            f"--alpha: {tests} gates at {aim.alpha:g} together ask for p-values below what the "
            "test can show; give a larger --alpha, or fewer --domain"
        )
    room = aim.change - min(aim.gate.fall, aim.gate.rise)
    return _fewest(
        lambda n: detectable(spread / math.sqrt(n), n, level, aim.power) <= room, start=fewest
    )


def prompts_for_width(spread: float, weights: np.ndarray, width: float) -> int:
    """The fewest prompts at which the 95% interval of a figure is no wider.

    Args:
        spread: Standard deviation of the figure over prompts.
        weights: ``[prompts]`` the pilot's denominators: with unequal ones, intervals are wider.
        width: From end to end.

    Raises:
        UsageError: More than `MOST_PROMPTS` are needed.
    """
    each = (degrees_of_freedom([weights]) + 1) / np.count_nonzero(weights)

    def is_enough(n: int) -> bool:
        quantile = float(stdtrit(max(each * n - 1, 1.0), (1 + LEVEL) / 2))
        return 2 * quantile * spread / math.sqrt(n) <= width

    return _fewest(is_enough, start=3)


def _plan(pilot: Pilot, aim: Aim, domain: str) -> DomainPlan:
    paired = pilot.again is not None and aim.gate is not None
    carried = _of_two(pilot, aim, domain) if paired else _of_one(pilot.measured, aim, domain)
    tests = len(pilot.domains)

    def needed(spread: float) -> int:
        if aim.gate is None:
            return prompts_for_width(spread, carried.weights, aim.width)
        return prompts_for_change(spread, aim, tests)

    prompts = needed(carried.spread)
    low, high = (
        float(np.quantile(carried.resampled, tail, method="inverted_cdf"))
        for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    )
    failing = pilot.failing_share(domain)
    return DomainPlan(
        domain=domain,
        pilot=len(carried.weights),
        value=carried.value,
        spread=carried.spread,
        prompts=prompts,
        low=min(prompts, needed(low)),
        high=max(prompts, needed(high)),
        started=math.ceil(prompts / (1 - failing)),
        failing_share=failing,
        by_test=prompts == needed(0.0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """How a figure, or its change, differs between the prompts of a domain.

    Attributes:
        weights: ``[prompts]`` the denominators.
        value: The figure.
        spread: Its standard deviation over prompts.
        resampled: ``[resamples]`` the same of the pilot's prompts drawn anew.
    """

    weights: np.ndarray
    value: float
    spread: float
    resampled: np.ndarray


def _of_one(run: MeasuredRun, aim: Aim, domain: str) -> _Spread:
    """Of one run's figure; of the change between two such runs, where a change is planned."""
    ratio = RATIOS[aim.metric]
    rows = np.array([own == domain for own in run.domains], bool)
    above, below = run.totals[ratio.numerator][rows], run.totals[ratio.denominator][rows]
    above, below = above[below > 0], below[below > 0]
    _require_enough(below, aim, domain)
    columns = np.stack([above, below, above**2, above * below, below**2], axis=1)
    count = len(columns)
    own = moments(columns.sum(axis=0)[None], count).of(0)
    drawn = moments(resampled_totals(columns, domain, Resampling()), count).of(0)
    value = float(own.ratio[0])
    unit = (value if aim.relative else 1.0) / math.sqrt(aim.runs)
    if aim.relative and value == 0:
        raise UsageError(
            f"{domain}: the figure is 0, of which no change is a share; give a size without %"
        )
    found = math.sqrt(float(own.variance[0]) * count) / unit
    if found == 0:
        raise UsageError(
            f"{domain}: the pilot's {count} prompts all have the same figure, which does not say "
            "how far others may be from them; give a pilot of more prompts, or another --metric"
        )
    again = np.sqrt(drawn.variance * count) / unit
    return _Spread(weights=below, value=value, spread=found, resampled=again[np.isfinite(again)])


def _of_two(pilot: Pilot, aim: Aim, domain: str) -> _Spread:
    """Of the change between the pilot's two runs, prompt by prompt."""
    run, again = pilot.measured, pilot.again
    assert again is not None
    both = set(again.case_ids)
    cases = [
        case_id
        for case_id, own in zip(run.case_ids, run.domains, strict=True)
        if own == domain and case_id in both
    ]
    sums = paired_sums(aim.metric, run, again, cases).carrying
    weights = np.maximum(sums.denominator_before, sums.denominator_now)
    _require_enough(weights, aim, domain)
    count = sums.prompts
    spread = ChangeTest(sums, relative=aim.relative).error * math.sqrt(count)
    if math.isnan(spread):
        raise UsageError(
            f"{domain}: the two runs have no change of this figure to plan from; give a size "
            "without %, or another --metric"
        )
    drawn, unit = redrawn(sums), 1.0
    if aim.relative:
        share = sums.now / sums.before
        drawn, unit = drawn.moved(share - 1, relative=True), sums.before / share
    resampled = drawn.error(count) * math.sqrt(count) / unit
    return _Spread(
        weights=weights,
        value=sums.before,
        spread=spread,
        resampled=resampled[np.isfinite(resampled)],
    )


def _require_enough(weights: np.ndarray, aim: Aim, domain: str) -> None:
    """Refuse a pilot that says too little of how prompts differ.

    Raises:
        UsageError: Says how many prompts it has, and how many it needs.
    """
    if not len(weights):
        raise UsageError(
            f"{domain}: no prompt of the pilot has {aim.metric}: {RATIOS[aim.metric].absent}"
        )
    if len(weights) < FEWEST_PILOT:
        raise UsageError(
            f"{domain}: the pilot has {len(weights)} prompts with {aim.metric}, and how much "
            f"prompts differ is not known from fewer than {FEWEST_PILOT}; run it on more, or leave "
            "the domain out (--domain)"
        )
    if degrees_of_freedom([weights]) < FEWEST_DEGREES:
        raise UsageError(
            f"{domain}: one prompt of the pilot has {heaviest_share([weights]):.0%} of all "
            f"observations of {aim.metric}, so that {len(weights)} prompts say little of how "
            "others differ; run it on more"
        )


def _fewest(is_enough: Callable[[int], bool], start: int) -> int:
    """The least number from `start` on that is enough, where every larger one is too."""
    if is_enough(start):
        return start
    low, high = start, 2 * start
    while not is_enough(high):
        if high > MOST_PROMPTS:
            raise UsageError(
                f"more than {MOST_PROMPTS:,} prompts a domain would be needed; plan for a larger "
                "--change or --width"
            )
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _size(option: str, text: str, least: float | None = None) -> tuple[float, bool]:
    """A size and whether it is a share."""
    percent = text.strip().endswith("%")
    try:
        value = float(text.strip().rstrip("%"))
    except ValueError:
        value = math.nan
    value = value / 100 if percent else value
    if not math.isfinite(value) or value < 0 or (value == 0 and least is None):
        raise UsageError(f"{option}: '{text}' is not a size above 0; give for example 0.02 or 3%")
    if percent and value >= 1:
        raise UsageError(f"{option}: {text} of a figure leaves nothing; give less than 100%")
    return value, percent
