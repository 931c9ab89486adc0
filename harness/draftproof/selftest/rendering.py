"""The scoreboard as text for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from draftproof.conformance.check_result import Status
from draftproof.selftest.absent import ABSENT
from draftproof.selftest.false_alarms import FalseAlarms
from draftproof.selftest.instruments import INSTRUMENTS, Family, Outcome
from draftproof.selftest.scoreboard import ClassScore, Score, by_class, class_score, select

_MESSAGE = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """Everything that a self-test found.

    Attributes:
        scores: A score for each mutant and control, in the order of the catalogue.
        all_instruments: Whether faults met every instrument.
        alarms: Of lossless engines over many seeds; None where it was not asked for.
        command: What was run.
        models: Of the judge: by role, name and content hash.
        versions: Of whatever can move a number.
        hardware: Facts of the machine.
    """

    scores: tuple[Score, ...]
    all_instruments: bool
    alarms: FalseAlarms | None
    command: str
    models: dict[str, dict[str, Any]]
    versions: dict[str, str]
    hardware: dict[str, Any]

    @property
    def faults(self) -> list[Score]:
        """The scores of planted faults."""
        return select(self.scores, lambda mutant: not mutant.lossless)

    @property
    def controls(self) -> list[Score]:
        """The scores of lossless controls."""
        return select(self.scores, lambda mutant: mutant.lossless)

    @property
    def missed(self) -> list[Score]:
        """Faults that nothing caught."""
        return [score for score in self.faults if not score.right]

    @property
    def flagged(self) -> list[Score]:
        """Controls that something flagged."""
        return [score for score in self.controls if not score.right]


def class_rows(found: SelfTest) -> list[ClassScore]:
    """A row for each class, and one each for reported faults, own ones and all."""
    rows = by_class(found.scores)
    reported = [score for score in found.faults if not score.mutant.own]
    own = [score for score in found.faults if score.mutant.own]
    for name, scores in (
        ("reported faults", reported),
        ("faults thought of here", own),
        ("all faults", found.faults),
    ):
        if scores:
            rows.append(class_score(name, scores))
    return rows


def class_table(found: SelfTest, style: str) -> str:
    """The scoreboard by class, as ``tabulate`` lays it out."""
    families = [f for f in Family if any(f in row.by for row in class_rows(found))]
    return _table(
        [
            [
                row.name,
                row.planted,
                row.caught,
                *(row.by.get(family, "") for family in families),
                "–" if row.median_tokens is None else f"{row.median_tokens:.0f}",
            ]
            for row in class_rows(found)
        ],
        headers=["class", "planted", "caught", *families, "median tokens"],
        tablefmt=style,
        disable_numparse=True,
        colalign=("left", *["right"] * (3 + len(families))),
    )


def reach_table(found: SelfTest, style: str) -> str:
    """How many faults each instrument catches by itself; of a run of all instruments."""
    rows = []
    for name, (family, _) in INSTRUMENTS.items():
        outcomes = [o for score in found.faults for o in score.outcomes if o.instrument == name]
        alone = [
            score
            for score in found.faults
            if len(score.catches) == 1 and score.catches[0].instrument == name
        ]
        able = [o for o in outcomes if o.status in (Status.PASSED, Status.FAILED)]
        rows.append([name, family, len(able), sum(o.caught for o in able), len(alone)])
    return _table(
        rows,
        headers=["instrument", "kind", "mutants it applies to", "caught", "by nothing else"],
        tablefmt=style,
        disable_numparse=True,
    )


def _table(rows: Sequence[Sequence[object]], **layout: Any) -> str:
    return str(tabulate(rows, **layout))


def result_line(score: Score) -> str:
    """A mutant's line as it is examined."""
    mutant = score.mutant
    if mutant.lossless:
        verdict = "FLAGGED" if score.caught else "passed"
    else:
        verdict = "caught" if score.caught else "MISSED"
    line = f"{mutant.id:<13} {verdict:<8} {mutant.title}"
    if score.caught:
        line += f": {score.catches[0].instrument} {_after(score.catches[0])}"
    return line


def terminal(found: SelfTest) -> str:
    """The scoreboard by class and what is wrong, for the terminal."""
    lines = []
    if found.faults:
        lines.append(class_table(found, "simple"))
    lines.append("\n".join(_summary(found)))
    return "\n\n".join(lines)


def markdown(found: SelfTest) -> str:
    """The whole scoreboard as a page."""
    parts = [
        "# Planted faults, and what catches them",
        f"Made by `{found.command}`. Each fault is a few lines in an otherwise sound system; "
        "docs/mutants.md says how to read this.",
        "\n".join(f"- {line}" for line in _summary(found)),
        "## By class",
        "The kind of instrument that caught a fault is the first one that did, in increasing cost; "
        "tokens are those that speculation had committed by then, in the median over the faults "
        "that took any (enumeration and arithmetic take none).",
        class_table(found, "github"),
    ]
    if found.all_instruments:
        parts += [
            "## By instrument",
            "Every fault met every instrument that applies to it.",
            reach_table(found, "github"),
        ]
    parts += ["## Every fault", _fault_table(found), "## Lossless controls", _control_table(found)]
    parts += [
        "## Not planted",
        _table(
            [[a.id, a.title, a.source, a.reason] for a in ABSENT],
            headers=["id", "fault", "source", "why not"],
            tablefmt="github",
        ),
        "## Made with",
        _settings(found),
    ]
    return "\n\n".join(parts) + "\n"


