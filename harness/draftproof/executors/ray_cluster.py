"""Workers as actors of Ray, one a GPU: on this machine, or on a cluster that is running."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from draftproof.choices import SPREAD
from draftproof.config import RunConfig
from draftproof.data.prompt import Prompt
from draftproof.errors import UsageError
from draftproof.executors.fleet import Event
from draftproof.executors.worker import CaseWorker

_NONE = "--spec-executor ray: Ray is not installed; pip install 'draftproof[ray]'"


class RayCluster:
    """Actors that each hold the pair and decode batches.

    Joins the cluster that ``RAY_ADDRESS`` names or that runs on this machine, and else starts one
    here, which ends with the run.

    Args:
        config: The run's settings, which are all that is sent to an actor beside prompts.
        workers: How many; None for one a GPU, or, on a cluster without GPUs, one a machine.

    Raises:
        UsageError: Ray is not installed, the cluster has no room for so many, or the settings name
            a device that an actor does not have.
    """

    name, one = "actors of Ray", "actor of Ray"

    def __init__(self, config: RunConfig, workers: int | None) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError(_NONE) from None
        self._ray: Any = ray
        self._config = config
        self._owns = not ray.is_initialized()
        if self._owns:
            # Ray's workers give way to every other process of a machine, which seconds would show.
            os.environ.setdefault("RAY_worker_niceness", "0")
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        self._actors: dict[int, Any] = {}
        self._loading: dict[Any, int] = {}
        self._streams: dict[int, list[Any]] = {}
        try:
            self.workers, self._takes = room_of(config, workers, ray.nodes())
        except UsageError:
            self.close()
            raise

    def start(self, worker: int) -> None:
        """Begin to start an actor."""
        kind = self._ray.remote(CaseWorker).options(max_restarts=0, **self._takes)
        actor = kind.remote(self._config)
        self._actors[worker] = actor
        self._streams[worker] = []
        self._loading[actor.load.remote()] = worker

    def ask(self, worker: int, prompts: Sequence[Prompt]) -> None:
        """Hand prompts to an actor, which gives each case back as soon as it is measured."""
        method = self._actors[worker].run.options(num_returns="streaming")
        self._streams[worker].append(method.remote(list(prompts)))

    def wait(self, seconds: float) -> Iterable[Event]:
        """What the actors let be known."""
        first = {streams[0]: worker for worker, streams in self._streams.items() if streams}
        pending = [*self._loading, *first]
        if not pending:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(pending, num_returns=1, timeout=seconds, fetch_local=False)
        return [self._event(each, first) for each in ready]

    def _event(self, ready: Any, first: dict[Any, int]) -> Event:
        """What one of them has become."""
        worker = self._loading[ready] if ready in self._loading else first[ready]
        try:
            if ready in self._loading:
                del self._loading[ready]
                return Event(worker, self._ray.get(ready))
            return Event(worker, self._ray.get(next(ready)))
        except StopIteration:
            self._streams[worker].pop(0)
            return Event(worker, None)
        except self._ray.exceptions.RayError as error:
            return Event(worker, _first_line(error))

    def discard(self, worker: int) -> None:
        """Kill an actor."""
        self._streams.pop(worker, None)
        self._loading = {ref: name for ref, name in self._loading.items() if name != worker}
        actor = self._actors.pop(worker, None)
        if actor is not None:
            self._ray.kill(actor, no_restart=True)

    def close(self) -> None:
        """Kill all actors; end the cluster where it was started here."""
        for worker in list(self._actors):
            self.discard(worker)
        if self._owns:
            self._ray.shutdown()


def room_of(
    config: RunConfig, workers: int | None, nodes: Sequence[Mapping[str, Any]]
) -> tuple[int, dict[str, int]]:
    """How many actors there are to be, and what each takes of a cluster.

    Args:
        config: The run's settings.
        workers: How many are asked for; None for as many as there is room for.
        nodes: The machines, as Ray describes them.

    Raises:
        UsageError: There is no room for so many, or a device is named that an actor does not have.
    """
    option = "--spec-executor ray" if workers is None else f"--spec-executor ray:{workers}"
    for device in filter(None, (config.device, config.draft_device)):
        if device == SPREAD or ":" in device:
            raise UsageError(
                f"{option}: an actor has one GPU, and --spec-device {device} names another place; "
                "give cuda, cpu or auto"
            )
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    gpus = int(sum(each.get("GPU", 0) for each in machines))
    if gpus and config.device not in ("cpu", "mps"):
        if workers is not None and workers > gpus:
            raise UsageError(
                f"{option}: the cluster has {gpus} GPUs, and an actor takes one; ask for no more"
            )
        return workers or gpus, {"num_gpus": 1}
    cores = [int(each.get("CPU", 0)) for each in machines]
    wanted = workers or len(cores)
    each = next((n for n in range(max(cores), 0, -1) if sum(c // n for c in cores) >= wanted), 0)
    if not each:
        raise UsageError(
            f"{option}: the cluster has {sum(cores)} processor cores and no GPU that can be used, "
            "and an actor takes a core at least; ask for no more"
        )
    return wanted, {"num_cpus": each}


def _first_line(error: Exception) -> str:
    """What a Ray error says first, without the trace that it goes on with."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
