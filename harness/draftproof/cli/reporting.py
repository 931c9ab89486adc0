"""``draftproof report``: a saved run again, in the terminal, as its page, or for other programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from draftproof.cli.outputs import require_file
from draftproof.cli.report_arguments import add_report_arguments, add_resamples
from draftproof.errors import DraftproofError, TraceError, UsageError
from draftproof.files import write_asked
from draftproof.report import (
    PageSource,
    SavedRun,
    load_run,
    metrics_document,
    open_page,
    terminal_report,
    write_page,
)
from draftproof.report.export.badge import DEFAULT_FIGURE, badge_svg, run_badge
from draftproof.report.export.github import add_summary, run_annotations
from draftproof.report.export.loggers import log_to_mlflow, log_to_wandb
from draftproof.report.export.openmetrics import openmetrics_text
from draftproof.report.export.tables import tables_document, write_csv
from draftproof.report.markdown import markdown_report
from draftproof.report.metrics_json import strict_json
from draftproof.report.notes import run_notes
from draftproof.report.promise_table import judged_promises
from draftproof.statistics import Resampling, summarise
from draftproof.statistics import study as study_of

COMPARISON_FILE, COMPARISON_SUMMARY = "comparison.json", "comparison.md"
_EXPORTS = ("csv", "tables", "openmetrics", "badge", "github", "mlflow", "wandb")


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof report``."""
    parser = commands.add_parser(
        "report",
        help="the report of a saved run, again: in the terminal, as report.html, or for other "
        "programs",
        description="The terminal's report of a saved run, as it was printed when the run ended; "
        "and its page, report.html in the run's folder, made again; or, for other programs, its "
        "tables, figures, badge and annotations.",
    )
    add_report_arguments(parser)
    add_resamples(parser)
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    group = parser.add_argument_group(
        "for other programs", "With one of these, neither the report is printed nor its page made."
    )
    group.add_argument(
        "--csv", type=Path, metavar="DIR", help="write every table as a CSV file into DIR"
    )
    group.add_argument(
        "--tables",
        type=Path,
        metavar="FILE",
        help="write every table as one JSON document (`draftproof schema tables`)",
    )
    group.add_argument(
        "--openmetrics",
        type=Path,
        metavar="FILE",
        help="write the figures as OpenMetrics text, for Prometheus and GitLab's metrics reports",
    )
    group.add_argument(
        "--badge",
        type=Path,
        metavar="FILE",
        help="write a badge as SVG; it says where the run is partial, of fewer prompts, or of the "
        "toy pair",
    )
    group.add_argument(
        "--badge-figure",
        default=DEFAULT_FIGURE,
        metavar="NAME[@DOMAIN]",
        help="the figure on the badge (default: %(default)s)",
    )
    group.add_argument(
        "--github",
        action="store_true",
        help="in a step of GitHub Actions: print annotations, and add the report, and the "
        "comparison beside it, to the step's summary",
    )
    group.add_argument(
        "--mlflow", metavar="EXPERIMENT", help="log the report to MLflow (extra: mlflow)"
    )
    group.add_argument(
        "--wandb", metavar="PROJECT", help="log the report to Weights & Biases (extra: wandb)"
    )


def report(arguments: argparse.Namespace) -> str:
    """``draftproof report``: the terminal's report of a saved run and its page, or its exports.

    Raises:
        UsageError: An option cannot be used.
        TraceError: There is no run to read.
        DraftproofError: A file cannot be written.
    """
    _check(arguments)
    if not arguments.report.exists():
        raise TraceError(f"there is no report at {arguments.report}; check the path")
    saved = load_run(arguments.report)
    resampling = Resampling(resamples=arguments.resamples)
    summary, found = (
        summarise(saved.cases, resampling),
        study_of(saved.cases, resampling, is_drawn_chain=saved.run.is_drawn_chain),
    )
    if arguments.json:
        notes = run_notes(saved.run, summary, saved.cases, complete=saved.complete)
        return strict_json(metrics_document(summary, found, notes, saved.cases)).rstrip("\n")
    promised = judged_promises(saved.run, summary, saved.cases)
    source = PageSource(
        run=saved.run,
        cases=saved.cases,
        summary=summary,
        study=found,
        texts=saved.texts,
        promised=promised,
        complete=saved.complete,
    )
    if _asked(arguments):
        return "\n".join(_export(arguments, saved, source))
    text = terminal_report(
        saved.run, summary, saved.cases, found, promised=promised, complete=saved.complete
    )
    return text + "\n\n" + _page(saved.directory, source, is_opened=arguments.open)


