"""``draftproof history``: a figure over commits, as the runs of ``--spec-save`` left it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from draftproof.cli.outputs import require_file
from draftproof.errors import UsageError
from draftproof.gate import FOLDER
from draftproof.history.as_json import trend_json
from draftproof.history.entry import FIGURES
from draftproof.history.file import HISTORY_FILE, read_history
from draftproof.history.trend import ALPHA, DEFAULT, metric_of, trend
from draftproof.report.history_text import SHOWN_RUNS, markdown_trend, terminal_trend
from draftproof.report.metrics_json import strict_json
from draftproof.report.page.history import write_history_page


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "history",
        help="a figure over commits, with intervals and the places where its level changed",
        description="A figure of every run that `pytest --report --spec-save NAME` kept, in the "
        "order of commits: a line for each engine, set of settings, models, prompts and branch, "
        "with 95%% intervals, and the change points of each line. `draftproof docs history` says "
        "how they are found, and how often wrongly.",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        type=Path,
        help="history files, or folders of baselines that hold one; several are read as one "
        f"(default: the one in {FOLDER})",
    )
    parser.add_argument(
        "--metric",
        default=DEFAULT,
        metavar="NAME",
        help=f"the figure: {', '.join(FIGURES)} (default: %(default)s)",
    )
    parser.add_argument("--branch", metavar="NAME", help="runs of this branch only (default: all)")
    parser.add_argument(
        "--alpha",
        "--spec-alpha",
        type=float,
        default=ALPHA,
        help="chance that any change point is shown where nothing changed (default: %(default)s)",
    )
    parser.add_argument(
        "--last",
        type=_count,
        default=SHOWN_RUNS,
        metavar="N",
        help="runs of a line in the tables, the newest (default: %(default)s); all are tested, and "
        "all are in --json",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, for programs")
    form.add_argument("--markdown", action="store_true", help="print Markdown, for a CI summary")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts too")


def history(arguments: argparse.Namespace) -> str:
    """The trend as text, Markdown or JSON, and as a page where one is asked for.

    Raises:
        UsageError: The figure, the branch or α cannot be used, or the page has no folder.
        TraceError: A history is missing, or nothing of it can be read.
        DraftproofError: The page cannot be written.
    """
    require_file("--html", arguments.html)
    metric = metric_of(arguments.metric)
    kept = read_history(arguments.files or [Path(FOLDER) / HISTORY_FILE])
    if not kept.entries:
        raise UsageError("the history is empty; pytest --report --spec-save NAME adds to it")
    found = trend(kept.entries, metric, branch=arguments.branch, alpha=arguments.alpha)
    page = ""
    if arguments.html is not None:
        page = f"\n\nPage: {write_history_page(arguments.html, found, kept.notes, arguments.typed)}"
    if arguments.json:
        return strict_json(trend_json(found, kept.notes)).rstrip("\n")
    if arguments.markdown:
        return markdown_trend(found, kept.notes, last=arguments.last)
    return terminal_trend(found, kept.notes, last=arguments.last) + page


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of runs; give 1 or more")
    return value
