"""Options of several commands that read a saved run."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder of a saved run, and whether to print JSON."""
    parser.add_argument("report", metavar="REPORT", type=Path, help="folder of a saved run")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def add_resamples(parser: argparse.ArgumentParser) -> None:
    """How many resamples intervals are made of."""
    parser.add_argument(
        "--resamples",
        type=_resamples,
        default=10_000,
        metavar="N",
        help="bootstrap resamples (default: %(default)s)",
    )


def _resamples(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 100:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of resamples; give 100 or more")
    return value
