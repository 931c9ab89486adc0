"""``draftproof selftest``: plants the catalogue's faults, and prints what catches them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from draftproof.cli.outputs import require_file
from draftproof.cli.result import Result, say
from draftproof.errors import FAULT_EXIT_CODE
from draftproof.files import write_asked
from draftproof.report.metrics_json import strict_json

_DESCRIPTION = """\
Plants faults that engines really shipped, one at a time, in the reference engine on the built-in
pair, and runs the instruments in increasing cost until one catches it. Lossless controls meet every
instrument, and none may flag them. `draftproof docs mutants` says what is planted and how to add a
fault.
"""

_LAW_TOKENS = {False: 1500, True: 3000}
"""The most tokens of the anytime-valid test on tables, without and with ``--all``."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof selftest``."""
    parser = commands.add_parser(
        "selftest",
        help="plant known faults, and see whether the instruments catch them",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--class",
        dest="classes",
        metavar="CLASS",
        action="append",
        default=[],
        help="only this class of faults, such as cache; several",
    )
    add(
        "--mutant",
        dest="mutants",
        metavar="ID",
        action="append",
        default=[],
        help="only this fault or control; several",
    )
    add("--all", action="store_true", help="every instrument on every fault, for the full table")
    add(
        "--false-alarms",
        metavar="RUNS",
        type=int,
        default=0,
        help="seeded runs of lossless engines by the anytime-valid test (default: none)",
    )
    add(
        "--limit",
        metavar="N",
        type=int,
        default=1,
        help="prompts of each domain (default: %(default)s)",
    )
    add(
        "--random",
        metavar="N",
        type=int,
        default=0,
        help="in place of the catalogue: N small changes of the source, drawn at random, each "
        "examined by `draftproof verify` at its defaults in a process of its own",
    )
    add("--seed", metavar="S", type=int, default=0, help="of --random (default: %(default)s)")
    add(
        "--resume",
        metavar="FILE",
        type=Path,
        help="of --random: append the result of each change to this file at once, and go on from "
        "what it holds; a larger N goes on with the same sample",
    )
    add(
        "--again",
        metavar="FILE",
        type=Path,
        help="in place of a sample: examine the survivors in a file of --resume again, with the "
        "source as it is now, and append what becomes of them",
    )
    add("--list", action="store_true", help="print the catalogue and leave")
    add("--json", metavar="FILE", type=Path, help="write the scoreboard as JSON")
    add("--markdown", metavar="FILE", type=Path, help="write the scoreboard as Markdown")


def selftest(arguments: argparse.Namespace) -> Result:
    """Examine mutants, each printed as it is done, and write the scoreboard.

    Raises:
        DraftproofError: There is no such mutant or class, or a file cannot be written.
    """
    from draftproof.config import RunConfig
    from draftproof.conformance.making import make_subject
    from draftproof.environment import hardware, versions
    from draftproof.selftest.catalogue import chosen
    from draftproof.selftest.false_alarms import false_alarms
    from draftproof.selftest.instruments import Surroundings
    from draftproof.selftest.rendering import (
        SelfTest,
        json_document,
        markdown,
        result_line,
        terminal,
    )
    from draftproof.selftest.scoreboard import examine

    if arguments.again is not None:
        return _again(arguments)
    if arguments.random:
        return _random(arguments)
    mutants = chosen(arguments.mutants, arguments.classes)
    if arguments.list:
        lines = [f"{mutant.id:<13} {mutant.fault_class:<22} {mutant.title}" for mutant in mutants]
        return Result("\n".join(lines))
    arguments.json = require_file("--json", arguments.json)
    arguments.markdown = require_file("--markdown", arguments.markdown)
    subject = make_subject(RunConfig(), prompts=arguments.limit, report=say)
    around = Surroundings(
        pair=subject.pair, prompts=subject.prompts, law_tokens=_LAW_TOKENS[arguments.all]
    )
    scores = []
    for score in examine(mutants, around, all_instruments=arguments.all):
        say(result_line(score))
        scores.append(score)
    alarms = None
    if arguments.false_alarms:
        controls = [mutant for mutant in chosen() if mutant.lossless]
        alarms = false_alarms(controls, around, runs=arguments.false_alarms, tell=say)
    found = SelfTest(
        scores=tuple(scores),
        all_instruments=arguments.all,
        alarms=alarms,
        command=arguments.typed,
        models=dict(subject.pair.descriptions),
        versions=versions(),
        hardware=hardware(),
    )
    if arguments.json is not None:
        write_asked(arguments.json, strict_json(json_document(found)))
    if arguments.markdown is not None:
        write_asked(arguments.markdown, markdown(found))
    wrong = found.missed or found.flagged
    return Result("\n" + terminal(found), FAULT_EXIT_CODE if wrong else 0)


def _random(arguments: argparse.Namespace) -> Result:
    """Examine a sample of changes of the source; survivors do not make the exit code 1."""
    from draftproof.selftest.random_faults import examine_sample, summary, table
    from draftproof.selftest.source_mutants import every_mutant, sample, sizes

    arguments.markdown = require_file("--markdown", arguments.markdown)
    arguments.resume = require_file("--resume", arguments.resume)
    every = every_mutant()
    if arguments.list:
        mutants = sample(every, arguments.random, arguments.seed)
        return Result("\n".join(f"{mutant.name:<32} {mutant}" for mutant in mutants))
    found = examine_sample(arguments.random, arguments.seed, arguments.resume, arguments.typed, say)
    text = f"{table(found, sizes(every))}\n\n{summary(found, sizes(every), arguments.seed)}"
    if arguments.markdown is not None:
        write_asked(arguments.markdown, text + "\n")
    return Result("\n" + text)


def _again(arguments: argparse.Namespace) -> Result:
    """Examine the survivors of an earlier sample again."""
    from draftproof.selftest.random_faults import Ending, examine_again

    found = examine_again(arguments.again, say)
    left = sum(entry.ending == Ending.SURVIVED for entry in found)
    return Result(f"\nof {len(found)} changes that survived before, {left} survive now")
