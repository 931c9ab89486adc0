"""``draftproof compare``: a saved run beside an earlier one, or judged by its own figures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from draftproof.cli.outputs import require_file
from draftproof.cli.result import Result
from draftproof.errors import GATE_FAILED_EXIT_CODE, INCONCLUSIVE_EXIT_CODE, UsageError
from draftproof.gate import (
    ALPHA,
    FOLDER,
    Gate,
    MeasuredRun,
    Outcome,
    Storage,
    comparison_json,
    judge_alone,
    parse_gate,
)
from draftproof.gate import compare as compare_runs
from draftproof.gate.comparison import check_metrics
from draftproof.report.comparison_text import markdown_comparison, terminal_comparison
from draftproof.report.metrics_json import strict_json
from draftproof.report.page.comparison import write_comparison_page

EXIT_CODES: dict[Outcome | None, int] = {
    Outcome.FAIL: GATE_FAILED_EXIT_CODE,
    Outcome.INCONCLUSIVE: INCONCLUSIVE_EXIT_CODE,
    Outcome.NO_VERDICT: INCONCLUSIVE_EXIT_CODE,
}


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "compare",
        help="a run beside an earlier one: gates on changes, and the first step that differs; or "
        "one run: gates on its own figures",
        description="Compares two saved runs, paired by prompt: the changes with intervals, the "
        "first case, step and node that differ, and gates. Each of BEFORE and NOW is the name of a "
        "baseline, or the path of its file or of a REPORT's folder. One run alone is judged by "
        "floors and ceilings (--fail 'block_efficiency:>=1.2'). `draftproof docs gate` explains "
        "them. An option that pytest has too may be written as there: --spec-fail for --fail.",
    )
    parser.add_argument("before", metavar="BEFORE", nargs="?", help="the earlier run")
    parser.add_argument("now", metavar="NOW", help="the later run")
    parser.add_argument(
        "--fail",
        "--spec-fail",
        dest="fail",
        metavar="EXPR",
        action="append",
        default=[],
        help="a gate, for example acceptance_rate:-0.02 (a change) or 'block_efficiency:>=1.2' "
        "(the figure itself); several",
    )
    parser.add_argument(
        "--anyway",
        "--spec-compare-anyway",
        action="store_true",
        help="compare runs of other models, prompts, settings, versions or devices too, and runs "
        "that did not come to their end",
    )
    parser.add_argument(
        "--alpha",
        "--spec-alpha",
        type=float,
        default=ALPHA,
        help="chance that changes within their margins fail (default: %(default)s)",
    )
    parser.add_argument(
        "--storage",
        "--spec-storage",
        type=Path,
        default=Path(FOLDER),
        help="baselines' folder (default: %(default)s)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, for programs")
    form.add_argument("--markdown", action="store_true", help="print Markdown, for a CI summary")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page too, with both trees side by side"
    )


def compare(arguments: argparse.Namespace) -> Result:
    """The comparison as text, Markdown or JSON, and as a page where one is asked for.

    Raises:
        UsageError: A gate cannot be read, the runs differ in what must be the same, or the page
            has no folder to lie in.
        TraceError: There is no such run.
        DraftproofError: The page cannot be written.
    """
    if not 0 < arguments.alpha < 1:
        raise UsageError(f"--alpha: {arguments.alpha} is not between 0 and 1")
    require_file("--html", arguments.html)
    gates = [parse_gate(text) for text in arguments.fail]
    storage = Storage(arguments.storage)
    if arguments.before is None:
        _require_alone(arguments, gates)
        run = _load(storage, arguments.now, partial=arguments.anyway)
        found = judge_alone(run, gates, alpha=arguments.alpha)
    else:
        before, now = (
            _load(storage, name, partial=arguments.anyway)
            for name in (arguments.before, arguments.now)
        )
        check_metrics(before, gates)
        found = compare_runs(before, now, gates, anyway=arguments.anyway, alpha=arguments.alpha)
    if arguments.json:
        text = strict_json(comparison_json(found)).rstrip("\n")
    elif arguments.markdown:
        text = markdown_comparison(found).rstrip("\n")
    else:
        text = terminal_comparison(found)
    if arguments.html is not None:
        page = write_comparison_page(arguments.html, found)
        if not (arguments.json or arguments.markdown):
            text += f"\nComparison: {page}"
    return Result(text, EXIT_CODES.get(found.outcome, 0))


def _require_alone(arguments: argparse.Namespace, gates: Sequence[Gate]) -> None:
    """Refuse what one run alone cannot be asked.

    Raises:
        UsageError: There is no gate, one is about a change, or two runs are needed otherwise.
    """
    if not gates or any(gate.needs_baseline for gate in gates):
        raise UsageError(
            f"there is one run ({arguments.now}), and nothing to compare it with: give BEFORE and "
            "NOW, or only gates on the figures themselves (--fail 'block_efficiency:>=1.2')"
        )
    if arguments.html:
        raise UsageError("--html is about two runs: give BEFORE and NOW, or leave it out")


def _load(storage: Storage, name: str, *, partial: bool) -> MeasuredRun:
    return replace(storage.load(name, partial=partial), name=_shown(name))


def _shown(name: str) -> str:
    return name if len(name) <= 40 else Path(name).name
