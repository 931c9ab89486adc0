"""A figure over commits: which runs belong in one line, and where that line changed its level."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from draftproof.errors import UsageError, unknown_value
from draftproof.gate.expression import ALIASES
from draftproof.history.entry import FIGURES, SPEEDUP, Figure, HistoryEntry
from draftproof.report.labels import OVERALL
from draftproof.statistics.change_point import ChangePoint, change_points, fewest_values
from draftproof.statistics.summary import in_domain_order

ALPHA = 0.05
DEFAULT = "block_efficiency"


class Place(NamedTuple):
    """A change point of a line, by the runs on both sides of it.

    Attributes:
        scope: The domain, or `OVERALL`.
        change: The place and the levels.
        before: The last run before it.
        after: The first run after it.
        also: What else differs between those two runs, such as ``torch 2.9.0 → 2.10.0``.
    """

    scope: str
    change: ChangePoint
    before: HistoryEntry
    after: HistoryEntry
    also: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Runs of one engine with one set of settings, models and prompts, on one branch, in order.

    Attributes:
        metric: The figure.
        branch: The branch; None where it is not known.
        described: What tells it from the other series, by fact; of a single one, nothing.
        facts: Everything that its runs have in common.
        runs: Its runs in the order of their commits.
        tested: Of those, the indices of the runs that the change points are of.
        scopes: The domains, and `OVERALL`.
        places: Its change points.
        too_few: How many tested runs it takes for a change to be shown; 0 where there are enough.
    """

    metric: str
    branch: str | None
    described: tuple[str, ...]
    facts: Mapping[str, str]
    runs: tuple[HistoryEntry, ...]
    tested: tuple[int, ...]
    scopes: tuple[str, ...]
    places: tuple[Place, ...]
    too_few: int

    def figure(self, entry: HistoryEntry, scope: str) -> Figure | None:
        """The figure of a run, or None where it has none."""
        return entry.figures.get(scope, {}).get(self.metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A figure in every series of a history.

    Attributes:
        metric: The figure.
        alpha: Chance that any change point is shown, over all series and scopes, where there was no
            change.
        series: Those with the newest runs first.
        lines: How many lines share `alpha`: each scope of each series that has enough runs.
    """

    metric: str
    alpha: float
    series: tuple[Series, ...]
    lines: int


def metric_of(name: str) -> str:
    """The key of a figure, from that or from the name that gates have for it.

    Raises:
        UsageError: There is no such figure.
    """
    found = ALIASES.get(name, name)
    if found not in FIGURES:
        raise unknown_value("--metric", name, (*FIGURES, *ALIASES))
    return found


def trend(
    entries: Sequence[HistoryEntry],
    metric: str = DEFAULT,
    *,
    branch: str | None = None,
    alpha: float = ALPHA,
) -> Trend:
    """A figure over commits, a series for each engine, set of settings, models, prompts and branch.

    Runs stand in the order in which their commits were made; those whose commit is not known stand
    where the run began. Change points are of one run a commit, the first: a later one may have been
    made because of what the first one said. Runs with missing prompts, and runs of a work tree that
    differed from its commit, are shown and not tested.

    Args:
        entries: The history.
        metric: A key of `FIGURES`.
        branch: Of this branch alone.
        alpha: Shared out evenly among the lines that are tested.

    Raises:
        UsageError: There is no run of that branch, or none with the figure.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"--alpha: {alpha} is not between 0 and 1")
    kept = [entry for entry in entries if branch is None or entry.provenance.branch == branch]
    if branch is not None and not kept:
        known = sorted({entry.provenance.branch or "" for entry in entries} - {""})
        raise unknown_value("--branch", branch, known or ["(no branch is known)"])
    groups: dict[str, list[HistoryEntry]] = {}
    for entry in kept:
        if any(metric in figures for figures in entry.figures.values()):
            groups.setdefault(_key(entry, metric), []).append(entry)
    if not groups:
        there = sorted({name for run in kept for own in run.figures.values() for name in own})
        raise UsageError(
            f"no run of this history has the figure {metric}; it has {', '.join(there) or 'none'}"
        )
    for runs in groups.values():
        runs.sort(key=lambda run: (run.moment, run.started))
    # Of runs of one second, the later one stands later in the history.
    places = {id(entry): place for place, entry in enumerate(entries)}
    ordered = sorted(
        groups.values(), key=lambda runs: (runs[-1].moment, places[id(runs[-1])]), reverse=True
    )
    scopes = [_scopes(runs, metric) for runs in ordered]
    # Lines that are too short to show a change at any share of alpha raise no false alarm.
    lines = max(
        1,
        sum(
            len(own)
            for runs, own in zip(ordered, scopes, strict=True)
            if len(_tested(runs)) >= fewest_values(alpha)
        ),
    )
    different = _different([runs[-1] for runs in ordered], metric)
    series = [
        _series(metric, runs, own, described, alpha / lines)
        for runs, own, described in zip(ordered, scopes, different, strict=True)
    ]
    return Trend(metric=metric, alpha=alpha, series=tuple(series), lines=lines)


