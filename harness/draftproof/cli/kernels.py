"""``draftproof verify-kernel``: a rejection sampler or tree verifier as a function of tensors."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
from pathlib import Path
from typing import Any

from draftproof.cli.outputs import require_file
from draftproof.cli.result import Result, say
from draftproof.errors import FAULT_EXIT_CODE, UsageError
from draftproof.files import write_asked
from draftproof.report.metrics_json import strict_json

_DESCRIPTION = """\
Calls a verification function on adversarial tables. Where it is given its uniforms, its law is
computed, boundary by boundary, and compared with its rule's; where it draws by itself, rows are
counted by a test that stops early. Then batches: other orders, poisoned neighbours, padding, greedy
rows. What is declared by draftproof.kernels.declare may be changed by options.
`draftproof docs kernels` has the contract, and adapters for known signatures.
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """The options of ``draftproof verify-kernel``."""
    parser = commands.add_parser(
        "verify-kernel",
        help="a rejection sampler or tree verifier, as a function: is its law right?",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("kernel", metavar="MODULE:FUNCTION", nargs="?", help="takes a call, returns emitted tokens")
    add("--shape", metavar="SHAPE", help="chain or tree (default: chain)")
    add(
        "--rule",
        metavar="RULE",
        help="rejection, point-mass, block, multi-round, "
        "without-replacement, or any: only the output is judged",
    )
    add("--randomness", metavar="SOURCE", help="uniforms, generator or own (default: uniforms)")
    add(
        "--proposals",
        metavar="LAW",
        help="deterministic, independent or without_replacement (default: the rule's)",
    )
    add("--dtype", metavar="DTYPE", help="float64, float32, bfloat16 or float16 (default: float32)")
    add("--device", metavar="DEVICE", help="where tensors lie (default: cpu)")
    add(
        "--rows",
        metavar="N",
        type=int,
        default=1_000_000,
        help="the most rows that a test by counting draws (default: %(default)s)",
    )
    add(
        "--alpha",
        metavar="P",
        type=float,
        default=1e-4,
        help="a right kernel fails a test by counting with at most this probability "
        "(default: %(default)s)",
    )
    add("--seed", metavar="N", type=int, default=0, help="of what is drawn (default: 0)")
    add("--check", metavar="NAME", action="append", default=[], help="only this check; several")
    add(
        "--processor",
        action="store_true",
        help="the function is a logits processor on a block of drafted tokens",
    )
    add(
        "--setting",
        metavar="NAME",
        action="append",
        default=[],
        help="of a logits processor: only this setting; several",
    )
    add("--selftest", action="store_true", help="examine kernels with planted faults instead")
    add(
        "--planted",
        metavar="ID",
        action="append",
        default=[],
        help="with --selftest: only this kernel; several",
    )
    add("--json", metavar="FILE", type=Path, help="write what was found as JSON")
    add("--markdown", metavar="FILE", type=Path, help="write what was found as Markdown")


def verify_kernel(arguments: argparse.Namespace) -> Result:
    """Run the checks, each printed as it ends, and write what was found.

    Raises:
        DraftproofError: The function cannot be imported or called, or an option cannot be used.
    """
    if arguments.selftest:
        return _selftest(arguments)
    if arguments.kernel is None:
        raise UsageError("draftproof verify-kernel: name a function as MODULE:FUNCTION")
    if arguments.rows < 1000 or not 0 < arguments.alpha < 1:
        raise UsageError("draftproof verify-kernel: --rows is at least 1000, --alpha within (0, 1)")
    function = _imported(arguments.kernel)
    if arguments.processor:
        return _processor(arguments, function)
    from draftproof.conformance.examined import chosen
    from draftproof.environment import hardware, versions
    from draftproof.kernels.contract import declared
    from draftproof.kernels.examination import Examination
    from draftproof.kernels.rendering import (
        KernelReport,
        json_document,
        markdown,
        result_line,
        terminal_summary,
    )
    from draftproof.kernels.suite import CHECKS, examine, require_runnable

    facts = declared(
        function,
        **{
            name: getattr(arguments, name)
            for name in ("shape", "rule", "randomness", "proposals", "dtype", "device")
        },
    )
    arguments.json = require_file("--json", arguments.json)
    arguments.markdown = require_file("--markdown", arguments.markdown)
    examination = Examination(
        kernel=function,
        facts=facts,
        name=arguments.kernel,
        rows=arguments.rows,
        alpha=arguments.alpha,
        seed=arguments.seed,
    )
    wanted = chosen(arguments.check, CHECKS)
    require_runnable(examination)
    done = []
    for check in examine(examination, wanted):
        say(result_line(check))
        done.append(check)
    report = KernelReport(
        name=arguments.kernel,
        facts=facts,
        checks=tuple(done),
        alpha=arguments.alpha,
        command=arguments.typed,
        versions={**versions(), **_examined_versions(arguments.kernel)},
        hardware=hardware(),
    )
    if arguments.json is not None:
        write_asked(arguments.json, strict_json(json_document(report)))
    if arguments.markdown is not None:
        write_asked(arguments.markdown, markdown(report))
    return Result("\n" + terminal_summary(report), FAULT_EXIT_CODE if report.failed else 0)


def _examined_versions(location: str) -> dict[str, str]:
    """Versions of what the kernel comes from, and of the engines that it was loaded with."""
    wanted = {location.partition(":")[0].partition(".")[0]}
    wanted |= {"vllm", "flashinfer", "sgl_kernel"} & set(sys.modules)
    homes = importlib.metadata.packages_distributions()
    found = sorted({name for module in wanted for name in homes.get(module, ())})
    return {name: importlib.metadata.version(name) for name in found}


def _imported(location: str) -> Any:
    """The function at ``module:name``, also where its module lies in this folder."""
    module, _, name = location.partition(":")
    if not module or not name:
        raise UsageError(
            f"draftproof verify-kernel: '{location}' is no MODULE:FUNCTION, such as "
            "my_package.sampling:rejection_sample"
        )
    # Installed modules come first, so that no file of this folder takes a library's place.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"draftproof verify-kernel: {module} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"draftproof verify-kernel: module '{module}' has no '{name}'")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(
            f"draftproof verify-kernel: {location} cannot be called: its type is "
            f"{type(found).__name__}"
        )
    return found


