"""``draftproof verify``: the conformance kit on an engine, and a certificate of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from draftproof.cli.outputs import require_file
from draftproof.cli.result import Result, say
from draftproof.cli.run_options import add_run_options, given_values
from draftproof.config import RunConfig
from draftproof.errors import FAULT_EXIT_CODE, UsageError
from draftproof.files import write_asked
from draftproof.report.metrics_json import strict_json

_DESCRIPTION = """\
Runs every instrument that applies on an engine: exact laws on small tables of the parts that it is
made of, the greedy certificate, ends at every offset of a
block, determinism, self-draft, state left from earlier requests, state equivalence, metric
identities, and the anytime-valid test of the target's law. What the engine cannot do or tell is
said to be not available; a check that found no place to examine is said to be not tried.
`draftproof docs engines` says how to plug in an engine, `draftproof docs verify` what is checked.
An option that pytest has too may be written as there: --spec-target for --target.
"""

_DEFAULTS = {
    "spec_tree": ("chain:4", "Shape of the drafts, as --spec-tree of pytest. Default chain:4."),
    "spec_temperature": ("1", "Sampling temperature of the sampled checks. Default 1."),
    "spec_limit": ("3", "Prompts of each domain, chosen by seed; 'all' for every one. Default 3."),
    "spec_max_new_tokens": ("32", "Length limit of an output. Default 32."),
    "spec_law_alpha": (
        "0.0001",
        "A lossless engine fails a check of the target's law with at most this probability. "
        "Default 0.0001.",
    ),
}
"""Where a verification's default is not that of a pytest run: the default, and what says so."""

_OPTIONS = (
    "spec_engine",
    "spec_engine_option",
    "spec_engine_timeout",
    "spec_target",
    "spec_draft",
    "spec_dtype",
    "spec_device",
    "spec_draft_device",
    "spec_trust_remote_code",
    "spec_tree",
    "spec_rule",
    "spec_drafter",
    "spec_temperature",
    "spec_limit",
    "spec_prompts",
    "spec_data",
    "spec_jsonl",
    "spec_columns",
    "spec_max_new_tokens",
    "spec_seed",
    "spec_law_alpha",
    "spec_tie_tolerance",
)
"""The options of a pytest run that a verification has, too."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof verify``."""
    parser = commands.add_parser(
        "verify",
        help="the conformance kit on an engine: is its speculation lossless and its state right?",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_options(parser, _OPTIONS, _DEFAULTS)
    add = parser.add_argument
    # What --limit was called when certificates were made that name their command.
    add("--prompts-per-domain", dest="spec_limit", action="append", help=argparse.SUPPRESS)
    add("--check", metavar="NAME", action="append", default=[], help="only this check; several")
    add("--fail-fast", action="store_true", help="end at the first fault")
    add("--json", metavar="FILE", type=Path, help="write the certificate as JSON")
    add("--markdown", metavar="FILE", type=Path, help="write the certificate as Markdown")


def verify(arguments: argparse.Namespace) -> Result:
    """Run the checks, each printed as it ends, and write the certificate.

    Raises:
        DraftproofError: A setting cannot be used, a model not be loaded, or a file not be written.
    """
    from contextlib import closing

    from draftproof.conformance.check_result import Status
    from draftproof.conformance.examined import chosen
    from draftproof.conformance.kit import CHECKS, certificate, examine
    from draftproof.conformance.making import make_subject
    from draftproof.conformance.rendering import (
        json_document,
        markdown,
        result_line,
        terminal_summary,
    )

    config = _settings(arguments)
    names = chosen(arguments.check, CHECKS)
    arguments.json = require_file("--json", arguments.json)
    arguments.markdown = require_file("--markdown", arguments.markdown)
    subject = make_subject(config, prompts=None, report=say, to_the_end=not arguments.fail_fast)
    done = []
    with closing(subject):
        for check in examine(subject, names):
            say(result_line(check))
            done.append(check)
            if arguments.fail_fast and check.finding.status is Status.FAILED:
                break
        made = certificate(subject, done, command=arguments.typed)
    if arguments.json is not None:
        write_asked(arguments.json, strict_json(json_document(made)))
    if arguments.markdown is not None:
        write_asked(arguments.markdown, markdown(made))
    return Result("\n" + terminal_summary(made), FAULT_EXIT_CODE if made.failed else 0)


def _settings(arguments: argparse.Namespace) -> RunConfig:
    from draftproof.plugin.settings import settings_of

    values = given_values(arguments, _OPTIONS, _DEFAULTS)
    if values["spec_law_alpha"] == 0:
        raise UsageError(
            "--law-alpha: 0 would fail no engine; to leave a check out, choose others with --check"
        )
    return settings_of(values)
