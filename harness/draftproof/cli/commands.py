"""What each command prints: text for people, or JSON for programs."""

from __future__ import annotations

import argparse
from typing import Any

from draftproof.cli.report_arguments import add_report_arguments, add_resamples
from draftproof.cli.text import peer_lines
from draftproof.errors import TraceError, unknown_value
from draftproof.report import (
    SavedRun,
    load_run,
)
from draftproof.report.context import settings_line, study_lines
from draftproof.report.metrics_json import strict_json
from draftproof.report.notes import (
    imported_lines,
    nothing_accepted_lines,
    prompt_counts,
    prompt_lines,
    refused_lines,
)
from draftproof.report.run_info import TOY_NOTICE
from draftproof.report.study_json import peer_json, study_json
from draftproof.report.terminal import terminal_findings
from draftproof.statistics import PEERS, Resampling, Study, as_peers, in_domain_order
from draftproof.statistics import study as study_of
from draftproof.wording import counted


def add_metrics_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof metrics``."""
    parser = commands.add_parser(
        "metrics",
        help="the figures of a run under the names and definitions of other projects",
        description="The figures of a run under the names and definitions of other projects, each "
        "computed from the counts that the project divides. `draftproof docs metrics` has the "
        "definitions.",
    )
    parser.add_argument(
        "--as",
        dest="peers",
        metavar="NAMES",
        action="append",
        help=f"projects, separated by commas: {', '.join(PEERS)} (default: all)",
    )
    parser.add_argument("--domain", metavar="NAME", help="only this domain (default: all prompts)")
    add_report_arguments(parser)


def add_study_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof study``."""
    parser = commands.add_parser(
        "study",
        help="the five findings of the study: confirmed, refuted or not resolved",
        description="The five findings of the study of acceptance across domains (arXiv "
        "2604.14682) in a run of the code, math, logic and chat suites: confirmed, refuted or not "
        "resolved, with intervals over prompts. `draftproof docs statistics` has the rules.",
    )
    add_report_arguments(parser)
    add_resamples(parser)


def metrics(arguments: argparse.Namespace) -> str:
    """``draftproof metrics``: the figures of a run as other projects would print them.

    Raises:
        UsageError: A project or a domain is unknown.
        TraceError: There is no run to read.
    """
    asked = ",".join(arguments.peers or PEERS).split(",")
    names = list(dict.fromkeys(name.strip() for name in asked if name.strip()))
    for name in names:
        if name not in PEERS:
            raise unknown_value("--as", name, PEERS)
    saved = _load(arguments)
    cases = list(saved.cases)
    domain = arguments.domain
    if domain is not None:
        present = in_domain_order(case.domain for case in cases)
        if domain not in present:
            raise unknown_value("--domain", domain, present)
        cases = [case for case in cases if case.domain == domain]
    figures = as_peers(cases, names)
    counts = prompt_counts(saved.run, cases)
    if domain is not None:
        counts = {name: count for name, count in counts.items() if count.measured + count.errors}
    notes = [
        *([TOY_NOTICE] if saved.run.uses_builtin else []),
        *prompt_lines(counts, complete=saved.complete),
        *imported_lines(saved.run),
        *refused_lines(cases),
        *nothing_accepted_lines(cases),
    ]
    if arguments.json:
        return _json(
            {
                "run": saved.run.name,
                "domain": domain,
                "cases": len(cases),
                "prompts": {name: count.to_json() for name, count in counts.items()},
                "complete": saved.complete,
                "notes": notes,
                "metrics": {
                    name: {key: peer_json(value) for key, value in values.items()}
                    for name, values in figures.items()
                },
            }
        )
    lines = [f"{saved.run.name}: {domain or 'all domains'}, {counted(len(cases), 'case')}", *notes]
    for name, values in figures.items():
        lines += ["", f"{PEERS[name].title} ({PEERS[name].note})", *peer_lines(values)]
    return "\n".join(lines)


def study(arguments: argparse.Namespace) -> str:
    """``draftproof study``: the study's findings in a run.

    Raises:
        TraceError: There is no run to read.
    """
    saved = _load(arguments)
    found = _study(saved, Resampling(resamples=arguments.resamples))
    notes = prompt_lines(prompt_counts(saved.run, saved.cases), complete=saved.complete)
    if arguments.json:
        noted = [*([TOY_NOTICE] if saved.run.uses_builtin else []), *notes]
        return _json({"run": saved.run.name, "notes": noted, **study_json(found)})
    blocks = [settings_line(saved.run), *notes]
    if saved.run.uses_builtin:
        blocks.append(TOY_NOTICE)
    if found.findings:
        blocks.append(terminal_findings(found.findings, saved.run))
    else:
        present = ", ".join(found.draft_entropy) or "none"
        blocks.append(
            "No findings: they are about the domains code, math, logic and chat, and this run has "
            f"{present}."
        )
    blocks += study_lines(found)
    return "\n\n".join(blocks)


def _load(arguments: argparse.Namespace) -> SavedRun:
    if not arguments.report.exists():
        raise TraceError(f"there is no report at {arguments.report}; check the path")
    return load_run(arguments.report)


def _study(saved: SavedRun, resampling: Resampling) -> Study:
    return study_of(saved.cases, resampling, is_drawn_chain=saved.run.is_drawn_chain)


def _json(values: object) -> str:
    return strict_json(values).rstrip("\n")
