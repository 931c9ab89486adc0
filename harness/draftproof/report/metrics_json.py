"""``metrics.json``: every figure of a run, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from draftproof.report.latency_table import latency_json
from draftproof.report.study_json import estimate_json, study_json
from draftproof.statistics import DepthSummary, GroupSummary, RunSummary, Study
from draftproof.trace import CaseRecord

METRICS_VERSION = 3
"""Raised whenever a key of ``metrics.json`` changes its name, its type or its meaning."""


def metrics_document(
    summary: RunSummary,
    found: Study | None = None,
    notes: Sequence[str] = (),
    cases: Sequence[CaseRecord] = (),
) -> dict[str, Any]:
    """The figures of a run as plain JSON values.

    Returns:
        ``schema_version``; ``domains``, by domain, and ``overall``, each with ``prompts``,
        ``steps``, ``nodes``, an estimate for each metric, ``prompt_means`` (the same figures, but
        for ``study_expected_length``, as means of prompts' own), and its ``depth_profile``;
        ``depth_profile``, that of ``overall``; and ``lossless``: the number of ``cases``, and how
        many ended in each verdict (``not_judged`` in results of other tools alone); and, where
        prompts were scored, ``accuracy``, by domain and
        ``overall``: ``plain`` and ``speculative`` (``value``, ``low``, ``high``, ``n``), and how
        many prompts were ``gained`` and ``lost`` by
        speculation and ``cut`` off at the length limit. An estimate
        has ``value``, ``low``, ``high`` (95%, bootstrap over prompts) and ``n``; what is not
        estimable is null, and ``reason`` says why. ``design_effect`` and ``effective_n`` stand
        where they can be estimated. Where an engine tells no steps, ``steps`` are the fewest that
        there can have been, ``most_steps`` stands beside them, and ``at_least`` says how small the
        figures over steps can be. ``notes``, where there are any, are what must be said beside the
        figures. Where `cases` tell when tokens arrived, ``latency`` is `latency_json` of them. With
        `found`, the keys of `study_json` follow.
    """
    verdicts = summary.overall.verdicts
    overall = _group(summary.overall)
    return {
        "schema_version": METRICS_VERSION,
        "domains": {domain: _group(group) for domain, group in summary.domains.items()},
        "overall": overall,
        "depth_profile": overall["depth_profile"],
        "lossless": {
            "cases": verdicts.cases,
            "identical": verdicts.identical,
            "numerical": verdicts.numerical,
            "algorithmic": verdicts.algorithmic,
            "sampled": verdicts.sampled,
            **({"not_judged": verdicts.unjudged} if verdicts.unjudged else {}),
            "errors": verdicts.errors,
        },
        **({"notes": list(notes)} if notes else {}),
        **_accuracies(summary),
        **({"latency": waits} if (waits := latency_json(cases)) else {}),
        **({} if found is None else study_json(found)),
    }


def _accuracies(summary: RunSummary) -> dict[str, Any]:
    groups = {**summary.domains, "overall": summary.overall}
    scored = {
        name: {
            **{
                side: {
                    "value": share.value,
                    "low": share.low,
                    "high": share.high,
                    "n": share.prompts,
                }
                for side, share in (("plain", found.plain), ("speculative", found.speculative))
            },
            "gained": found.gained,
            "lost": found.lost,
            "cut": found.cut,
        }
        for name, group in groups.items()
        if (found := group.accuracy) is not None
    }
    return {"accuracy": scored} if scored else {}


def strict_json(values: Any) -> str:
    """The values as indented JSON text that every parser reads: no NaN or infinity.

    Raises:
        ValueError: A value is NaN or infinite.
    """
    return json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _group(group: GroupSummary) -> dict[str, Any]:
    return {
        "prompts": group.prompts,
        "steps": group.steps,
        "nodes": group.nodes,
        **(
            {}
            if group.most_steps is None
            else {"most_steps": group.most_steps, "at_least": group.at_least}
        ),
        **{name: estimate_json(estimate) for name, estimate in group.metrics.items()},
        "prompt_means": {
            name: estimate_json(estimate) for name, estimate in group.prompt_means.items()
        },
        "depth_profile": [_depth(depth) for depth in group.depth_profile],
    }


def _depth(depth: DepthSummary) -> dict[str, Any]:
    return {
        "depth": depth.depth,
        "nodes": depth.nodes,
        **{name: estimate_json(estimate) for name, estimate in depth.metrics.items()},
    }
