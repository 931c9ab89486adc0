"""A report as OpenMetrics text: for Prometheus, and for GitLab's metrics reports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime

from draftproof.report.labels import METRIC_LABELS, OVERALL, VERDICT_LABELS
from draftproof.report.notes import prompt_counts
from draftproof.report.page.source import PageSource
from draftproof.statistics import Estimate

PREFIX = "draftproof"
Samples = list[tuple[Mapping[str, str], float]]

_SECONDS = {
    "plain_seconds_per_token": "Seconds of plain decoding per committed token",
    "speculative_seconds_per_token": "Seconds of speculative decoding per committed token",
}


def openmetrics_text(source: PageSource) -> str:
    """The figures of a run as OpenMetrics 1.0 text; what cannot be estimated is left out.

    Each figure is a gauge with a sample a domain (``domain="overall"`` for all prompts), and two
    more with the ends of its 95% interval, ``_low`` and ``_high``. ``draftproof_run_info`` has what
    the run was, ``draftproof_complete`` whether it came to its end, ``draftproof_prompts`` how many
    prompts are in the figures and how many are not, and ``draftproof_cases`` the verdicts.
    """
    lines: list[str] = []
    for name, explained, samples in _families(source):
        if samples:
            lines += [f"# TYPE {name} gauge", f"# HELP {name} {_escaped(explained)}"]
            lines += [f"{name}{_labels(labels)} {value!r}" for labels, value in samples]
    return "\n".join([*_info(source), *lines, "# EOF"]) + "\n"


def _families(source: PageSource) -> Iterator[tuple[str, str, Samples]]:
    for name, (explained, estimates) in _figures(source).items():
        for suffix, end, which in (
            ("", "value", ""),
            ("_low", "low", ", lower end of the 95% interval"),
            ("_high", "high", ", upper end of the 95% interval"),
        ):
            samples: Samples = [
                ({"domain": domain}, float(value))
                for domain, estimate in estimates.items()
                if math.isfinite(value := getattr(estimate, end))
            ]
            yield f"{PREFIX}_{name}{suffix}", explained + which, samples
    groups = {**source.summary.domains, OVERALL: source.summary.overall}
    yield (
        f"{PREFIX}_cases",
        "Cases by verdict",
        [
            ({"domain": domain, "verdict": verdict}, float(getattr(group.verdicts, verdict)))
            for domain, group in groups.items()
            for verdict in VERDICT_LABELS
        ],
    )
    yield (
        f"{PREFIX}_prompts",
        "Prompts in the figures (measured), and prompts that are not",
        [
            ({"domain": domain, "state": state}, float(count.to_json()[state]))
            for domain, count in prompt_counts(source.run, source.cases).items()
            for state in ("measured", "errors", "not_run")
        ],
    )
    yield f"{PREFIX}_complete", "Whether the run came to its end", [({}, float(source.complete))]
    try:
        started = datetime.fromisoformat(source.run.started).timestamp()
    except ValueError:
        return
    yield f"{PREFIX}_started_timestamp_seconds", "When the run began", [({}, started)]


def _figures(source: PageSource) -> dict[str, tuple[str, dict[str, Estimate]]]:
    """Each figure by name: what it is, and its estimates by domain."""
    groups = {**source.summary.domains, OVERALL: source.summary.overall}
    by_domain, overall = source.costs
    costs = {**by_domain, OVERALL: overall}
    return {
        **{
            name: (label.term, {domain: group.metrics[name] for domain, group in groups.items()})
            for name, label in METRIC_LABELS.items()
        },
        "speedup": (
            "Plain ÷ speculative seconds per committed token",
            {domain: cost.speedup for domain, cost in costs.items()},
        ),
        **{
            name: (
                explained,
                {domain: getattr(cost, name.split("_")[0]) for domain, cost in costs.items()},
            )
            for name, explained in _SECONDS.items()
        },
    }


def _info(source: PageSource) -> list[str]:
    run = source.run
    told = {
        role: str(run.models.get(role, {}).get("name", run.config.get(role)))
        for role in ("target", "draft", "engine")
    }
    labels = {
        "name": run.name,
        **told,
        "fingerprint": run.fingerprint,
        "tree": str(run.config.get("tree")),
        "rule": str(run.config.get("rule")),
        "version": run.versions.get("draftproof", "unknown"),
    }
    name = f"{PREFIX}_run"
    return [
        f"# TYPE {name} info",
        f"# HELP {name} What the run was",
        f"{name}_info{_labels(labels)} 1",
    ]


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    """Text of a label or an explanation; halves of characters become question marks."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
