"""The study's questions and the figures of other projects as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from draftproof.statistics import (
    Couplings,
    DomainOrder,
    Estimate,
    Finding,
    PeerValue,
    PositionProfile,
    Study,
    TaskOrDepth,
)
from draftproof.statistics.findings import FAMILYWISE_ERROR


def estimate_json(estimate: Estimate) -> dict[str, Any]:
    """An estimate; what cannot be estimated is null, or left out where it is a design effect."""
    values: dict[str, Any] = {
        "value": or_null(estimate.value),
        "low": or_null(estimate.low),
        "high": or_null(estimate.high),
        "n": estimate.n,
    }
    if math.isfinite(estimate.design_effect):
        values["design_effect"] = estimate.design_effect
        values["effective_n"] = estimate.effective_n
    if estimate.reason:
        values["reason"] = estimate.reason
    return values


def study_json(found: Study) -> dict[str, Any]:
    """What a run says on the study's questions.

    Returns:
        ``draft_entropy`` (nats) and ``entropy_correlation`` (Spearman's ρ with acceptance
        probability), by domain; ``position_profile``; ``task_or_depth``; ``domain_order`` by
        ``acceptance_probability`` and by ``draft_entropy``; only for runs with the study's
        four domains, ``findings``, and their ``familywise_error``; and, only where drafts were
        drawn chains, ``coupling``, by domain and ``overall``: estimates of ``kept``, of the
        ``overlap``, and of their ``difference``, n being the drafted positions that were reached.
    """
    document: dict[str, Any] = {
        "draft_entropy": _estimates(found.draft_entropy),
        "entropy_correlation": _estimates(found.entropy_correlation),
        "position_profile": _positions(found.positions),
        "task_or_depth": _task_or_depth(found.task_or_depth),
        "domain_order": {
            order.metric: _order(order) for order in (found.acceptance_order, found.entropy_order)
        },
    }
    if found.findings:
        document["findings"] = [finding_json(finding) for finding in found.findings]
        document["familywise_error"] = FAMILYWISE_ERROR
    if found.coupling is not None:
        document["coupling"] = _couplings(found.coupling)
    return document


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding of the study with its verdict, and the parts that it was judged by.

    ``said`` is the verdict as it may be quoted alone, with that of the study's own range.
    """
    return {
        "number": finding.number,
        "claim": finding.claim,
        "verdict": str(finding.verdict),
        "said": finding.said,
        "parts": [
            {"claim": part.claim, "verdict": str(part.verdict), "decides": part.decides}
            for part in finding.parts
        ],
        "evidence": finding.evidence,
        "estimates": _estimates(finding.estimates),
    }


def peer_json(value: PeerValue) -> Any:
    """A figure of another project; null where it has none."""
    if isinstance(value, tuple):
        return [or_null(item) for item in value]
    if isinstance(value, dict):
        return {str(key): or_null(item) for key, item in value.items()}
    return value if isinstance(value, int) else or_null(value)


def or_null(value: float) -> float | None:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def _estimates(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate_json(estimate) for name, estimate in estimates.items()}


def _positions(profile: PositionProfile) -> dict[str, Any]:
    return {
        "ranges": [
            {
                "first": part.first,
                "last": part.last,
                "acceptance_probability": estimate_json(part.acceptance_probability),
            }
            for part in profile.ranges
        ],
        "early": estimate_json(profile.early),
        "late": estimate_json(profile.late),
        "late_minus_early": estimate_json(profile.late_minus_early),
    }


def _task_or_depth(answer: TaskOrDepth) -> dict[str, Any]:
    return {
        "verdict": answer.verdict,
        "sentence": answer.sentence,
        "information_bits": _estimates(answer.information),
        "deviance_share": _estimates(answer.deviance),
        "information_difference": estimate_json(answer.information_difference),
        "depth_rise": estimate_json(answer.depth_rise),
        "wald": {
            name: {
                "statistic": or_null(test.statistic),
                "degrees": test.degrees,
                "p_value": or_null(test.p_value),
            }
            for name, test in answer.wald.items()
        },
    }


def _order(order: DomainOrder) -> dict[str, Any]:
    values: dict[str, Any] = {
        "orders": [
            {"order": list(names), "probability": share} for names, share in order.probabilities
        ],
        "above": {f"{a} > {b}": share for (a, b), share in order.above.items()},
    }
    if order.reason:
        values["reason"] = order.reason
    return values


def _couplings(coupled: Couplings) -> dict[str, Any]:
    groups = {**coupled.domains, "overall": coupled.overall}
    return {
        name: {
            "kept": estimate_json(group.kept),
            "overlap": estimate_json(group.overlap),
            "difference": estimate_json(group.difference),
        }
        for name, group in groups.items()
    }
