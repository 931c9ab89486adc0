"""What ``--spec-fail`` says: which figure, of which domain, may change by how much, or be what."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from draftproof.errors import UsageError, unknown_value
from draftproof.shapes import KAryShape, StaticShape, TreeShape
from draftproof.statistics.metrics import METRICS, RatioMetric

OVERALL = "overall"
EVERY_DOMAIN = ""
SPEEDUP = "speedup"
IDENTICAL = "identical"

RATIOS: dict[str, RatioMetric] = {metric.name: metric for metric in METRICS}
ALIASES = {"acceptance_rate": "acceptance_rate_drafted"}
ONE_WAY = ("block_efficiency", SPEEDUP)
"""Figures of which only a fall is bad. All others measure acceptance, and a rise of acceptance that
nobody intended is as much a sign of a fault as a fall: a wrong ratio accepts more."""

_FORM = re.compile(
    r"(?P<metric>[a-z_]+)(@(?P<scope>[^:@]+))?"
    r"(:(?P<way>>=|<=|≥|≤|\+-|[-+±])(?P<size>[^%]+)(?P<percent>%?))?"
)
_EXAMPLES = (
    "'acceptance_rate:-0.02', 'block_efficiency@chat:-3%', 'speedup@overall:-10%' (a change), or "
    "'block_efficiency:>=1.2' (the figure itself)"
)
_BOUNDS = {">=": ">=", "≥": ">=", "<=": "<=", "≤": "<="}
_SPEEDUP_RANGE = (0.0, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition on a change, or on a figure.

    Attributes:
        text: The expression, with the metric's full name.
        metric: A name of `RATIOS`, `SPEEDUP`, or `IDENTICAL`.
        scope: A domain, `OVERALL`, or `EVERY_DOMAIN`: one condition for each domain.
        fall: How much the figure may fall, ≥ 0; infinite where a fall is not watched.
        rise: How much it may rise, ≥ 0; infinite where a rise is not watched.
        relative: Whether the two are shares of the earlier figure.
        bound: A floor or ceiling of the figure itself: the change is then from the bound, and no
            earlier run is needed. None for a gate on a change.
    """

    text: str
    metric: str
    scope: str
    fall: float
    rise: float
    relative: bool
    bound: float | None = None

    @property
    def needs_baseline(self) -> bool:
        """Whether it is about a change between two runs."""
        return self.bound is None

    @property
    def both_ways(self) -> bool:
        """Whether a rise is watched as well as a fall."""
        return math.isfinite(self.rise) and math.isfinite(self.fall)


def parse_gate(text: str) -> Gate:
    """The gate of an expression ``METRIC[@SCOPE]:±MARGIN[%]`` or ``METRIC[@SCOPE]:>=BOUND``.

    Args:
        text: For example ``acceptance_rate:-0.02``; ``identical`` alone asks for equality.

    Raises:
        UsageError: It cannot be read, the metric is unknown, the margin has no meaning, or the
            bound is one that no value can miss or reach.

    Example:
        >>> gate = parse_gate("acceptance_rate:-0.02")
        >>> gate.metric, gate.fall, gate.rise
        ('acceptance_rate_drafted', 0.02, 0.02)
        >>> gate = parse_gate("block_efficiency@chat:-3%")
        >>> gate.scope, gate.fall, gate.rise, gate.relative
        ('chat', 0.03, inf, True)
    """
    option = f"--spec-fail '{text}'"
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{option}: cannot read it; give METRIC[@SCOPE]:-MARGIN or METRIC[@SCOPE]:>=BOUND, as "
            f"{_EXAMPLES}"
        )
    names = (*RATIOS, *ALIASES, SPEEDUP, IDENTICAL)
    if match["metric"] not in names:
        raise unknown_value(f"{option}: metric", match["metric"], names)
    metric = ALIASES.get(match["metric"], match["metric"])
    scope = match["scope"] or (OVERALL if metric in (SPEEDUP, IDENTICAL) else EVERY_DOMAIN)
    at_scope = f"{metric}@{scope}" if match["scope"] else metric
    if metric == IDENTICAL:
        if match["way"] or match["scope"]:
            raise UsageError(f"{option}: 'identical' is about every node; it takes no margin")
        return Gate(text=metric, metric=metric, scope=scope, fall=0.0, rise=0.0, relative=False)
    if match["way"] is None:
        raise UsageError(f"{option}: how much may it change? Give a margin, as {_EXAMPLES}")
    if match["way"] in _BOUNDS:
        return _bounded(option, metric, scope, at_scope, match)
    size = _size(option, match["size"], percent=bool(match["percent"]))
    if metric == SPEEDUP and not match["percent"]:
        raise UsageError(f"{option}: speedup changes by a share; give for example speedup:-10%")
    if metric == SPEEDUP and size == 0:
        raise UsageError(
            f"{option}: seconds are noisy, and noise is always larger than a margin of 0; give for "
            "example speedup:-10%"
        )
    fall, rise = _ways(metric, match["way"], size)
    return Gate(
        text=f"{at_scope}:{match['way']}{match['size']}{match['percent']}",
        metric=metric,
        scope=scope,
        fall=fall,
        rise=rise,
        relative=bool(match["percent"]),
    )


