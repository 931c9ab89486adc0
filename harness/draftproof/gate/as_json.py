"""A comparison as JSON values, for programs."""

from __future__ import annotations

import math
from typing import Any

from draftproof.gate.comparison import Comparison
from draftproof.gate.judging import Judgement
from draftproof.gate.measured import MeasuredRun

SCHEMA_VERSION = 1


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
        "before": _run_json(comparison.before),
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
        "versions": dict(run.run.versions),
        "hardware": dict(run.run.hardware),
    }


def _judgement_json(judgement: Judgement, *, judged: bool) -> dict[str, Any]:
    return {
        "gate": judgement.gate.text if judged else None,
        "metric": judgement.gate.metric,
        "scope": judgement.scope,
        "relative": judgement.gate.relative,
        "prompts": judgement.prompts,
        "before": _finite(judgement.before),
        "now": _finite(judgement.now),
        "change": _finite(judgement.change.value),
        "low": _finite(judgement.change.low),
        "high": _finite(judgement.change.high),
        "p_fail": judgement.p_fail,
        "p_pass": judgement.p_pass,
        "outcome": str(judgement.outcome) if judged else None,
        "prompts_to_decide": judgement.prompts_to_decide,
        "reason": judgement.reason,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
