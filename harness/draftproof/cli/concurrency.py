"""``draftproof concurrency``: saved runs of one server beside each other, by requests in flight."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

from draftproof.report import load_run
from draftproof.report.concurrency_table import (
    CONCURRENCY_LINE,
    LoadedRun,
    concurrency_json,
    concurrency_notes,
    concurrency_table,
    concurrency_times,
)
from draftproof.report.latency_table import LATENCY_LINE
from draftproof.report.markdown import markdown_table
from draftproof.report.metrics_json import strict_json
from draftproof.report.terminal import WIDTH, terminal_table
from draftproof.statistics import Resampling, summarise

_DESCRIPTION = """\
Runs of the same prompts on one server, each with another --spec-concurrency, beside each other:
verdicts, acceptance with intervals over prompts, and, of runs with stream=true, the time to the
first token, the inter-token latency and the tokens a second of a request (p50, p90, p99).
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "concurrency",
        help="runs beside each other by how many requests were in flight",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "reports", metavar="REPORT", type=Path, nargs="+", help="folders of saved runs"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print JSON, for programs")
    shown.add_argument("--markdown", action="store_true", help="print Markdown tables")


def concurrency(arguments: argparse.Namespace) -> str:
    """``draftproof concurrency``: the tables.

    Raises:
        TraceError: There is no run to read.
    """
    runs = []
    for folder in arguments.reports:
        saved = load_run(folder)
        summary = summarise(saved.cases, Resampling(seed=0))
        runs.append(
            LoadedRun(run=saved.run, summary=summary, cases=saved.cases, complete=saved.complete)
        )
    notes = concurrency_notes(runs)
    if arguments.json:
        return strict_json({"runs": concurrency_json(runs), "notes": notes})
    table = markdown_table if arguments.markdown else terminal_table
    blocks = [table(concurrency_table(runs)), CONCURRENCY_LINE]
    if (times := concurrency_times(runs)) is not None:
        blocks += [table(times), LATENCY_LINE]
    else:
        blocks.append("No run was told when its tokens arrived; give stream=true.")
    blocks += notes
    if arguments.markdown:
        return "\n\n".join(blocks)
    return "\n\n".join(
        block if "\n" in block else textwrap.fill(block, WIDTH, break_on_hyphens=False)
        for block in blocks
    )
