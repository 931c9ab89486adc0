"""A comparison as JSON values, for programs."""

from __future__ import annotations

import math
from typing import Any

from draftproof.gate.change import Change
from draftproof.gate.comparison import Comparison
from draftproof.gate.judging import Judgement
from draftproof.gate.measured import MeasuredRun

SCHEMA_VERSION = 2
"""Raised whenever a field changes its name, its type or its meaning.

Version 2 allows no earlier run (``before`` is null) and gates on the figure itself (``bound``,
``now_low``, ``now_high``), and tells the ``fewest_prompts`` that decide anything and the cases that
ended in an error."""


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON values.

    Returns:
        ``outcome`` (null without gates), ``gates`` (a mapping each; what cannot be estimated is
        null), ``identical`` (null where runs need not be the same), ``first_difference`` (both
        trees' node columns, or null), ``clues``, ``mismatches`` and ``notes``.
    """
    changed = comparison.changed
    return {
        "schema_version": SCHEMA_VERSION,
        "before": None if comparison.before is None else _run_json(comparison.before),
        "now": _run_json(comparison.now),
        "cases_compared": len(comparison.compared),
        "alternated": comparison.alternated,
        "alpha": comparison.alpha,
        "outcome": None if comparison.outcome is None else str(comparison.outcome),
        "gates": [_judgement_json(j, judged=comparison.gated) for j in comparison.judgements],
        "identical": None if changed is None else comparison.identical,
        "cases_changed": None if changed is None else len(changed.first),
        "first_difference": None if comparison.first is None else comparison.first.to_json(),
        "clues": list(comparison.clues),
        "mismatches": [fact._asdict() for fact in comparison.mismatches],
        "notes": list(comparison.notes),
    }


def _run_json(run: MeasuredRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "started": run.run.started,
        "cases": len(run.case_ids),
        "errors": sorted(run.errors),
        "versions": dict(run.run.versions),
        "hardware": dict(run.run.hardware),
    }


def _judgement_json(judgement: Judgement, *, judged: bool) -> dict[str, Any]:
    # The distance from a bound is no change.
    change = Change(*[math.nan] * 4) if judgement.gate.bound is not None else judgement.change
    now_low, now_high = judgement.interval_now or (None, None)
    return {
        "gate": judgement.gate.text if judged else None,
        "metric": judgement.gate.metric,
        "scope": judgement.scope,
        "relative": judgement.gate.relative,
        "bound": judgement.gate.bound,
        "prompts": judgement.prompts,
        "before": _finite(judgement.before),
        "now": _finite(judgement.now),
        "now_low": now_low,
        "now_high": now_high,
        "change": _finite(change.value),
        "low": _finite(change.low),
        "high": _finite(change.high),
        "p_fail": judgement.p_fail,
        "p_pass": judgement.p_pass,
        "outcome": str(judgement.outcome) if judged else None,
        "fewest_prompts": judgement.fewest or None,
        "prompts_to_decide": judgement.prompts_to_decide,
        "reason": judgement.reason,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
