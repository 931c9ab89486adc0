"""A plan as text for people, and as JSON for programs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from draftproof.gate.judging import LEVEL
from draftproof.planning.pilot import Pilot
from draftproof.planning.sample_size import Aim, DomainPlan
from draftproof.planning.simulation import HOURS_BETWEEN_LOSSES, Forecast
from draftproof.report.labels import METRIC_LABELS
from draftproof.wording import counted

VERSION = 1
"""Raised whenever a key of the JSON changes its name, its type or its meaning."""

_WIDTH = 80
_LATE = 0.95
"""Share of simulated runs that end by the time that is printed beside the mean."""


def plan_text(
    pilot: Pilot,
    aim: Aim,
    plans: Sequence[DomainPlan],
    forecasts: Sequence[Forecast],
    price: float | None,
    notes: Sequence[str],
) -> str:
    """The plan for a terminal of 80 columns or more."""
    lines = [*textwrap.wrap(_aim_line(aim, len(plans)), _WIDTH), ""]
    head = ("domain", "pilot", "figure", "spread", "prompts", "95% interval", "to start with")
    rows: list[tuple[str, ...]] = [head]
    rows += [_domain_row(plan, aim) for plan in plans]
    total = sum(plan.started for plan in plans)
    if len(plans) > 1:
        rows.append(("all", f"{sum(plan.pilot for plan in plans):,}", "", "",
                     f"{sum(plan.prompts for plan in plans):,}", "", f"{total:,}"))  # fmt: skip
    lines += _table(rows)
    lines += [line for note in notes for line in ("", *textwrap.wrap(note, _WIDTH))]
    lines += ["", *_fleet_lines(aim, forecasts, price), "", _size_line(pilot, total)]
    return "\n".join([*lines, *textwrap.wrap(_assumptions(forecasts[0]), _WIDTH)])


def _domain_row(plan: DomainPlan, aim: Aim) -> tuple[str, ...]:
    return (
        plan.domain,
        f"{plan.pilot:,}",
        f"{plan.value:.3f}",
        f"{plan.spread:.1%}" if aim.relative else f"{plan.spread:.3f}",
        f"{plan.prompts:,}" + ("*" if plan.by_test else ""),
        f"[{plan.low:,}, {plan.high:,}]",
        f"{plan.started:,}",
    )


def plan_json(
    pilot: Pilot,
    aim: Aim,
    plans: Sequence[DomainPlan],
    forecasts: Sequence[Forecast],
    price: float | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The plan as plain JSON values.

    Returns:
        ``schema_version``; ``aim``; ``domains``, by name; ``prompts``, to start with, and ``runs``,
        how many such runs the aim needs; ``nodes`` and ``file_bytes`` of a run, null where the
        pilot does not tell; ``fleets``, one for each number of GPUs, with the mean of the simulated
        runs and the time by which 95% of them ended; and ``notes``.
    """
    total = sum(plan.started for plan in plans)
    return {
        "schema_version": VERSION,
        "pilot": pilot.measured.name,
        "again": None if pilot.again is None else pilot.again.name,
        "aim": {
            "metric": aim.metric,
            "change": _number(aim.change),
            "width": _number(aim.width),
            "relative": aim.relative,
            "gate": None if aim.gate is None else aim.gate.text,
            "power": None if aim.gate is None else aim.power,
            "alpha": None if aim.gate is None else aim.alpha,
            "level": LEVEL,
        },
        "domains": {
            plan.domain: {
                "pilot_prompts": plan.pilot,
                "value": plan.value,
                "spread": plan.spread,
                "prompts": plan.prompts,
                "low": plan.low,
                "high": plan.high,
                "started": plan.started,
                "failing_share": plan.failing_share,
                "by_test": plan.by_test,
                "available": pilot.available.get(plan.domain),
            }
            for plan in plans
        },
        "prompts": total,
        "runs": aim.runs,
        "nodes": _number(pilot.nodes * total),
        "file_bytes": _number(pilot.file_bytes * total),
        "fleets": [_fleet_json(found, price) for found in forecasts],
        "notes": list(notes),
    }


def _fleet_json(found: Forecast, price: float | None) -> dict[str, Any]:
    fleet = found.fleet
    hours = found.gpu_hours
    return {
        "gpus": fleet.gpus,
        "at_once": fleet.at_once,
        "start_seconds": fleet.start_seconds,
        "detect_seconds": fleet.detect_seconds,
        "hours_between_losses": _number(fleet.hours_between_losses),
        "slow_share": fleet.slow_share,
        "slow_factor": fleet.slow_factor,
        "simulations": len(hours),
        "seconds": float(found.seconds.mean()),
        "seconds_late": _late(found.seconds),
        "gpu_hours": float(hours.mean()),
        "gpu_hours_late": _late(hours),
        "used": found.used,
        "tail_seconds": float(found.tail.mean()),
        "losses": float(found.losses.mean()),
        "retried": float(found.retried.mean()),
        "cost": None if price is None else float(hours.mean()) * price,
        "cost_late": None if price is None else _late(hours) * price,
    }


