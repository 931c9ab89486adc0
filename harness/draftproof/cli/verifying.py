"""``draftproof verify``: the conformance kit on an engine, and a certificate of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from draftproof.cli.outputs import require_file
from draftproof.cli.result import Result
from draftproof.config import BUILTIN, DEVICES, DTYPES, RunConfig, Sampling
from draftproof.errors import FAULT_EXIT_CODE
from draftproof.report.files import write_text
from draftproof.report.metrics_json import strict_json
from draftproof.shapes import FORMS, parse_tree

_DESCRIPTION = """\
Runs every instrument that applies on an engine: the greedy certificate, ends at every offset of a
block, determinism, self-draft, state left from earlier requests, state equivalence, metric
identities, and the anytime-valid test of the target's law. What the engine cannot do or tell is
said to be not available; a check that found no place to examine is said to be not tried.
docs/engines.md says how to plug in an engine, docs/lossless.md what is checked.
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof verify``."""
    parser = commands.add_parser(
        "verify",
        help="the conformance kit on an engine: is its speculation lossless and its state right?",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--engine", metavar="NAME", default="reference", help="name, or package.module:callable")
    add(
        "--engine-option",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting of the engine's own; several",
    )
    add("--target", metavar="MODEL", default=BUILTIN, help="the judge's target model")
    add("--draft", metavar="MODEL", default=BUILTIN, help="the judge's draft model")
    add("--dtype", choices=DTYPES, default="auto", help="type of the weights")
    add("--device", choices=DEVICES, default="auto", help="where the judge's models run")
    add("--tree", metavar="SHAPE", default="chain:4", help=f"one of: {', '.join(FORMS)}")
    add("--rule", metavar="RULE", default="auto", help="acceptance rule of the reference engine")
    add(
        "--temperature",
        metavar="T",
        type=float,
        default=1.0,
        help="of the sampled checks (default: %(default)s)",
    )
    add(
        "--prompts-per-domain",
        metavar="N",
        type=int,
        default=3,
        help="prompts of each domain (default: %(default)s)",
    )
    add("--prompts", metavar="NAMES", default=BUILTIN, help="data sets, as for --spec-prompts")
    add("--data", metavar="DIR", help="folder with the public data sets")
    add("--max-new-tokens", metavar="N", type=int, default=32, help="(default: %(default)s)")
    add("--seed", metavar="N", type=int, default=0, help="(default: %(default)s)")
    add("--alpha", metavar="ALPHA", type=float, default=1e-4, help="(default: %(default)s)")
    add("--tie-tolerance", metavar="LOGITS", type=float, help="(default: by dtype, as measured)")
    add("--check", metavar="NAME", action="append", default=[], help="only this check; several")
    add("--json", metavar="FILE", type=Path, help="write the certificate as JSON")
    add("--markdown", metavar="FILE", type=Path, help="write the certificate as Markdown")


def verify(arguments: argparse.Namespace) -> Result:
    """Run the checks, each printed as it ends, and write the certificate.

    Raises:
        DraftproofError: A setting cannot be used, a model not be loaded, or a file not be written.
    """
    from contextlib import closing

    from draftproof.conformance.kit import certificate, chosen, examine
    from draftproof.conformance.making import make_subject
    from draftproof.conformance.rendering import (
        json_document,
        markdown,
        result_line,
        terminal_summary,
    )

    config = _settings(arguments)
    names = chosen(arguments.check)
    require_file("--json", arguments.json)
    require_file("--markdown", arguments.markdown)
    subject = make_subject(config, prompts=arguments.prompts_per_domain, report=_say)
    done = []
    with closing(subject):
        for check in examine(subject, names):
            _say(result_line(check))
            done.append(check)
        made = certificate(subject, done, command=arguments.typed)
    if arguments.json is not None:
        write_text(arguments.json, strict_json(json_document(made)))
    if arguments.markdown is not None:
        write_text(arguments.markdown, markdown(made))
    return Result("\n" + terminal_summary(made), FAULT_EXIT_CODE if made.failed else 0)


def _settings(arguments: argparse.Namespace) -> RunConfig:
    from draftproof.plugin.options import engine_options

    options = [pair for text in arguments.engine_option for pair in engine_options(text)]
    return RunConfig(
        engine=arguments.engine,
        engine_options=tuple(options),
        target=arguments.target,
        draft=arguments.draft,
        dtype=arguments.dtype,
        device=arguments.device,
        tree=parse_tree(arguments.tree),
        rule=arguments.rule,
        sampling=Sampling(temperature=arguments.temperature),
        prompts=arguments.prompts,
        data_dir=arguments.data,
        max_new_tokens=arguments.max_new_tokens,
        seed=arguments.seed,
        law_alpha=arguments.alpha,
        tie_tolerance=arguments.tie_tolerance,
    )


def _say(line: str) -> None:
    print(line, flush=True)
