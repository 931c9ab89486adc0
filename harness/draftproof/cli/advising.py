"""``draftproof advise``: the best draft model and tree for each domain, and what they promise."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from draftproof.cli.outputs import require_file
from draftproof.cli.replaying import add_costs_option, costs_of
from draftproof.cli.result import say
from draftproof.errors import UsageError
from draftproof.files import write_asked
from draftproof.replay.advice import advise as advise_from
from draftproof.replay.advice_text import advice_budget, advice_json, terminal_advice
from draftproof.replay.candidates import LOOKUP
from draftproof.replay.choosing import Limits
from draftproof.replay.costs import COSTS_FILE
from draftproof.replay.notes import recording_notes
from draftproof.replay.storage import COLUMNS_FILE, INFO_FILE, JOURNAL_FILE, load_recording
from draftproof.report.metrics_json import strict_json
from draftproof.statistics.resampling import Resampling

_DESCRIPTION = """\
Chooses, by domain, the draft model and the tree that commit the most tokens a second, by replaying
a recording under measured costs (or those of --costs), and promises what they gave on prompts that
had no part in the choice. Says what one setting for all domains would lose, and from which cost of
the draft model on speculation is better left out. `draftproof docs advise` leads through it.
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof advise``."""
    parser = commands.add_parser(
        "advise",
        help="the best draft model, tree and draft length for each domain, from a recording",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("recording", metavar="RECORDING", type=Path, help="folder of a recording")
    add(
        "--target",
        metavar="NAME",
        help="refuse a recording of another target (default: the recording's own)",
    )
    add(
        "--drafts",
        metavar="NAMES",
        help="what to choose from, separated by commas: recorded draft models, lookup, none "
        "(default: all of them)",
    )
    add_costs_option(parser)
    add("--budget", metavar="FILE", type=Path, help="write a budget file, for --spec-budget")
    add("--page", metavar="FILE", type=Path, help="write a page with the sweep")
    add("--json", metavar="FILE", type=Path, help="write the advice as JSON")
    add("--max-nodes", type=int, default=32, help="of the largest tree (default: %(default)s)")
    add("--max-depth", type=int, default=10, help="of the deepest draft (default: %(default)s)")
    add("--max-siblings", type=int, default=8, help="after one node (default: %(default)s)")
    add("--resamples", type=int, default=10_000, help="bootstrap resamples (default: %(default)s)")


def advise(arguments: argparse.Namespace) -> str:
    """The advice as text; its files are written.

    Raises:
        UsageError: A name, a limit or the costs cannot be used.
        TraceError: There is no recording to read.
    """
    _require_own_files(arguments)
    limits = _limits(arguments)
    recording = load_recording(arguments.recording)
    target = str(recording.info.settings["target"])
    if arguments.target not in (None, target):
        raise UsageError(
            f"--target {arguments.target}: the recording is of '{target}'; record the other target "
            "with `draftproof record --target`"
        )
    costs = costs_of(arguments, required=True)
    if costs is None:
        raise UsageError("there are no costs; give --costs FILE")
    drafters = _drafters(arguments.drafts) or (*recording.info.drafts, LOOKUP)
    advice = advise_from(
        recording,
        costs,
        drafters,
        limits=limits,
        resampling=Resampling(resamples=arguments.resamples),
        say=say,
    )
    lines = [terminal_advice(advice, recording_notes(recording))]
    if arguments.budget is not None:
        budget = advice_budget(advice)
        write_asked(arguments.budget, strict_json(budget.to_json()))
        sampling = {"temperature": budget.temperature, **(budget.filters or {})}
        options = "".join(
            f" --spec-{name.replace('_', '-')} {value:g}"
            for name, value in sampling.items()
            if budget.temperature and value != _UNUSED[name]
        )
        lines.append(
            f"Budget: {arguments.budget} (pytest suites/ --spec-budget {arguments.budget}{options})"
        )
    if arguments.json is not None:
        write_asked(arguments.json, strict_json(advice_json(advice)))
    if arguments.page is not None:
        from draftproof.report.page.sweep import write_sweep_page

        lines.append(f"Page: {write_sweep_page(arguments.page, advice)}")
    return "\n\n".join(lines)


def _require_own_files(arguments: argparse.Namespace) -> None:
    """Verify that what is written lies apart from one another, and from the recording.

    Raises:
        UsageError: Two files are one, one is the recording's, or one cannot be written.
    """
    taken = {
        (arguments.recording / name).resolve(): "the recording's own"
        for name in (INFO_FILE, JOURNAL_FILE, COLUMNS_FILE, COSTS_FILE)
    }
    if arguments.costs is not None:
        taken[arguments.costs.resolve()] = "the file of --costs"
    for option in ("budget", "page", "json"):
        path = getattr(arguments, option)
        require_file(f"--{option}", path)
        if path is None:
            continue
        if (other := taken.get(path.resolve())) is not None:
            raise UsageError(f"--{option} {path}: this is {other}; give another file")
        taken[path.resolve()] = f"the file of --{option}"


_UNUSED = {"temperature": 0, "top_k": 0, "top_p": 1, "min_p": 0}
"""Values of sampling that need no option."""


def _drafters(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def _limits(arguments: argparse.Namespace) -> Limits:
    values = arguments.max_nodes, arguments.max_depth, arguments.max_siblings
    if min(values) < 1:
        raise UsageError("--max-nodes, --max-depth and --max-siblings are at least 1")
    if arguments.resamples < 100:
        raise UsageError(f"--resamples: {arguments.resamples} is too few; give 100 or more")
    return Limits(nodes=values[0], depth=values[1], ranks=values[2])
