"""``draftproof replay``: what trees would have kept, from a recording alone."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from draftproof.errors import UsageError
from draftproof.replay.advice_text import interval, shown, table_of
from draftproof.replay.candidates import LOOKUP, NONE, PLAIN, Candidate, Sweep
from draftproof.replay.costs import COSTS_FILE, CostModel, load_costs
from draftproof.replay.crossfit import efficiency_estimate, speedup_estimate
from draftproof.replay.notes import recording_notes
from draftproof.replay.recorded import Recording
from draftproof.replay.storage import load_recording
from draftproof.report.metrics_json import strict_json
from draftproof.shapes import NO_TREE, LookupShape, StaticShape, parse_tree
from draftproof.statistics.resampling import Resampling
from draftproof.wording import counted

_DESCRIPTION = """\
What each tree would have kept of the recorded trajectories, without a model: steps and tokens are
those of a live run at temperature 0, and expectations without bias above it. With the costs that
were recorded, or with --costs, also the speedup. `draftproof docs advise` says what a recording
decides and what it does not.
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof replay``."""
    parser = commands.add_parser(
        "replay",
        help="what any chain, k-ary or static tree would have kept, from a recording",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("recording", metavar="RECORDING", type=Path, help="folder of a recording")
    add(
        "--tree",
        metavar="SHAPE",
        action="append",
        default=[],
        help="a shape, as --spec-tree takes it: chain:5, 3x2, static:FILE.json, lookup:5; several",
    )
    add("--draft", metavar="NAME", help="draft model (default: every recorded one)")
    add("--domain", metavar="NAME", help="only this domain (default: each of them)")
    add_costs_option(parser)
    add("--json", action="store_true", help="print JSON, for programs")


def add_costs_option(parser: argparse.ArgumentParser) -> None:
    """The option of another machine's costs."""
    parser.add_argument(
        "--costs",
        metavar="FILE",
        type=Path,
        help="milliseconds of forward passes by tokens scored, in place of the recorded ones "
        "(`draftproof docs advise` has the form)",
    )


def replay(arguments: argparse.Namespace) -> str:
    """A row for each domain, draft model and tree.

    Raises:
        UsageError: A tree is none that a recording decides, or a name is unknown.
        TraceError: There is no recording to read.
    """
    recording = load_recording(arguments.recording)
    recording.require_cases()
    costs = costs_of(arguments, required=False)
    named = _candidates(recording, arguments.draft, arguments.tree)
    domains = recording.domains if arguments.domain is None else (arguments.domain,)
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    for domain in domains:
        sweep = Sweep(recording, recording.of_domain(domain), costs or free_costs(recording))
        rows += _rows(domain, sweep, named, is_priced=costs is not None)
    seconds = time.perf_counter() - began
    if arguments.json:
        return strict_json({"notes": recording_notes(recording), "rows": rows}).rstrip("\n")
    return "\n\n".join(
        [
            *recording_notes(recording),
            _table(rows, is_priced=costs is not None),
            *_reaching(recording, list(named)),
            f"{counted(len(rows), 'replay')} of {counted(len(recording.cases), 'prompt')} in "
            f"{seconds:.2f} s; no model "
            "was loaded.",
        ]
    )


def costs_of(arguments: argparse.Namespace, *, required: bool) -> CostModel | None:
    """The costs of ``--costs``, or those in the recording's folder.

    Raises:
        UsageError: They cannot be read, or there are none and they are required.
    """
    path = arguments.costs or arguments.recording / COSTS_FILE
    if not required and arguments.costs is None and not path.exists():
        return None
    return load_costs(path)


def free_costs(recording: Recording) -> CostModel:
    """Costs under which every pass takes the same, for acceptance alone."""
    table = {"1": 1.0, "1000000": 1.0}
    values = {"target": table, "drafts": dict.fromkeys(recording.info.drafts, table)}
    return CostModel.from_json(values, "no costs")


