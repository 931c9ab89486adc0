"""``draftproof import``: another tool's results as a saved run."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from draftproof.cli.result import Result
from draftproof.errors import UsageError
from draftproof.files import new_report_directory, require_folder
from draftproof.gate import FOLDER, Storage
from draftproof.gate.measured import measured_run
from draftproof.importing import FORMATS, imported_run, read_results
from draftproof.report.reading import JOURNAL_FILE, RUN_FILE
from draftproof.report.writing import write_report

REPORTS = Path("reports")


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "import",
        help="another tool's results (vLLM, AIPerf, specdec_bench, Spec-Bench, llama.cpp) as a run",
        description="Reads what another tool saved into a report, with what its files tell: "
        "acceptance with intervals, `draftproof metrics`, `compare` and gates then work on it. "
        "What they do not tell stays unknown, and the report says so. `draftproof docs import` has "
        "the formats, and what each figure is made of.",
        epilog="formats: " + "; ".join(f"{name}: {found.title}" for name, found in FORMATS.items()),
    )
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a run's file or files")
    parser.add_argument(
        "--format",
        metavar="NAME",
        help=f"{', '.join(FORMATS)} (default: recognised by what the file holds)",
    )
    parser.add_argument(
        "--domain",
        metavar="NAME",
        help="domain of every request (default: the file's own categories; else 'unknown')",
    )
    parser.add_argument("--name", metavar="NAME", help="what the run is called (default: the file)")
    parser.add_argument(
        "--out",
        "--report-dir",
        dest="out",
        metavar="DIR",
        type=Path,
        help="folder of the report (default: a new one in reports/)",
    )
    parser.add_argument(
        "--save", "--spec-save", dest="save", metavar="NAME", help="keep it as a baseline too"
    )
    parser.add_argument(
        "--storage",
        "--spec-storage",
        type=Path,
        default=Path(FOLDER),
        help="baselines' folder (default: %(default)s)",
    )


def import_results(arguments: argparse.Namespace) -> Result:
    """Read the files, write their report, and print it.

    Raises:
        UsageError: An option, or the folder, cannot be used.
        DataError: A file cannot be read, or is in no known format.
        DraftproofError: The report cannot be written.
    """
    if arguments.out is not None:
        _require_new(arguments.out)
    storage = Storage(arguments.storage)
    if arguments.save is not None:
        storage.check_name(arguments.save)
    found, files, results = read_results(
        arguments.files, format_name=arguments.format, domain=arguments.domain
    )
    name = arguments.name or arguments.files[0].name.split(".")[0] or found.name
    run = imported_run(found, files, results, name=name, command=arguments.typed.split(" "))
    directory = arguments.out or new_report_directory(REPORTS, name, datetime.now(UTC))
    report = write_report(directory, run, results.cases)
    lines = [report.terminal_text, "", f"Report: {directory}"]
    if report.problem:
        lines.append(f"The page was not made: {report.problem}")
    if arguments.save is not None:
        measured = measured_run(arguments.save, run, results.cases)
        lines.append(f"Baseline: {storage.save(arguments.save, measured, traces=False)}")
    return Result("\n".join(lines), 0)


def _require_new(folder: Path) -> None:
    """Refuse a folder that holds a run already.

    Raises:
        UsageError: It does, or nothing can be written there.
    """
    require_folder(folder)
    if any((folder / name).exists() for name in (RUN_FILE, JOURNAL_FILE)):
        raise UsageError(f"--out {folder}: it holds another run; give a new folder")
