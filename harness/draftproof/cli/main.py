"""The commands of ``draftproof``, their options and their exit codes."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from draftproof.cli.result import Result
from draftproof.environment import versions
from draftproof.errors import (
    USAGE_EXIT_CODE,
    DraftproofError,
    UsageError,
    file_problem,
    printable,
    unknown_value,
)
from draftproof.supervision import supervised

_EPILOG = """\
REPORT is the folder of a saved run: what `pytest suites/ --report` wrote (of an installed package
`pytest --pyargs draftproof.suites --report`), or reports/latest for the last one. A killed run's
folder will do: what its journal holds is read.

examples:
  draftproof report reports/latest --open
  draftproof report reports/latest --csv tables --badge badge.svg --openmetrics metrics.txt
  draftproof metrics reports/latest --as vllm,sglang
  draftproof study reports/latest --json > study.json
  draftproof compare main reports/latest --fail acceptance_rate:-0.02
  draftproof plan reports/latest --change 2% --gpus 8,64,1000 --price 2.50
  draftproof import profile_export.jsonl --domain chat
  draftproof history --metric acceptance_rate --html history.html
  draftproof verify --engine my_package:make_engine --target TARGET --draft DRAFT
  draftproof record --drafts builtin,builtin-small --out recording
  draftproof advise recording --budget budget.json
  draftproof verify-kernel my_package:rejection_sampler --rule rejection
  draftproof selftest --class cache
  draftproof docs verify

exit codes: 0 done, 1 a verification found a fault, a self-test missed one or a gate failed, 3 an
engine ended the process before the command was done, 4 a name, an option or a folder that cannot be
used, 7 no gate failed and one is inconclusive.
"""


_HANDLERS = {
    "metrics": "commands.metrics",
    "study": "commands.study",
    "report": "reporting.report",
    "compare": "comparing.compare",
    "concurrency": "concurrency.concurrency",
    "plan": "planning.plan",
    "import": "importing.import_results",
    "history": "history.history",
    "verify": "verifying.verify",
    "record": "recording.record",
    "replay": "replaying.replay",
    "advise": "advising.advise",
    "verify-kernel": "kernels.verify_kernel",
    "selftest": "selftesting.selftest",
    "schema": "schemas.schema",
    "docs": "documents.docs",
}
"""What runs each command: a module beside this one, imported for its own commands only."""

_RUN_ENGINES = frozenset({"verify", "record", "verify-kernel", "selftest"})
"""Commands that run engines, or parts of them, which may end the process that they run in."""


class _StoreOnce(argparse.Action):
    """Keeps an option's value, and refuses a second one: neither may be lost without a word."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = vars(namespace).setdefault("given", {})
        if option_string is not None and given.setdefault(self.dest, values) != values:
            shown = f"'{given[self.dest]}' and as '{values}'"
            raise UsageError(f"{option_string}: given more than once, as {shown}; give it once")
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one line, exit code 4."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for action in (None, "store"):
            self.register("action", action, _StoreOnce)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (draftproof --help lists commands and options)")