def _candidates(
    recording: Recording, draft: str | None, trees: Sequence[str]
) -> dict[Candidate, str]:
    """What is replayed, each with what it is called.

    Raises:
        UsageError: There is no tree, one cannot be read, or it does not go with the draft.
    """
    if not trees:
        raise UsageError("give at least one --tree, such as --tree chain:4 --tree 3x2")
    if draft is not None and draft not in (LOOKUP, NONE):
        recording.require_draft(draft)
    drafts = recording.info.drafts if draft is None else (draft,)
    found: dict[Candidate, str] = {}
    for text in trees:
        shape = parse_tree(text, "--tree")
        if isinstance(shape, LookupShape):
            candidate = PLAIN if shape == NO_TREE else Candidate(draft=LOOKUP, shape=shape)
            found.setdefault(candidate, shown(candidate))
            continue
        if draft in (LOOKUP, NONE):
            raise UsageError(
                f"--tree {text} is of a draft model, and --draft {draft} has none; leave --draft "
                f"out, or name one of {', '.join(recording.info.drafts)}"
            )
        for name in drafts:
            candidate = Candidate(draft=name, shape=shape)
            found.setdefault(candidate, _named(candidate, text))
    return found


def _named(candidate: Candidate, text: str) -> str:
    """A setting by what was typed, where two trees of a size would be called alike."""
    if not isinstance(candidate.shape, StaticShape):
        return shown(candidate)
    place = text.strip().removeprefix("static:")
    if not place.startswith("["):
        return f"{shown(candidate)} ({place})"
    return f"{candidate.draft}, {candidate.shape}"


def _rows(
    domain: str, sweep: Sweep, named: Mapping[Candidate, str], *, is_priced: bool
) -> list[dict[str, Any]]:
    candidates = list(named)
    measured, resampling = sweep.measure(candidates), Resampling(resamples=2000)
    rows: list[dict[str, Any]] = []
    for number, candidate in enumerate(candidates):
        steps, drafted = measured.steps[number], measured.drafted[number].sum()
        row: dict[str, Any] = {
            "domain": domain,
            "setting": named[candidate],
            "draft": candidate.draft,
            "tree": str(candidate.shape),
            "steps": float(steps.sum()),
            "drafted": float(drafted),
            "accepted": float(measured.accepted[number].sum()),
            "acceptance_rate": float(measured.accepted[number].sum() / drafted)
            if drafted
            else None,
            "block_efficiency": efficiency_estimate(
                sweep.committed, steps, candidate.shape.deepest, domain, resampling
            ),
        }
        if is_priced:
            row["speedup"] = speedup_estimate(
                sweep.plain,
                measured.seconds[number],
                sweep.workload.committed,
                domain,
                resampling,
            )
        rows.append(row)
    return [
        {key: _plain(value) if key in _ESTIMATES else value for key, value in row.items()}
        for row in rows
    ]


def _reaching(recording: Recording, candidates: Sequence[Candidate]) -> list[str]:
    """What is counted too low of drafts that reach beyond what was recorded after an output."""
    deep = [each for each in candidates if each.shape.deepest > recording.info.overrun]
    if not deep:
        return []
    return [
        f"{', '.join(dict.fromkeys(shown(each) for each in deep))}: deeper than the "
        f"{recording.info.overrun} tokens that were recorded after each output, so that what the "
        "last step would have accepted beyond it is counted too low; steps and speedups are "
        f"exact (`draftproof record --overrun {max(each.shape.deepest for each in deep)}`)."
    ]


_ESTIMATES = ("block_efficiency", "speedup")


def _plain(estimate: Any) -> dict[str, Any]:
    return {
        key: value if np.isfinite(value) else None
        for key, value in (
            ("value", estimate.value),
            ("low", estimate.low),
            ("high", estimate.high),
        )
    }


def _table(rows: Sequence[dict[str, Any]], *, is_priced: bool) -> str:
    from draftproof.statistics.bootstrap import Estimate

    def cell(values: dict[str, Any]) -> str:
        value, low, high = (
            np.nan if values[name] is None else values[name] for name in ("value", "low", "high")
        )
        return interval(Estimate(value=value, low=low, high=high, n=0))

    heads = ["domain", "setting", "steps", "accepted\n÷ drafted", "block\nefficiency"]
    listed = [
        [
            row["domain"],
            row["setting"],
            f"{row['steps']:.0f}",
            "–" if row["acceptance_rate"] is None else f"{row['acceptance_rate']:.3f}",
            cell(row["block_efficiency"]),
            *([cell(row["speedup"])] if is_priced else []),
        ]
        for row in rows
    ]
    return table_of(
        listed,
        [*heads, *(["speedup"] if is_priced else [])],
    )