def _series(
    metric: str,
    runs: Sequence[HistoryEntry],
    scopes: tuple[str, ...],
    described: tuple[str, ...],
    level: float,
) -> Series:
    tested = _tested(runs)
    places = []
    for scope in scopes:
        rows = [row for row in tested if metric in runs[row].figures.get(scope, {})]
        values = [runs[row].figures[scope][metric].value for row in rows]
        for change in change_points(values, level):
            before, after = runs[rows[change.at - 1]], runs[rows[change.at]]
            places.append(Place(scope, change, before, after, _also(before, after)))
    needed = fewest_values(level)
    return Series(
        metric=metric,
        branch=runs[-1].provenance.branch,
        described=described,
        facts=runs[-1].facts,
        runs=tuple(runs),
        tested=tested,
        scopes=scopes,
        places=tuple(places),
        too_few=needed if len(tested) < needed else 0,
    )


def _tested(runs: Sequence[HistoryEntry]) -> tuple[int, ...]:
    """The first whole run of each commit; every one whose commit is not known."""
    seen: dict[str, int] = {}
    for row in sorted(range(len(runs)), key=lambda row: runs[row].started):
        run = runs[row]
        if not run.is_partial and not run.provenance.dirty:
            seen.setdefault(run.provenance.commit or f"unknown {row}", row)
    return tuple(sorted(seen.values()))


def _key(entry: HistoryEntry, metric: str) -> str:
    """Equal for the runs of one line."""
    timing = entry.timing if metric == SPEEDUP else {}
    facts = [dict(entry.facts), dict(entry.prompts), dict(timing), entry.provenance.branch]
    return json.dumps(facts, sort_keys=True)


def _scopes(runs: Sequence[HistoryEntry], metric: str) -> tuple[str, ...]:
    there = {scope for run in runs for scope, found in run.figures.items() if metric in found}
    overall = (OVERALL,) if OVERALL in there else ()
    return (*overall, *in_domain_order(there - {OVERALL}))


def _different(entries: Sequence[HistoryEntry], metric: str) -> list[tuple[str, ...]]:
    """What tells each of some runs from the others, such as ``setting tree chain:4``."""
    all_facts = [_told(entry, metric) for entry in entries]
    names = {name: None for facts in all_facts for name in facts}
    telling = [name for name in names if len({facts.get(name) for facts in all_facts}) > 1]
    return [
        tuple(f"{name} {facts[name][:60]}" for name in telling if name in facts)
        for facts in all_facts
    ]


def _told(entry: HistoryEntry, metric: str) -> dict[str, str]:
    timing = entry.timing if metric == SPEEDUP else {}
    branch = entry.provenance.branch
    return {
        **({} if branch is None else {"branch": branch}),
        **entry.facts,
        **{f"prompts of {domain}": found[:12] for domain, found in entry.prompts.items()},
        **timing,
    }


def _also(before: HistoryEntry, after: HistoryEntry) -> tuple[str, ...]:
    """Versions and facts of the machine in which the runs on both sides of a change differ."""
    sides = [{**run.versions, **run.timing} for run in (before, after)]
    return tuple(
        f"{name} {sides[0].get(name, 'none')} → {sides[1].get(name, 'none')}"
        for name in dict.fromkeys([*sides[0], *sides[1]])
        if sides[0].get(name) != sides[1].get(name)
    )