def _handler(command: str) -> Callable[[argparse.Namespace], str | Result]:
    module, name = _HANDLERS[command].split(".")
    found: Callable[[argparse.Namespace], str | Result]
    found = getattr(import_module(f"draftproof.cli.{module}"), name)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The words after ``draftproof``; the process's own by default.

    Returns:
        The exit code: 0, or 4 where a name, an option or a folder cannot be used; the reason is
        then one line on standard error. Of ``verify`` 1 where a fault was found; of ``compare``
        what its gates came to; 3 where the process of a command that runs engines ended before it.
    """
    if argv is not None:
        return _run(list(argv))
    words = sys.argv[1:]
    say = supervised("the checks") if _RUN_ENGINES & set(words[:1]) else None
    code = _run(words)
    if say is not None:
        say(code)
    return code


def _run(words: list[str]) -> int:
    try:
        name = next((word for word in words if not word.startswith("-")), None)
        if name is not None and name not in _HANDLERS:
            raise unknown_value("draftproof", name, _HANDLERS)
        arguments = build_parser().parse_args(words)
        if arguments.command is None:
            raise UsageError(f"draftproof: give a command: {', '.join(_HANDLERS)}; or --help")
        # As it was typed: what a command writes names the command.
        arguments.typed = shlex.join(["draftproof", *words])
        result = _handler(arguments.command)(arguments)
    except DraftproofError as error:
        print(error, file=sys.stderr)
        return USAGE_EXIT_CODE
    except OSError as error:
        if error.filename is None:
            raise
        print(file_problem(error), file=sys.stderr)
        return USAGE_EXIT_CODE
    except SystemExit as leave:
        # argparse leaves by itself after --help and --version.
        return leave.code if isinstance(leave.code, int) else USAGE_EXIT_CODE
    text, code = result if isinstance(result, Result) else (result, 0)
    try:
        print(printable(text))
    except BrokenPipeError:
        # What reads the output, such as `head`, has seen enough.
        sys.stderr.close()
    return code


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``draftproof`` and its commands."""
    from draftproof.cli import (
        advising,
        comparing,
        concurrency,
        documents,
        history,
        importing,
        kernels,
        planning,
        recording,
        replaying,
        reporting,
        schemas,
        selftesting,
        verifying,
    )
    from draftproof.statistics.peers import PEERS

    parser = _Parser(
        prog="draftproof",
        description="The test harness for speculative decoding: saved runs, and engines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    installed = versions().get("draftproof", "(not installed)")
    parser.add_argument("--version", action="version", version=f"draftproof {installed}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    metrics = commands.add_parser(
        "metrics",
        help="the figures of a run under the names and definitions of other projects",
        description="The figures of a run under the names and definitions of other projects, each "
        "computed from the counts that the project divides. `draftproof docs metrics` has the "
        "definitions.",
    )
    metrics.add_argument(
        "--as",
        dest="peers",
        metavar="NAMES",
        action="append",
        help=f"projects, separated by commas: {', '.join(PEERS)} (default: all)",
    )
    metrics.add_argument("--domain", metavar="NAME", help="only this domain (default: all prompts)")

    study = commands.add_parser(
        "study",
        help="the five findings of the study: confirmed, refuted or not resolved",
        description="The five findings of the study of acceptance across domains (arXiv "
        "2604.14682) in a run of the code, math, logic and chat suites: confirmed, refuted or not "
        "resolved, with intervals over prompts. `draftproof docs statistics` has the rules.",
    )

    report = commands.add_parser(
        "report",
        help="the report of a saved run, again: in the terminal, as report.html, or for other "
        "programs",
        description="The terminal's report of a saved run, as it was printed when the run ended; "
        "and its page, report.html in the run's folder, made again; or, for other programs, its "
        "tables, figures, badge and annotations.",
    )
    reporting.add_options(report)
    comparing.add_parser(commands)
    concurrency.add_parser(commands)
    planning.add_parser(commands)
    importing.add_parser(commands)
    history.add_parser(commands)
    verifying.add_parser(commands)
    recording.add_parser(commands)
    replaying.add_parser(commands)
    advising.add_parser(commands)
    kernels.add_parser(commands)
    selftesting.add_parser(commands)
    schemas.add_parser(commands)
    documents.add_parser(commands)
    for command in (metrics, study, report):
        command.add_argument("report", metavar="REPORT", type=Path, help="folder of a saved run")
        command.add_argument("--json", action="store_true", help="print JSON, for programs")
    for command in (study, report):
        command.add_argument(
            "--resamples",
            type=_resamples,
            default=10_000,
            metavar="N",
            help="bootstrap resamples (default: %(default)s)",
        )
    return parser


def _resamples(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 100:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of resamples; give 100 or more")
    return value