def _page(directory: Path, source: PageSource, *, is_opened: bool) -> str:
    """Make the page; a folder that cannot be written does not keep the figures from the reader."""
    try:
        path = write_page(directory, source)
    except DraftproofError as error:
        return f"The page was not made: {error}"
    return f"Page: {path}" + (f"\n{open_page(path)}" if is_opened else "")


def _asked(arguments: argparse.Namespace) -> bool:
    return any(getattr(arguments, name) for name in _EXPORTS)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be written or combined, before anything is computed.

    Raises:
        UsageError: Says what.
    """
    for name in ("tables", "openmetrics", "badge"):
        require_file(f"--{name}", getattr(arguments, name))
    if arguments.csv is not None and arguments.csv.exists() and not arguments.csv.is_dir():
        raise UsageError(f"--csv {arguments.csv}: it is a file; give a folder's path")
    if _asked(arguments) and (arguments.json or arguments.open):
        option = "--json" if arguments.json else "--open"
        raise UsageError(
            f"{option} prints or opens the report itself; leave the exports out, or leave it out"
        )


def _export(arguments: argparse.Namespace, saved: SavedRun, source: PageSource) -> Iterator[str]:
    """Write what was asked for; a line for each thing, annotations first."""
    comparison = _comparison(saved.directory)
    if arguments.github:
        path = add_summary([*_summaries(saved, source)])
        yield from map(str, run_annotations(source, comparison))
        yield f"Summary: {path}"
    if arguments.csv is not None:
        written = write_csv(arguments.csv, source)
        yield f"CSV: {len(written)} files in {arguments.csv}"
    if arguments.tables is not None:
        write_asked(arguments.tables, strict_json(_whole(tables_document(source))))
        yield f"Tables: {arguments.tables}"
    if arguments.openmetrics is not None:
        write_asked(arguments.openmetrics, openmetrics_text(source))
        yield f"OpenMetrics: {arguments.openmetrics}"
    if arguments.badge is not None:
        badge = run_badge(source, comparison, arguments.badge_figure)
        write_asked(arguments.badge, badge_svg(badge))
        yield f"Badge: {arguments.badge} ({badge.text})"
    if arguments.mlflow is not None:
        yield f"MLflow: run {log_to_mlflow(source, saved.directory, arguments.mlflow)}"
    if arguments.wandb is not None:
        yield f"W&B: run {log_to_wandb(source, saved.directory, arguments.wandb)}"


def _summaries(saved: SavedRun, source: PageSource) -> Iterator[str]:
    """What decides first: the comparison beside the report, where there is one, then the report."""
    if (path := saved.directory / COMPARISON_SUMMARY).is_file():
        yield path.read_text(encoding="utf-8", errors="replace")
    yield markdown_report(
        source.run,
        source.summary,
        source.cases,
        source.study,
        promised=source.promised,
        complete=source.complete,
    )


def _comparison(directory: Path) -> dict[str, Any] | None:
    """What the gates of the run came to, where it had any.

    Raises:
        TraceError: The file is corrupt.
    """
    path = directory / COMPARISON_FILE
    if not path.is_file():
        return None
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TraceError(f"{path} cannot be read ({error}); compare the runs again") from error
    return values if isinstance(values, dict) else None


def _whole(values: Any) -> Any:
    """The values with every text fit for UTF-8: halves of characters become question marks."""
    if isinstance(values, dict):
        return {_whole(key): _whole(value) for key, value in values.items()}
    if isinstance(values, list):
        return [_whole(value) for value in values]
    return values.encode("utf-8", "replace").decode() if isinstance(values, str) else values