def _bounded(option: str, metric: str, scope: str, at_scope: str, match: re.Match[str]) -> Gate:
    """A floor or a ceiling."""
    way = _BOUNDS[match["way"]]
    if match["percent"]:
        raise UsageError(
            f"{option}: a bound is a value of the figure itself, not a share of an earlier one; "
            "give it without %, for example 0.3 for 30%"
        )
    bound = _number(option, match["size"])
    least, most = RATIOS[metric].bounds(math.inf) if metric in RATIOS else _SPEEDUP_RANGE
    if not least <= bound <= most or math.isinf(bound):
        raise UsageError(f"{option}: {metric} lies between {least:g} and {most:g}")
    if bound == (least if way == ">=" else most):
        raise UsageError(
            f"{option}: {metric} is never {'below' if way == '>=' else 'above'} {bound:g}, so this "
            "gate could not fail"
        )
    return Gate(
        text=f"{at_scope}:{way}{match['size']}",
        metric=metric,
        scope=scope,
        fall=0.0 if way == ">=" else math.inf,
        rise=0.0 if way == "<=" else math.inf,
        relative=False,
        bound=bound,
    )


def check_reach(gate: Gate, shape: TreeShape) -> None:
    """Refuse a bound that the figure cannot pass, or cannot miss, with drafts of a shape.

    Of a tree's nodes a step keeps one a level at most, so that its acceptance rate ÷ drafted is far
    below 1 however good the draft model is.

    Args:
        gate: The condition.
        shape: What every draft is.

    Raises:
        UsageError: Says what the figure is at most.

    Example:
        >>> from draftproof.shapes import parse_tree
        >>> check_reach(parse_gate("acceptance_rate:>=0.2"), parse_tree("3x2"))
        >>> check_reach(parse_gate("acceptance_rate:>=0.3"), parse_tree("chain:4"))
    """
    if gate.bound is None or gate.metric not in RATIOS:
        return
    depth = shape.deepest
    most = RATIOS[gate.metric].bounds(depth)[1]
    why = f"a draft of {shape} is {depth} deep at most"
    if gate.metric == "acceptance_rate_drafted" and shape.is_fixed:
        most = depth / shape.most_nodes
        why = f"of the {shape.most_nodes} nodes of a draft of {shape}, a step keeps {depth} at most"
    if gate.metric == "greedy_match" and isinstance(shape, KAryShape | StaticShape):
        parents = len({path[:-1] for path in shape.paths})
        most = parents / shape.most_nodes
        why = (
            f"siblings of {shape} are different tokens, of which one at most is the target's "
            f"argmax: of {shape.most_nodes} nodes, {parents}"
        )
    is_floor = math.isfinite(gate.fall)
    if gate.bound > most if is_floor else gate.bound >= most:
        by_nodes = gate.metric == "acceptance_rate_drafted" and shape.is_fixed
        hint = "; acceptance_rate_reached does not depend on the tree so" if by_nodes else ""
        raise UsageError(
            f"--spec-fail '{gate.text}': {why}, so that the figure is never above {most:.3g} and "
            f"this gate could not {'pass' if is_floor else 'fail'}; give a lower bound{hint}"
        )


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option}: '{text}' is not a number") from None


def _size(option: str, text: str, *, percent: bool) -> float:
    size = _number(option, text)
    size = size / 100 if percent else size
    if not (math.isfinite(size) and size >= 0):
        raise UsageError(f"{option}: a margin is 0 or a positive number after its sign")
    if percent and size >= 1:
        raise UsageError(f"{option}: a fall of {text}% leaves nothing; give less than 100%")
    return size


def _ways(metric: str, way: str, size: float) -> tuple[float, float]:
    """Tolerated fall and rise. A minus is about both where acceptance is measured."""
    if way == "+":
        return math.inf, size
    if way == "-" and metric in ONE_WAY:
        return size, math.inf
    return size, size
