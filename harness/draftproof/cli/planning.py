"""``draftproof plan``: the prompts, hours and cost of a run, from a pilot run."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from draftproof.errors import UsageError
from draftproof.planning import Fleet, Forecast, Pilot, aim_of, domain_plans, forecast, read_pilot
from draftproof.planning.simulation import HOURS_BETWEEN_LOSSES
from draftproof.planning.text import plan_json, plan_notes, plan_text
from draftproof.report.metrics_json import strict_json

_DESCRIPTION = """\
Plans a run from a pilot, the saved run of a few dozen prompts a domain: how many prompts each
domain needs for a change to be seen (two runs, by the test of `draftproof compare`) or for an
interval to be so narrow (one run), and how long that takes on how many GPUs. `draftproof docs
fleet` leads through it.
"""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "plan",
        help="prompts, hours and cost of a run, from a pilot run",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("pilot", metavar="REPORT", type=Path, help="folder of the pilot run")
    add(
        "--again",
        metavar="REPORT",
        type=Path,
        help="a second run of the pilot's prompts: with another seed, or with the change; says how "
        "closely two runs pair",
    )
    aim = parser.add_argument_group("what the run is to show")
    add = aim.add_argument
    add("--change", metavar="SIZE", help="a change between two runs: 0.02, or 3%% of the figure")
    add("--width", metavar="SIZE", help="a 95%% interval no wider than this, from end to end")
    add(
        "--metric",
        metavar="NAME",
        default="acceptance_rate",
        help="the figure, as in gates (default: %(default)s)",
    )
    add("--margin", metavar="SIZE", help="change that the gate tolerates (default: 0)")
    add(
        "--power",
        type=float,
        default=0.8,
        metavar="P",
        help="chance of seeing the change in a domain (default: %(default)s)",
    )
    add(
        "--alpha",
        type=float,
        default=0.05,
        metavar="A",
        help="chance that changes within the margin fail, over all domains (default: %(default)s)",
    )
    add(
        "--domain",
        action="append",
        default=[],
        metavar="NAME",
        help="only this domain; several (default: all of the pilot)",
    )
    fleet = parser.add_argument_group("what it runs on")
    add = fleet.add_argument
    add("--gpus", default="1", metavar="N,N", help="numbers of GPUs (default: %(default)s)")
    add("--price", type=float, metavar="P", help="of an hour of a GPU, in any currency")
    add(
        "--seconds-a-prompt",
        type=float,
        metavar="S",
        help="mean seconds of a GPU for a prompt (default: as in the pilot)",
    )
    add("--at-once", type=int, metavar="N", help="prompts a GPU takes (default: as in the pilot)")
    add(
        "--start-seconds",
        type=float,
        default=60.0,
        metavar="S",
        help="for a GPU to load its models (default: %(default)g)",
    )
    add(
        "--detect-seconds",
        type=float,
        metavar="S",
        help="until a lost GPU is given up (default: the pilot's --spec-engine-timeout)",
    )
    add(
        "--hours-between-losses",
        type=float,
        default=HOURS_BETWEEN_LOSSES,
        metavar="H",
        help="GPU-hours from one loss of a GPU to the next; inf for none (default: %(default)g, "
        "which was measured in Llama 3's training)",
    )
    add(
        "--slow",
        default="0:1",
        metavar="SHARE:FACTOR",
        help="so many GPUs take so many times as long: 0.02:1.5 (default: none)",
    )
    add("--simulations", type=int, default=20, metavar="N", help="(default: %(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="of the simulation (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def plan(arguments: argparse.Namespace) -> str:
    """The plan as text or JSON.

    Raises:
        UsageError: An option cannot be used, or the pilot says too little.
        TraceError: There is no run to read.
    """
    aim = aim_of(
        arguments.metric,
        change=arguments.change,
        width=arguments.width,
        margin=arguments.margin,
        power=arguments.power,
        alpha=arguments.alpha,
    )
    sizes = _gpus(arguments.gpus)
    slow = _slow(arguments.slow)
    _require_numbers(arguments)
    pilot = read_pilot(arguments.pilot, arguments.again, arguments.domain)
    plans = domain_plans(pilot, aim)
    seconds = _seconds(pilot, arguments.seconds_a_prompt)
    at_once = arguments.at_once or pilot.at_once
    _require_time(seconds, at_once, slow[1], arguments.hours_between_losses)
    forecasts: list[Forecast] = []
    for gpus in sizes:
        fleet = Fleet(
            gpus=gpus,
            at_once=at_once,
            start_seconds=arguments.start_seconds,
            detect_seconds=arguments.detect_seconds or pilot.lost_seconds,
            hours_between_losses=arguments.hours_between_losses,
            slow_share=slow[0],
            slow_factor=slow[1],
        )
        found = forecast(
            seconds,
            {each.domain: each.started for each in plans},
            fleet,
            simulations=arguments.simulations,
            seed=arguments.seed,
            tell=_teller(gpus, arguments.simulations),
        )
        forecasts.append(found)
    notes = plan_notes(pilot, aim, plans)
    if arguments.json:
        document = plan_json(pilot, aim, plans, forecasts, arguments.price, notes)
        return strict_json(document).rstrip("\n")
    return plan_text(pilot, aim, plans, forecasts, arguments.price, notes)


def _teller(gpus: int, simulations: int) -> Callable[[int], None]:
    """Shows how many runs are simulated, on a terminal, in a line that is taken away again."""

    def tell(done: int) -> None:
        if sys.stderr.isatty():
            line = f"simulating {gpus:,} GPUs: {done} of {simulations} runs"
            shown = line if done < simulations else ""
            print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)

    return tell


def _seconds(pilot: Pilot, mean: float | None) -> dict[str, np.ndarray]:
    """By domain, what a case takes: as in the pilot, or so much longer that the mean is the given.

    Raises:
        UsageError: The pilot does not tell.
    """
    untold = [domain for domain, seconds in pilot.seconds.items() if not len(seconds)]
    if not untold:
        if mean is None:
            return pilot.seconds
        factor = mean / float(np.concatenate(list(pilot.seconds.values())).mean())
        return {domain: factor * seconds for domain, seconds in pilot.seconds.items()}
    if mean is None:
        raise UsageError(
            f"{', '.join(untold)}: the pilot does not tell the seconds of its cases; give "
            "--seconds-a-prompt"
        )
    return {domain: np.array([mean]) for domain in pilot.seconds}


def _require_numbers(arguments: argparse.Namespace) -> None:
    """Refuse numbers that have no meaning.

    Raises:
        UsageError: Names the option.
    """
    for name in ("price", "seconds_a_prompt", "at_once", "detect_seconds", "hours_between_losses",
                 "simulations"):  # fmt: skip
        value = getattr(arguments, name)
        may_be_infinite = name == "hours_between_losses"
        if value is not None and not (value > 0 and (math.isfinite(value) or may_be_infinite)):
            raise UsageError(f"--{name.replace('_', '-')}: {value:g} is not a number above 0")
    if not (arguments.start_seconds >= 0 and math.isfinite(arguments.start_seconds)):
        raise UsageError(f"--start-seconds: {arguments.start_seconds:g} is not 0 or more seconds")
    if arguments.seed < 0:
        raise UsageError(f"--seed: {arguments.seed} is not 0 or more")


def _require_time(
    seconds: dict[str, np.ndarray], at_once: int, factor: float, hours: float
) -> None:
    """Refuse GPUs that are lost before they have done anything: such a run would not end.

    Raises:
        UsageError: Says how long a GPU is busy with what it takes, and how long it lasts.
    """
    longest = max(float(each.max()) for each in seconds.values()) * at_once * factor / 3600
    if longest > hours:
        raise UsageError(
            f"--hours-between-losses: a GPU is lost every {hours:g} hours, and is busy for up to "
            f"{longest:.3g} hours with the prompts that it takes; take fewer (--at-once)"
        )


def _gpus(text: str) -> list[int]:
    found = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= 1_000_000 for part in found):
        raise UsageError(f"--gpus: '{text}' is not a list of numbers such as 8,64,1000")
    return list(dict.fromkeys(int(part) for part in found))


def _slow(text: str) -> tuple[float, float]:
    share, _, factor = text.partition(":")
    try:
        found = float(share), float(factor)
    except ValueError:
        found = (math.nan, math.nan)
    if not (0 <= found[0] <= 1 and 1 <= found[1] < math.inf):
        raise UsageError(
            f"--slow: '{text}' is not a share and how many times as long those GPUs take; give for "
            "example 0.02:1.5"
        )
    return found