def _processor(arguments: argparse.Namespace, function: Any) -> Result:
    from draftproof.conformance.check_result import Status
    from draftproof.kernels.processors import examine_processor

    found = examine_processor(function, arguments.setting, seed=arguments.seed)
    lines = []
    for name, finding in found.items():
        lines.append(
            f"{name:<20} {finding.status:<10} {finding.places:,} of {finding.n:,} positions changed"
        )
        lines += [f"    {line}" for line in finding.lines[:2]]
    failed = any(finding.status is Status.FAILED for finding in found.values())
    return Result("\n".join(lines), FAULT_EXIT_CODE if failed else 0)


def _selftest(arguments: argparse.Namespace) -> Result:
    from draftproof.environment import hardware, versions
    from draftproof.kernels.planted.catalogue import scores

    arguments.json = require_file("--json", arguments.json)
    rows = min(arguments.rows, 300_000)
    told = []
    for score in scores(arguments.planted, rows=rows):
        planted = score.planted
        caught = ", ".join(score.caught_by) or "nothing"
        verdict = "" if score.right else "  WRONG"
        print(f"{planted.id:<24} {planted.title:<60} {caught}{verdict}", flush=True)
        if score.suspected:
            print(f"{'':<24} points to: {score.suspected[0]}", flush=True)
        told.append(
            {
                "id": planted.id,
                "title": planted.title,
                "source": planted.source,
                "lossless": planted.lossless,
                "randomness": planted.facts.get("randomness", "uniforms"),
                "shape": planted.facts.get("shape", "chain"),
                "caught_by": list(score.caught_by),
                "points_to": list(score.suspected[:1]),
                "seconds": round(sum(check.seconds for check in score.checks), 2),
            }
        )
    wrong = sum(entry["lossless"] == bool(entry["caught_by"]) for entry in told)
    controls = sum(bool(entry["lossless"]) for entry in told)
    if arguments.json is not None:
        document = {
            "command": arguments.typed,
            "rows": rows,
            "versions": versions(),
            "hardware": hardware(),
            "kernels": told,
        }
        write_asked(arguments.json, strict_json(document))
    text = (
        f"\n{len(told) - controls} faults and {controls} lossless controls: {wrong} judged wrongly"
    )
    return Result(text, FAULT_EXIT_CODE if wrong else 0)