def json_document(found: SelfTest) -> dict[str, Any]:
    """The whole scoreboard as plain JSON values."""
    return {
        "schema_version": 1,
        "command": found.command,
        "all_instruments": found.all_instruments,
        "summary": {
            "planted": len(found.faults),
            "caught": len(found.faults) - len(found.missed),
            "missed": [score.mutant.id for score in found.missed],
            "controls": len(found.controls),
            "flagged": [score.mutant.id for score in found.flagged],
        },
        "classes": [
            {
                "class": row.name,
                "planted": row.planted,
                "caught": row.caught,
                "by": {str(family): count for family, count in row.by.items()},
                "median_tokens": row.median_tokens,
            }
            for row in class_rows(found)
        ],
        "mutants": [_score_json(score) for score in found.scores],
        "absent": [
            {"id": a.id, "title": a.title, "source": a.source, "reason": a.reason} for a in ABSENT
        ],
        "false_alarms": None
        if found.alarms is None
        else {
            "runs": found.alarms.runs,
            "flagged": list(found.alarms.flagged),
            "tokens": found.alarms.tokens,
            "interval": [found.alarms.low, found.alarms.high],
        },
        "models": found.models,
        "versions": found.versions,
        "hardware": found.hardware,
    }


def _score_json(score: Score) -> dict[str, Any]:
    mutant = score.mutant
    return {
        "id": mutant.id,
        "title": mutant.title,
        "class": str(mutant.fault_class),
        "source": mutant.source,
        "lossless": mutant.lossless,
        "only_acceptance": mutant.only_acceptance,
        "tree": mutant.tree,
        "caught": score.caught,
        "outcomes": [
            {
                "instrument": outcome.instrument,
                "status": str(outcome.status),
                "message": outcome.message,
                "tokens": outcome.tokens,
                "steps": outcome.steps,
                "request_steps": outcome.request_steps,
                "requests": outcome.requests,
                "laws": outcome.laws,
            }
            for outcome in score.outcomes
        ],
    }


def _summary(found: SelfTest) -> list[str]:
    faults, controls = found.faults, found.controls
    lines = []
    if faults:
        caught = len(faults) - len(found.missed)
        share = caught / len(faults)
        lines.append(f"{caught} of {len(faults)} planted faults caught ({share:.1%})")
    if found.missed:
        named = (f"{score.mutant.id} ({score.mutant.title})" for score in found.missed)
        lines.append("missed: " + ", ".join(named))
    hidden = [score for score in faults if score.mutant.only_acceptance]
    if hidden:
        soon = [s for s in hidden if s.caught]
        steps = sorted(score.catches[0].request_steps for score in soon)
        median = statistics.median(steps or [0])
        lines.append(
            f"{len(soon)} of {len(hidden)} faults that leave the output lossless and only cost "
            f"acceptance caught, in the median after {median:.0f} steps of the request that showed "
            f"it, at most after {max(steps, default=0)}"
        )
    if controls:
        lines.append(f"{len(found.flagged)} of {len(controls)} lossless controls flagged")
    lines += [
        f"{score.mutant.id} flagged by {score.catches[0].instrument}: {score.catches[0].message}"
        for score in found.flagged
    ]
    if found.alarms is not None:
        alarms = found.alarms
        lines.append(
            f"{len(alarms.flagged)} of {alarms.runs} seeded runs of lossless engines flagged by "
            f"the anytime-valid test ({alarms.tokens:,} tokens; rate between {alarms.low:.4f} and "
            f"{alarms.high:.4f}, 95% Clopper–Pearson)"
        )
    return lines


def _fault_table(found: SelfTest) -> str:
    rows = []
    for score in found.faults:
        mutant, first = score.mutant, next(iter(score.catches), None)
        rows.append(
            [
                mutant.id,
                mutant.title,
                mutant.source,
                "**missed**" if first is None else f"{first.instrument} {_after(first)}",
                "" if first is None else _cell(first.message),
                ", ".join(o.instrument for o in score.catches[1:]),
            ]
        )
    headers = ["id", "fault", "source", "caught first by", "its message", "and by"]
    columns = len(headers) if found.all_instruments else len(headers) - 1
    return _table([row[:columns] for row in rows], headers=headers[:columns], tablefmt="github")


def _control_table(found: SelfTest) -> str:
    return _table(
        [
            [
                score.mutant.id,
                score.mutant.title,
                score.mutant.source,
                sum(o.status is Status.PASSED for o in score.outcomes),
                ", ".join(o.instrument for o in score.catches) or "none",
            ]
            for score in found.controls
        ],
        headers=["id", "control", "source", "instruments passed", "flagged by"],
        tablefmt="github",
    )


def _after(outcome: Outcome) -> str:
    if outcome.laws:
        return f"after {outcome.laws} table{'s' * (outcome.laws > 1)}"
    if not outcome.requests:
        return "at once"
    return f"after {outcome.tokens} tokens ({outcome.steps} steps)"


def _cell(message: str) -> str:
    text = " ".join(message.split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")
    return text if len(text) <= _MESSAGE else text[: _MESSAGE - 1] + "…"


def _settings(found: SelfTest) -> str:
    models = ", ".join(
        f"{role} {model['name']} ({model['parameters'] / 1e6:,.1f} M, {model['dtype']} on "
        f"{model['device']})"
        for role, model in found.models.items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    hardware = f"{found.hardware['cpus']} × {found.hardware['cpu']}"
    return f"{models}; {hardware}; {versions}."
