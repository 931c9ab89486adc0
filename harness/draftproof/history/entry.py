"""An entry of the history: what one saved run was, where it comes from, and its figures."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from draftproof.errors import TraceError
from draftproof.gate.identity import engine_facts, timing_facts
from draftproof.history.provenance import Provenance
from draftproof.report.labels import METRIC_LABELS, OVERALL, VERDICT_LABELS
from draftproof.report.notes import prompt_counts
from draftproof.report.run_info import RunInfo
from draftproof.report.writing import Report
from draftproof.statistics import Estimate
from draftproof.statistics.costs import costs

SCHEMA_VERSION = 1
"""Raised whenever a field of an entry changes its name, its type or its meaning."""
SPEEDUP = "speedup"
FIGURES = (*METRIC_LABELS, SPEEDUP)
"""The figures that an entry keeps of each domain, and of all prompts."""
_DIGITS = 7


class Figure(NamedTuple):
    """A figure with its 95% interval.

    Attributes:
        value: The figure.
        low: Lower end; None where it cannot be estimated.
        high: Upper end.
        n: Observations in its denominator, as in `Estimate`.
    """

    value: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A saved run.

    Attributes:
        name: The name of the baseline that it was saved under.
        started: When the run began: ISO 8601, UTC.
        provenance: Its commit, branch and CI run, as far as they are known.
        facts: What two runs of one line have in common: settings, models, engine, machine.
        prompts: By domain, a hash of the prompts that its suite was given.
        timing: What two runs have in common, beside that, of which seconds may be compared.
        versions: Of draftproof, Python and the libraries that can move a number; ``engine`` is the
            engine's, where it tells.
        missing: Prompts that were given and that are not in the figures, by domain; a domain
        without
            any is left out.
        measured: Prompts in the figures.
        verdicts: How many cases ended in each verdict.
        gates: What its gates came to; empty without any.
        figures: By domain, and of `OVERALL`, those of `FIGURES` that can be estimated.
    """

    name: str
    started: str
    provenance: Provenance
    facts: Mapping[str, str]
    prompts: Mapping[str, str]
    timing: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    measured: int = 0
    verdicts: Mapping[str, int] = field(default_factory=dict)
    gates: str = ""
    figures: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)

    @property
    def is_partial(self) -> bool:
        """Whether prompts that were given are not in the figures."""
        return bool(self.missing)

    @property
    def moment(self) -> str:
        """Where it stands in time: when its commit was made; without one, when the run began."""
        return self.provenance.commit_time or self.started

    @property
    def key(self) -> str:
        """A hash of its content: two copies of one entry have the same."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The entry as plain JSON values; `from_json`'s inverse."""
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "started": self.started,
            "provenance": self.provenance.to_json(),
            "facts": dict(self.facts),
            "prompts": dict(self.prompts),
            "timing": dict(self.timing),
            "versions": dict(self.versions),
            "missing": dict(self.missing),
            "measured": self.measured,
            "verdicts": dict(self.verdicts),
            "gates": self.gates,
            "figures": {
                scope: {name: list(figure) for name, figure in figures.items()}
                for scope, figures in self.figures.items()
            },
        }

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """The entry from JSON values.

        Raises:
            TraceError: A field is missing or of another type, or the version is newer.
        """
        if not isinstance(values, dict):
            raise TraceError("an entry is not a JSON object")
        version = values.get("schema_version")
        if not isinstance(version, int):
            raise TraceError("an entry has no 'schema_version'")
        if version > SCHEMA_VERSION:
            raise TraceError(
                f"an entry has schema version {version}, and this draftproof reads up to "
                f"{SCHEMA_VERSION}"
            )
        for name, kind in _KINDS.items():
            if not isinstance(values.get(name), kind):
                raise TraceError(f"an entry's '{name}' is not a {kind.__name__}")
        try:
            figures = {
                scope: {name: _figure(cells) for name, cells in found.items()}
                for scope, found in values["figures"].items()
            }
        except (TypeError, ValueError, AttributeError) as error:
            raise TraceError(f"an entry's figures are not numbers ({error})") from error
        return cls(
            **{name: values[name] for name in _KINDS if name not in ("figures", "provenance")},
            provenance=Provenance.from_json(values["provenance"]),
            figures=figures,
        )


def history_entry(
    name: str, report: Report, provenance: Provenance, *, gates: str = ""
) -> HistoryEntry:
    """The entry of a run that has just been saved.

    Args:
        name: The baseline's.
        report: The run's.
        provenance: Where it comes from.
        gates: What its gates came to.
    """
    run, summary = report.run, report.summary
    counts = prompt_counts(run, report.cases)
    by_domain, overall = costs(report.cases, list(summary.domains), summary.resampling)
    speedups = {name: cost.speedup for name, cost in {**by_domain, OVERALL: overall}.items()}
    groups = {**summary.domains, OVERALL: summary.overall}
    verdicts = summary.overall.verdicts
    return HistoryEntry(
        name=name,
        started=run.started,
        provenance=provenance,
        facts=engine_facts(run),
        prompts=_prompts(run),
        timing=timing_facts(run),
        versions=_versions(run),
        missing={
            domain: lacking
            for domain, count in counts.items()
            if (lacking := count.errors + count.not_run)
        },
        measured=summary.overall.prompts,
        verdicts={verdict: getattr(verdicts, verdict) for verdict in VERDICT_LABELS},
        gates=gates,
        figures={
            scope: dict(_figures({**group.metrics, SPEEDUP: speedups.get(scope)}))
            for scope, group in groups.items()
        },
    )


def _prompts(run: RunInfo) -> dict[str, str]:
    """By domain, the hash of what its suite was given; of runs that do not tell, of what ran."""
    if run.data:
        return {domain: str(facts.get("sha256")) for domain, facts in run.data.items()}
    text = json.dumps(sorted(run.prompts.items()))
    return {OVERALL: hashlib.sha256(text.encode()).hexdigest()}


def _versions(run: RunInfo) -> dict[str, str]:
    engine = run.models.get("engine", {}).get("version")
    return {**run.versions, **({} if engine is None else {"engine": str(engine)})}


def _figures(estimates: Mapping[str, Estimate | None]) -> Iterator[tuple[str, Figure]]:
    for name, estimate in estimates.items():
        if name in FIGURES and estimate is not None and math.isfinite(estimate.value):
            low, high = (
                float(f"{end:.{_DIGITS}g}") if math.isfinite(end) else None
                for end in (estimate.low, estimate.high)
            )
            yield name, Figure(float(f"{estimate.value:.{_DIGITS}g}"), low, high, estimate.n)


def _figure(cells: Any) -> Figure:
    value, low, high, n = cells
    ends = [None if end is None else float(end) for end in (low, high)]
    figure = Figure(float(value), ends[0], ends[1], int(n))
    if not all(math.isfinite(number) for number in figure if number is not None):
        raise ValueError(f"{cells} holds a number that is not finite")
    return figure


_KINDS: dict[str, type] = {
    "name": str,
    "started": str,
    "provenance": dict,
    "facts": dict,
    "prompts": dict,
    "timing": dict,
    "versions": dict,
    "missing": dict,
    "measured": int,
    "verdicts": dict,
    "gates": str,
    "figures": dict,
}
