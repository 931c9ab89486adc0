"""How long a fleet takes: cases of measured lengths on GPUs of which some are lost, some slow."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

HOURS_BETWEEN_LOSSES = 50_000.0
"""GPU-hours between two losses where nothing else is given: 419 unexpected interruptions in 54 days
on 16,384 GPUs (*The Llama 3 Herd of Models*, 2024, section 3.3.4) are one in about 50,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What the cases run on.

    Attributes:
        gpus: GPUs, each of which decodes alone.
        at_once: Prompts that a GPU takes at once, and loses together.
        start_seconds: From being given a GPU to its first prompt: loading the models.
        detect_seconds: From the loss of a GPU, or its last sign of life, to its replacement.
        hours_between_losses: Mean GPU-hours from one loss to the next; infinite for none.
        slow_share: Share of GPUs that are slower.
        slow_factor: How many times as long these take.
    """

    gpus: int
    at_once: int = 1
    start_seconds: float = 0.0
    detect_seconds: float = 600.0
    hours_between_losses: float = HOURS_BETWEEN_LOSSES
    slow_share: float = 0.0
    slow_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the simulated runs came to; each array ``[simulations]``.

    Attributes:
        fleet: What they ran on.
        prompts: Cases of a run.
        seconds: From the first GPU's start to the last case's end.
        busy: GPU-seconds that went into answers that were kept.
        tail: Seconds from the first GPU without work to the end.
        losses: GPUs that were lost with work in hand.
        retried: Cases that were begun anew.
    """

    fleet: Fleet
    prompts: int
    seconds: np.ndarray
    busy: np.ndarray
    tail: np.ndarray
    losses: np.ndarray
    retried: np.ndarray

    @property
    def gpu_hours(self) -> np.ndarray:
        """``[simulations]`` GPU-hours that are paid: every GPU until the last case has ended."""
        return self.seconds * self.fleet.gpus / 3600

    @property
    def used(self) -> float:
        """Share of these that went into answers that were kept, on average."""
        return float((self.busy / (self.seconds * self.fleet.gpus)).mean())


def forecast(
    seconds: Mapping[str, np.ndarray],
    prompts: Mapping[str, int],
    fleet: Fleet,
    *,
    simulations: int = 20,
    seed: int = 0,
    tell: Callable[[int], None] = lambda done: None,
) -> Forecast:
    """A run on a fleet, simulated several times.

    Every prompt takes as long as one of its domain's that is drawn from the pilot, in random order.
    A GPU that is free takes the next `Fleet.at_once` of them. GPUs are lost at random (a Poisson
    process of each); the prompts that one holds go to the end of the queue, and it is back after
    `Fleet.detect_seconds` and `Fleet.start_seconds`.

    Args:
        seconds: By domain, ``[cases]`` what each of the pilot's cases took.
        prompts: By domain, how many are run.
        fleet: What they run on.
        simulations: Runs that are simulated.
        seed: Of what is drawn.
        tell: Told how many runs are done.
    """
    found = []
    for index in range(simulations):
        generator = np.random.default_rng([seed, index])
        cases = np.concatenate(
            [generator.choice(seconds[name], count) for name, count in prompts.items()]
        )
        generator.shuffle(cases)
        found.append(_simulated(cases, fleet, generator))
        tell(index + 1)
    columns = [np.array(column, float) for column in zip(*found, strict=True)]
    return Forecast(fleet, sum(prompts.values()), *columns)


class _Simulated(NamedTuple):
    """One run, as in `Forecast`."""

    seconds: float
    busy: float
    tail: float
    losses: int
    retried: int


def _simulated(cases: np.ndarray, fleet: Fleet, generator: np.random.Generator) -> _Simulated:
    """One run of cases that take so long on a GPU that is not slow."""
    starts = range(0, len(cases), fleet.at_once)
    waiting = deque(
        zip(
            np.add.reduceat(cases, list(starts)).tolist(),
            [min(fleet.at_once, len(cases) - start) for start in starts],
            strict=True,
        )
    )
    # No more GPUs than batches have work; the others are paid for all the same.
    working = min(fleet.gpus, len(waiting))
    factor = np.where(generator.random(working) < fleet.slow_share, fleet.slow_factor, 1.0).tolist()
    between = fleet.hours_between_losses * 3600

    def until_loss() -> float:
        return float(generator.exponential(between)) if math.isfinite(between) else math.inf

    lost_at = [until_loss() for _ in range(working)]
    free = [(fleet.start_seconds, gpu) for gpu in range(working)]
    busy, losses, retried, ended, first_idle = 0.0, 0, 0, 0.0, math.inf
    while free:
        now, gpu = heapq.heappop(free)
        if lost_at[gpu] < now:
            lost_at[gpu] = now + until_loss()  # while it had no work in hand
        if not waiting:
            first_idle = min(first_idle, now)
            continue
        batch = waiting.popleft()
        seconds = batch[0] * factor[gpu]
        if lost_at[gpu] < now + seconds:
            losses, retried = losses + 1, retried + batch[1]
            waiting.append(batch)
            back = lost_at[gpu] + fleet.detect_seconds + fleet.start_seconds
            lost_at[gpu] = back + until_loss()
            heapq.heappush(free, (back, gpu))
            continue
        busy += seconds
        ended = max(ended, now + seconds)
        heapq.heappush(free, (now + seconds, gpu))
    idle_from = fleet.start_seconds if fleet.gpus > working else min(first_idle, ended)
    return _Simulated(ended, busy, ended - idle_from, losses, retried)
