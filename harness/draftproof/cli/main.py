"""The commands of ``draftproof``, their options and their exit codes."""

from __future__ import annotations

import argparse
import io
import os
import shlex
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from draftproof.cli.result import Result
from draftproof.environment import versions
from draftproof.errors import (
    UNFINISHED_EXIT_CODE,
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
"""What runs each command: a module beside this one, imported for its own commands only. Its
``add_parser`` (or ``add_…_parser``, of the command's name) adds the command's options."""

_RUN_ENGINES = {
    "verify": ("the checks", "No certificate was written; run the command again"),
    "record": (
        "the recording",
        "Prompts that were recorded are kept: the same command goes on after them",
    ),
    "verify-kernel": ("the checks", "No certificate was written; run the command again"),
    "selftest": (
        "the self-test",
        "What --random found is kept in the file of --resume: the same command goes on after it",
    ),
}
"""Commands that run engines, or parts of them, which may end the process that they run in: what
that process does, and what is kept where it does not come to its end."""


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


_INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

_THREADS_SECONDS = 5.0
"""How long threads that an engine has left behind are waited for, once a command is done."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one line, exit code 4."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for action in (None, "store"):
            self.register("action", action, _StoreOnce)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (draftproof --help lists commands and options)")


def _handler(command: str) -> Callable[[argparse.Namespace], str | Result]:
    place = _HANDLERS[command]
    found: Callable[[argparse.Namespace], str | Result]
    found = getattr(_module(place), place.partition(".")[2])
    return found


def _module(place: str) -> ModuleType:
    return import_module(f"draftproof.cli.{place.partition('.')[0]}")


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
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may have fewer characters
    words = sys.argv[1:]
    engines = _RUN_ENGINES.get(words[0]) if words else None
    say = None if engines is None else supervised(*engines, always_says=True)
    try:
        code = _run(words)
    except BaseException:
        # Whatever is raised of an engine, or of a fault of ours, is no verdict on either.
        _tell(f"{traceback.format_exc()}draftproof: the command did not come to its end")
        code = UNFINISHED_EXIT_CODE
    if say is not None:
        say(code)
    waiting = threading.Timer(_THREADS_SECONDS, _leave, [code])
    waiting.daemon = True  # gone with the process, where nothing keeps that
    waiting.start()
    return code


def _tell(text: str) -> None:
    """Print on standard error, if there still is one."""
    with suppress(OSError, ValueError):
        print(printable(text), file=sys.stderr, flush=True)


def _leave(code: int) -> NoReturn:
    """End the process, which still waits for a thread that an engine has left behind."""
    _tell("draftproof: a thread that was left behind still runs; it is not waited for")
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(code)


def _run(words: list[str]) -> int:
    try:
        name = next((word for word in words if not word.startswith("-")), None)
        if name is not None and name not in _HANDLERS:
            raise unknown_value("draftproof", name, _HANDLERS)
        arguments = build_parser(name if words[:1] == [name] else None).parse_args(words)
        if arguments.command is None:
            raise UsageError(f"draftproof: give a command: {', '.join(_HANDLERS)}; or --help")
        # As it was typed: what a command writes names the command.
        arguments.typed = shlex.join(["draftproof", *words])
    except SystemExit as leave:
        # argparse leaves by itself after --help and --version.
        return leave.code if isinstance(leave.code, int) else USAGE_EXIT_CODE
    except UsageError as error:
        print(error, file=sys.stderr)
        return USAGE_EXIT_CODE
    try:
        result = _handler(arguments.command)(arguments)
    except DraftproofError as error:
        print(error, file=sys.stderr)
        return USAGE_EXIT_CODE
    except OSError as error:
        if error.filename is None:
            raise
        print(file_problem(error), file=sys.stderr)
        return USAGE_EXIT_CODE
    except KeyboardInterrupt:
        print(
            "draftproof: interrupted; a recording goes on with the same command, and so does a "
            "self-test with --resume",
            file=sys.stderr,
        )
        return _INTERRUPTED
    except SystemExit as leave:
        _tell(
            f"draftproof: an engine, or a library below it, called exit ({leave.code}) before the "
            "command was done. Nothing counts as passed"
        )
        return UNFINISHED_EXIT_CODE
    text, code = result if isinstance(result, Result) else (result, 0)
    try:
        print(printable(text), flush=True)
    except BrokenPipeError:
        # What reads the output, such as `head`, has seen enough.
        sys.stderr.close()
    except (OSError, ValueError) as error:
        # ValueError: an engine has closed it.
        _tell(f"draftproof: cannot print the result: {getattr(error, 'strerror', '') or error}")
        return code or USAGE_EXIT_CODE
    return code


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of ``draftproof`` and its commands.

    Args:
        command: The one that is asked for; the others' modules are then left alone. All, where it
            is left out.
    """
    parser = _Parser(
        prog="draftproof",
        description="The test harness for speculative decoding: saved runs, and engines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    installed = versions().get("draftproof", "(not installed)")
    parser.add_argument("--version", action="version", version=f"draftproof {installed}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, place in _HANDLERS.items():
        if command in (None, name):
            module = _module(place)
            add = getattr(module, f"add_{name}_parser", None) or module.add_parser
            add(commands)
    return parser