def _aim_line(aim: Aim, tests: int) -> str:
    figure = METRIC_LABELS[aim.metric].term
    if aim.gate is None:
        width = _amount(aim, aim.width)
        return f"Prompts a domain for a {LEVEL:.0%} interval of {width}, end to end: {figure}."
    together = f" over {tests} domains together (Holm)" if tests > 1 else ""
    ways = "either way" if aim.gate.both_ways else "downwards"
    return (
        f"Prompts a domain for a change of {_amount(aim, aim.change)} {ways}: {figure}. "
        f"Gate {aim.gate.text}, α {aim.alpha:g}{together}, seen with a chance of {aim.power:.0%}."
    )


def plan_notes(pilot: Pilot, aim: Aim, plans: Sequence[DomainPlan]) -> list[str]:
    """What a reader of the numbers must know."""
    notes = []
    if aim.gate is not None and pilot.again is None:
        notes.append(
            "From one run: as if two runs agreed on a prompt no more than on different prompts, "
            "which is the most that can be needed. Give a second run of the same prompts (--again) "
            "to plan from how closely the two pair."
        )
    if aim.gate is not None and pilot.again is not None:
        notes.append(
            f"Spread between prompts of the change from {pilot.measured.name} to "
            f"{pilot.again.name}."
        )
    if any(plan.by_test for plan in plans):
        notes.append("* So many the test needs whatever prompts do: with fewer nothing can fail.")
    if pilot.measured.run.uses_builtin:
        notes.append("The pilot is of the built-in pair: it plans for this toy pair alone.")
    short = [
        f"{plan.domain} has {pilot.available[plan.domain]:,}"
        for plan in plans
        if pilot.available.get(plan.domain, math.inf) < plan.started
    ]
    if short:
        notes.append(
            f"More prompts than the pilot's data has ({', '.join(short)}): find others. The same "
            "prompts with other seeds are not more prompts."
        )
    return notes


def _fleet_lines(aim: Aim, forecasts: Sequence[Forecast], price: float | None) -> list[str]:
    head = ["GPUs", "ends in", "95% in", "GPU-hours", "used", "tail", "lost"]
    rows = [(*head, *([] if price is None else ["cost"]))]
    for found in forecasts:
        row = [
            f"{found.fleet.gpus:,}",
            time_text(float(found.seconds.mean())),
            time_text(_late(found.seconds)),
            f"{found.gpu_hours.mean():,.1f}",
            f"{found.used:.0%}",
            time_text(float(found.tail.mean())),
            f"{found.losses.mean():.1f}",
        ]
        if price is not None:
            row.append(f"{found.gpu_hours.mean() * price:,.2f}")
        rows.append(tuple(row))
    runs = "One run" if aim.runs == 1 else "One of the two runs"
    return [f"{runs}, {counted(forecasts[0].prompts, 'prompt')}:", *_table(rows)]


def _assumptions(found: Forecast) -> str:
    fleet = found.fleet
    between = fleet.hours_between_losses
    lost = "no GPU is lost"
    if math.isfinite(between):
        source = " (of Llama 3's training, not of the pilot)"
        lost = (
            f"a GPU is lost every {between:,.0f} GPU-hours"
            f"{source if between == HOURS_BETWEEN_LOSSES else ''} and replaced after "
            f"{time_text(fleet.detect_seconds + fleet.start_seconds)}"
        )
    slow = "every GPU is as fast as the next"
    if fleet.slow_share:
        slow = f"{fleet.slow_share:.1%} of the GPUs take {fleet.slow_factor:g} times as long"
    return (
        f"Means of {len(found.seconds)} simulated runs, and when 95% of them have ended; used: for "
        "answers that were kept; tail: from the first GPU without work to the end. Cases take "
        f"as long as the pilot's, {fleet.at_once} a GPU at once; {lost}; {slow}; a GPU starts in "
        f"{time_text(fleet.start_seconds)}. Recording and judging are not in it."
    )


def _size_line(pilot: Pilot, prompts: int) -> str:
    parts = [f"{pilot.nodes * prompts:,.0f} nodes"] if math.isfinite(pilot.nodes) else []
    if math.isfinite(pilot.file_bytes):
        parts.append(f"{_bytes(pilot.file_bytes * prompts)} on disk")
    return f"A run of {counted(prompts, 'prompt')} has about {', '.join(parts) or 'unknown size'}."


def time_text(seconds: float) -> str:
    """A duration in the unit that suits it.

    Example:
        >>> time_text(42), time_text(600), time_text(9000), time_text(400000)
        ('42 s', '10.0 min', '2.5 h', '4.6 d')
    """
    for unit, size, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{seconds / size:.0f} {unit}" if size == 1 else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def _bytes(size: float) -> str:
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their columns under each other: the first to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _amount(aim: Aim, amount: float) -> str:
    return f"{amount * 100:g}% of the figure" if aim.relative else f"{amount:g}"


def _late(values: np.ndarray) -> float:
    return float(np.quantile(values, _LATE, method="inverted_cdf"))


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
