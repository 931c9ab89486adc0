"""What must be said beside a run's figures: speculation that did nothing, and prompts it lacks.

Every form of a report says it, also where a figure may be quoted alone. A note is a fact with its
numbers; whether it fails anything is up to gates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from draftproof.column_slices import length_of
from draftproof.config import RunConfig
from draftproof.data.prompt import DOMAINS
from draftproof.engines.names import EXECUTOR, speculates
from draftproof.environment import WORKERS
from draftproof.errors import UsageError
from draftproof.report.labels import OVERALL
from draftproof.report.run_info import RunInfo
from draftproof.shapes import TreeShape, parse_tree
from draftproof.statistics import GroupSummary, RunSummary
from draftproof.statistics.batches import step_columns
from draftproof.statistics.counters import CaseCounters, case_counters
from draftproof.trace import CaseRecord, Verdict

SHOWN_AS_ZERO = 0.0005
"""Acceptance rates below this are printed as .000."""
KEPT_NEARLY_NOTHING = 0.05
"""Accepted length below which a step commits hardly more than plain decoding does."""
OFTEN_EMPTY = 0.1
"""Share of steps without a draft from which on it is said, of an engine that tells its steps."""
NEARLY = 0.9
"""Share of a draft's asked length from which on an engine's drafts count as that long: the last one
of an output is counted as far as the output shows what became of it."""
ENDED_STEPS, ENDED_SHARE = 10, 0.05
"""Steps after the last draft of a run, and their share of all steps, from which on drafts are said
to have ended there."""


def run_notes(
    run: RunInfo, summary: RunSummary, cases: Sequence[CaseRecord], *, complete: bool = True
) -> list[str]:
    """Everything to say beside a run's figures, a line each; none of an ordinary run.

    Args:
        run: What the run was.
        summary: Its figures.
        cases: Its records.
        complete: Whether the run ended.
    """
    return [
        *prompt_lines(prompt_counts(run, cases), complete=complete),
        *imported_lines(run),
        *probed_lines(run),
        *refused_lines(cases),
        *speculation_lines(run, summary, cases),
        *step_lines(summary),
        *contention_lines(run),
    ]


def contention_lines(run: RunInfo) -> list[str]:
    """That cases were measured at the same time on one machine, which moves seconds alone.

    Example:
        >>> run = RunInfo(name="a", started="", config={}, fingerprint="", hardware={"workers": 4})
        >>> contention_lines(run)[0].partition(":")[0]
        'Seconds are those of a shared machine'
    """
    workers = int(run.hardware.get(WORKERS, 1))
    who = f"{workers} processes"
    actors = run.models.get("engine", {}).get(EXECUTOR)
    if actors is not None and str(run.models.get("target", {}).get("device")) == "cpu":
        workers, who = int(str(actors).partition(" ")[0]), str(actors)
    if workers <= max(1, len(run.hardware.get("accelerators", ()))):
        return []
    return [
        f"Seconds are those of a shared machine: {who} measured cases at the same time, and what "
        "one did slowed the others. Measure speedup in one process."
    ]


def probed_lines(run: RunInfo) -> list[str]:
    """That no speculation ran, where its steps and nodes were told without it."""
    if speculates(run.models.get("engine", {})):
        return []
    return [
        "No speculation ran: its steps and nodes follow from plain outputs and a probe. That it is "
        "lossless, and how fast it is, was not tried; leave out --spec-engine probe for that."
    ]


def imported_lines(run: RunInfo) -> list[str]:
    """What must be said of the files that a run is imported from."""
    return [] if run.imported is None else [str(note) for note in run.imported["notes"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCount:
    """How many prompts of a domain are in its figures, and how many are not.

    Attributes:
        measured: Prompts in the figures.
        errors: Prompts whose case ended in an error.
        given: Prompts that the suite was given; None of suites with prompts of their own.
        of_data: Prompts that the data has, before a limit; None where it is not known.
    """

    measured: int
    errors: int
    given: int | None = None
    of_data: int | None = None

    @property
    def not_run(self) -> int:
        """Prompts that the suite was given and that have no record."""
        return 0 if self.given is None else max(0, self.given - self.measured - self.errors)

    @property
    def is_whole(self) -> bool:
        """Whether every prompt of the data is in the figures."""
        of_data = self.given if self.of_data is None else self.of_data
        return not self.errors and (of_data is None or self.measured >= of_data)

    def to_json(self) -> dict[str, int]:
        """Plain values; what is not known is left out."""
        values = {
            "measured": self.measured,
            "errors": self.errors,
            "not_run": self.not_run,
            "given": self.given,
            "of_data": self.of_data,
        }
        return {name: value for name, value in values.items() if value is not None}


def prompt_counts(run: RunInfo, cases: Sequence[CaseRecord]) -> dict[str, PromptCount]:
    """How many prompts each suite was given and measured, by its domain.

    Domains that have no suite of their own are together under ``other``, as their data are.
    """
    names = dict.fromkeys([*run.data, *(_suite(run, case.domain) for case in cases)])
    found = {}
    for name in names:
        own = [case for case in cases if _suite(run, case.domain) == name]
        errors = sum(case.verdict is Verdict.ERROR for case in own)
        facts = run.data.get(name, {})
        found[name] = PromptCount(
            measured=len(own) - errors,
            errors=errors,
            given=facts.get("prompts"),
            of_data=facts.get("available"),
        )
    return found


def prompt_lines(counts: Mapping[str, PromptCount], *, complete: bool = True) -> list[str]:
    """What of the data is not in the figures.

    Example:
        >>> prompt_lines({"code": PromptCount(measured=48, errors=2, given=50, of_data=164)})
        ['code: these figures are of 48 of the 164 prompts of the data: 114 were left out by the
        limit, 2 ended in an error']
    """
    lines = [] if complete else ["the run is unfinished: these are the cases that it came to"]
    for name, count in counts.items():
        if count.is_whole:
            continue
        of_data = count.given if count.of_data is None else count.of_data
        limited = 0 if of_data is None or count.given is None else of_data - count.given
        why = [
            *([f"{limited} were left out by the limit"] if limited > 0 else []),
            *([f"{count.errors} ended in an error"] if count.errors else []),
            *([f"{count.not_run} were not run"] if count.not_run else []),
        ]
        total = count.measured + count.errors if of_data is None else of_data
        lines.append(
            f"{name}: these figures are of {count.measured} of the {total} prompts of the data: "
            + ", ".join(why)
        )
    return lines


def refused_lines(cases: Sequence[CaseRecord]) -> list[str]:
    """Cases whose counts contradict themselves: counters are in no figure, told steps are."""
    lines = []
    told = [case.case_id for case in cases if case.contradictions and case.counts is None]
    if told:
        lines.append(
            f"the counts of {len(told)} of {len(cases)} cases contradict each other, and are in "
            f"these figures: believe none before that is mended (first {told[0]})"
        )
    counted = [
        case for case in cases if case.counts is not None and case.verdict is not Verdict.ERROR
    ]
    refused = len(counted) - len(case_counters(counted))
    if not refused:
        return lines
    return [
        *lines,
        f"the counters of {refused} of {len(counted)} cases contradict themselves or the output, "
        "and are in no figure",
    ]


def step_lines(summary: RunSummary) -> list[str]:
    """Between what figures over steps lie, where an engine tells its counters and no steps."""
    lines = []
    for name, group in _groups(summary).items():
        if group.most_steps is None:
            continue
        least = group.at_least
        figures = " and ".join(
            f"{words} {least[metric]:.2f} to {group.metrics[metric].value:.2f}"
            for metric, words in (
                ("accepted_length", "accepted length"),
                ("block_efficiency", "block efficiency"),
            )
        )
        lines.append(
            f"{name}: the engine does not tell its steps; by its counters and outputs they are "
            f"{group.steps} (committed − accepted tokens, where no output was cut inside a step) "
            f"to {group.most_steps}: {figures}"
        )
    return lines


def speculation_lines(run: RunInfo, summary: RunSummary, cases: Sequence[CaseRecord]) -> list[str]:
    """Where speculation did nothing, or something else than was asked for.

    Said are: an acceptance rate that is printed as .000; outputs for which nothing was drafted;
    drafts that are shorter than asked for, and where that begins; a ``--spec-tree`` that the engine
    does not take.

    Args:
        run: What the run was.
        summary: Its figures.
        cases: Its records.
    """
    counters = [c for c in case_counters(cases) if c.steps]
    if not counters:
        return []
    if all(c.drafted == 0 for c in counters):
        steps = sum(c.steps or 0 for c in counters)
        return [
            f"nothing was drafted in {steps} steps of {len(counters)} outputs: no speculation took "
            "place (does the engine draft at all?)"
        ]
    lines = [*_accepted_nothing(summary), *_without_drafts(counters)]
    asked = _asked(run)
    if isinstance(asked, int):
        lines += _shorter(asked, counters)
    elif asked is not None and asked.is_fixed:
        lines += _smaller(asked, cases)
    if not any("positions" in line for line in lines):
        lines += _ended(cases) or _often_empty(cases)
    return lines + _other_tree(run, counters)


def _accepted_nothing(summary: RunSummary) -> list[str]:
    """Groups of which next to nothing was accepted; the whole run alone where it is all.

    That is a rate that is printed as .000, or steps that keep less than a token in twenty: with
    trees of many nodes a rate ÷ drafted says little.
    """
    kept = {
        name: (round(rate.value * rate.n), rate.n)
        for name, group in _groups(summary).items()
        if (rate := group.metrics["acceptance_rate_drafted"]).n
        and _is_nothing(rate.value, group.metrics["accepted_length"].value)
    }
    if OVERALL in kept:
        kept = {OVERALL: kept[OVERALL]}
    return [_only_cost(name, *numbers) for name, numbers in kept.items()]


def nothing_accepted_lines(cases: Sequence[CaseRecord]) -> list[str]:
    """The same of all cases together, from their counters alone."""
    counters = case_counters(cases)
    accepted, drafted = sum(c.accepted for c in counters), sum(c.drafted or 0 for c in counters)
    steps = sum(c.steps or 0 for c in counters)
    if not drafted or not _is_nothing(accepted / drafted, accepted / steps if steps else math.nan):
        return []
    return [_only_cost(OVERALL, accepted, drafted)]


def _is_nothing(rate: float, length: float) -> bool:
    """Whether an acceptance rate or an accepted length is next to 0."""
    return rate < SHOWN_AS_ZERO or length < KEPT_NEARLY_NOTHING


def _only_cost(name: str, accepted: int, drafted: int) -> str:
    return (
        f"{name}: {accepted or 'none'} of {drafted} drafted tokens "
        f"{'was' if accepted <= 1 else 'were'} accepted: speculation only cost time"
    )


def _without_drafts(counters: Sequence[CaseCounters]) -> list[str]:
    empty = sum(c.drafted == 0 for c in counters)
    if not empty:
        return []
    return [f"nothing was drafted for {empty} of {len(counters)} outputs"]


def _often_empty(cases: Sequence[CaseRecord]) -> list[str]:
    """How many steps had no draft, of outputs that had some, where these are many."""
    told = [case.steps["nodes"] for case in cases if case.verdict is not Verdict.ERROR]
    nodes = np.concatenate([np.empty(0), *(own for own in told if own.any())])
    empty = int((nodes == 0).sum())
    if not empty or empty < OFTEN_EMPTY * len(nodes):
        return []
    return [f"nothing was drafted in {empty} of {len(nodes)} steps of outputs that had drafts"]


def _smaller(asked: TreeShape, cases: Sequence[CaseRecord]) -> list[str]:
    """Steps that drafted fewer nodes than a tree of fixed shape has, and from where on."""
    measured = [case for case in cases if case.verdict is not Verdict.ERROR]
    if not measured:
        return []
    nodes, roots = _nodes_and_roots(measured)
    fewer = nodes < asked.most_nodes
    if not fewer.any():
        return []
    line = (
        f"{asked} asks for drafts of {asked.most_nodes} tokens, and {nodes.mean():.1f} were "
        f"drafted a step: fewer in {int(fewer.sum())} of {len(nodes)} steps"
    )
    begins = int(roots[fewer].min())
    if fewer.all() or begins > int(roots[~fewer].max()):
        line += (
            f", all at positions from {begins} of the sequence on: the context of a model (the "
            "draft model's, if the target decodes on) ends there"
        )
    return [line]


def _shorter(asked: int, counters: Sequence[CaseCounters]) -> list[str]:
    """An engine's drafts, where they are shorter than the length that it was set to."""
    mean = _drafted_a_step(counters)
    if mean is None or mean >= NEARLY * asked:
        return []
    return [
        f"draft_length={asked} asks for drafts of {asked} tokens, and {mean:.1f} were drafted a "
        "step with a draft"
    ]


def _nodes_and_roots(cases: Sequence[CaseRecord]) -> tuple[np.ndarray, np.ndarray]:
    """``[steps]`` nodes drafted and position of the root, of every step."""
    parts = list(step_columns(cases, ("nodes", "root_position")))
    nodes, roots = (
        np.concatenate([part.columns[name] for part in parts]).astype(np.int64)
        for name in ("nodes", "root_position")
    )
    return nodes, roots


def _ended(cases: Sequence[CaseRecord]) -> list[str]:
    """Whether no step from some place on had a draft, in any output."""
    told = [c for c in cases if c.verdict is not Verdict.ERROR and length_of(c.steps)]
    if not told:
        return []
    nodes, roots = _nodes_and_roots(told)
    last = int(roots[nodes > 0].max(initial=-1))
    after = int((roots > last).sum())
    if after < max(ENDED_STEPS, ENDED_SHARE * len(roots)):
        return []
    return [
        f"nothing was drafted in {after} of {len(roots)} steps, all that are at positions above "
        f"{last} of the sequence: the context of a draft model that ends there does that"
    ]


def _other_tree(run: RunInfo, counters: Sequence[CaseCounters]) -> list[str]:
    """A tree that was asked for, of an engine that drafts otherwise."""
    engine = run.models.get("engine", {})
    if engine.get("name", "reference") == "reference" or not _asks_for_a_tree(run):
        return []
    shape = _shape(run.config.get("tree"))
    mean = _drafted_a_step(counters)
    if shape is None or mean is None or NEARLY <= mean / shape.most_nodes <= 1:
        return []
    return [
        f"--spec-tree asks for {shape}, drafts of {shape.most_nodes} tokens, and the engine "
        f"{engine.get('name')} drafted {mean:.1f} tokens a step with a draft: it has settings of "
        "its own"
    ]


def _drafted_a_step(counters: Sequence[CaseCounters]) -> float | None:
    """Mean drafted tokens of a step with a draft; None where these are not told."""
    known = [
        (c.drafted, c.drafted_steps) for c in counters if c.drafted_steps and c.drafted is not None
    ]
    steps = sum(count for _, count in known)
    return sum(drafted for drafted, _ in known) / steps if steps else None


def _asked(run: RunInfo) -> TreeShape | int | None:
    """What drafts the engine was asked for: the run's tree, or a length of the engine's own."""
    engine: Mapping[str, Any] = run.models.get("engine", {})
    if run.config.get("budget") or run.config.get("drafter"):
        return None
    if engine.get("name", "reference") == "reference":
        return _shape(run.config.get("tree"))
    length = engine.get("draft_length")
    return length if isinstance(length, int) else None


def _shape(text: object) -> TreeShape | None:
    try:
        return parse_tree(str(text))
    except UsageError:
        return None


def _asks_for_a_tree(run: RunInfo) -> bool:
    """Whether the command, or a configuration file, gives the option."""
    given = any(word.startswith("--spec-tree") for word in run.command)
    return given or str(run.config.get("tree")) not in ("None", str(RunConfig().tree))


def _suite(run: RunInfo, domain: str) -> str:
    """The suite that a domain's prompts were loaded for."""
    other = "other"
    return (
        other if domain not in DOMAINS and domain not in run.data and other in run.data else domain
    )


def _groups(summary: RunSummary) -> dict[str, GroupSummary]:
    return {**summary.domains, OVERALL: summary.overall}
