"""Shares the cases of a run out to workers that may be lost, and hands their records back."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from draftproof.config import RunConfig
from draftproof.data.prompt import Prompt
from draftproof.errors import EngineError
from draftproof.executors.measured import Measured, error_record
from draftproof.executors.worker import Loaded

ATTEMPTS = 3
"""Workers that a case may be lost with before it ends in an error."""
STARTS = 3
"""How many times all workers may be lost while they load before the run ends."""
LOADING = 10
"""How many times as long as for a case a worker may take to load its models."""
LOADING_SECONDS = 1200.0
"""What it may take at least: a machine may have to import libraries and fetch models first."""
_OUTPUTS = 2
"""Outputs of a case, each of which may take the time of one."""
_BATCHES = 4
"""Batches of prompts that a worker is handed at once, so that rows which end early are filled."""
_QUEUED = 2
"""Shares that a worker has: one in work, and one that it goes on with."""
_SECONDS_OF_WAITING = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """What a worker let be known.

    Attributes:
        worker: Which one.
        what: That it is ready (`Loaded`), a case (`Measured`), the end of a share (None), or why it
            is lost (a text).
    """

    worker: int
    what: Loaded | Measured | str | None


class Cluster(Protocol):
    """Where workers run.

    Attributes:
        name: What they are called in messages.
        one: What one of them is called.
        workers: How many there are to be.
    """

    name: str
    one: str
    workers: int

    def start(self, worker: int) -> None:
        """Begin to start a worker, which loads its models; does not wait."""
        ...

    def ask(self, worker: int, prompts: Sequence[Prompt]) -> None:
        """Hand a share of prompts to a worker, which takes shares in their order."""
        ...

    def wait(self, seconds: float) -> Iterable[Event]:
        """What workers let be known; waits so long for the first of it."""
        ...

    def discard(self, worker: int) -> None:
        """End a worker, whatever state it is in, and forget it."""
        ...

    def close(self) -> None:
        """End them all."""
        ...


@dataclass(slots=True)
class _Worker:
    """What is known of a worker.

    Attributes:
        heard: When it last let anything be known, or was given something to do.
        batch: Prompts that it decodes at once; 0 while it loads its models.
        shares: What it has not measured of the shares that it was handed; the first is in work.
    """

    heard: float
    batch: int = 0
    shares: deque[deque[Prompt]] = field(default_factory=deque)


class Fleet:
    """Measures the cases of a run on the workers of a cluster.

    Every worker has a share of prompts in work and one waiting. A worker that is lost, or that lets
    nothing be known for as long as two outputs may take, is replaced, and its prompts are handed to
    others: one by one, so that a case which kills workers kills no others with it. A case that was
    lost with `ATTEMPTS` workers ends in an error.

    Args:
        cluster: Where workers run.
        config: The run's settings.
        arrived: Called with every prompt and what was measured of it, in the order in which cases
            arrive, before anybody asks for them.
        report: Told of workers that are lost.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: RunConfig,
        arrived: Callable[[Prompt, Measured], None],
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._config = config
        self._arrived = arrived
        self._report = report
        self._clock = clock
        self._patience = _OUTPUTS * config.engine_timeout or math.inf
        self._workers: dict[int, _Worker] = {}
        self._next_worker = 0
        self._waiting: deque[Prompt] = deque()
        self._alone: deque[Prompt] = deque()
        self._known: set[str] = set()
        self._lost: dict[str, int] = {}
        self._answers: dict[str, Measured] = {}
        self._unready = 0

    @property
    def described(self) -> str:
        """What measures the cases, for messages and reports."""
        count = self._cluster.workers
        return f"{count} {self._cluster.one if count == 1 else self._cluster.name}"

    def measure(self, prompt: Prompt, upcoming: Callable[[], Iterable[Prompt]]) -> Measured:
        """What was measured of a prompt.

        Args:
            prompt: The one that is asked for.
            upcoming: The prompts that will be asked for after it; asked of the first one only.

        Raises:
            EngineError: No worker can be kept alive.
            DraftproofError: The settings cannot be used, whoever loads them.
        """
        if not self._workers:
            self._take(upcoming())
            for _ in range(self._cluster.workers):
                self._start()
        if prompt.prompt_id not in self._known:
            self._known.add(prompt.prompt_id)
            self._waiting.appendleft(prompt)
        while prompt.prompt_id not in self._answers:
            for worker in list(self._workers):
                self._hand_out(worker)
            for event in self._cluster.wait(_SECONDS_OF_WAITING):
                self._heard(event)
            self._replace_silent()
        self._known.discard(prompt.prompt_id)
        return self._answers.pop(prompt.prompt_id)

    def close(self) -> None:
        """End all workers."""
        self._workers.clear()
        self._cluster.close()

    def _take(self, prompts: Iterable[Prompt]) -> None:
        for prompt in prompts:
            if prompt.prompt_id not in self._known:
                self._known.add(prompt.prompt_id)
                self._waiting.append(prompt)

    def _start(self) -> None:
        self._workers[self._next_worker] = _Worker(self._clock())
        self._cluster.start(self._next_worker)
        self._next_worker += 1

    def _hand_out(self, name: int) -> None:
        """Hand a worker as much as it is to have."""
        worker = self._workers[name]
        while worker.batch and len(worker.shares) < _QUEUED:
            share = self._share(worker.batch)
            if not share:
                return
            if not worker.shares:
                worker.heard = self._clock()
            worker.shares.append(deque(share))
            self._cluster.ask(name, share)

    def _share(self, batch: int) -> list[Prompt]:
        """The next prompts for a worker: fewer towards the end, so that all have some."""
        if self._alone:
            return [self._alone.popleft()]
        each = -(-len(self._waiting) // (_QUEUED * len(self._workers)))
        most = 1 if batch == 1 else max(1, min(_BATCHES * batch, each))
        share: list[Prompt] = []
        while self._waiting and len(share) < most:
            allotted = self._config.allotted(self._waiting[0].domain)
            if share and self._config.allotted(share[0].domain) != allotted:
                break
            share.append(self._waiting.popleft())
        return share

    def _heard(self, event: Event) -> None:
        worker = self._workers.get(event.worker)
        if worker is None:
            return
        worker.heard = self._clock()
        if isinstance(event.what, Loaded):
            if event.what.problem:
                raise EngineError(event.what.problem)
            worker.batch, self._unready = max(1, event.what.batch), 0
        elif isinstance(event.what, Measured):
            self._keep(worker, event.what)
        elif event.what is None:
            left = worker.shares.popleft()
            self._alone.extend(left)
        else:
            self._replace(event.worker, event.what)

    def _keep(self, worker: _Worker, measured: Measured) -> None:
        """Keep a case; one that another worker has measured meanwhile is not kept twice."""
        case_id = measured.record.case_id
        prompt = next((p for p in worker.shares[0] if p.prompt_id == case_id), None)
        if prompt is None:
            return
        worker.shares[0].remove(prompt)
        self._answer(prompt, measured)

    def _answer(self, prompt: Prompt, measured: Measured) -> None:
        self._answers[prompt.prompt_id] = measured
        if not measured.fatal:
            self._arrived(prompt, measured)

    def _replace_silent(self) -> None:
        now = self._clock()
        for name, worker in list(self._workers.items()):
            patience = self._patience
            if not worker.batch:
                patience = max(LOADING_SECONDS, LOADING * patience)
            if (worker.shares or not worker.batch) and now - worker.heard > patience:
                what = "a case" if worker.batch else "its models"
                self._replace(name, f"nothing was heard of {what} for {patience:g} seconds")

    def _replace(self, name: int, why: str) -> None:
        """Put a new worker in the place of one that is lost."""
        worker = self._workers.pop(name)
        self._cluster.discard(name)
        in_work, *others = worker.shares or [deque()]
        for prompt in reversed([prompt for share in others for prompt in share]):
            # What was lost before is measured alone until it is measured.
            queue = self._alone if prompt.prompt_id in self._lost else self._waiting
            queue.appendleft(prompt)
        again = []
        for prompt in in_work:
            self._lost[prompt.prompt_id] = self._lost.get(prompt.prompt_id, 0) + 1
            if self._lost[prompt.prompt_id] < ATTEMPTS:
                again.append(prompt)
                continue
            message = (
                f"{ATTEMPTS} {self._cluster.name} were lost while they measured this case, the "
                f"last one because {why}"
            )
            record = error_record(prompt, message)
            self._answer(prompt, Measured(record=record, failure=message))
        self._alone.extend(again)
        left = sum(map(len, worker.shares))
        self._report(
            f"one of the {self._cluster.name} is lost ({why}); it is replaced, and its "
            f"{left} {'prompt is' if left == 1 else 'prompts are'} measured again"
        )
        self._unready += not worker.batch
        if self._unready >= STARTS * self._cluster.workers:
            raise EngineError(
                f"{self._unready} {self._cluster.name} were lost one after the other while they "
                f"loaded their models, the last one because {why}; run one case without "
                "--spec-executor to see what ends them"
            )
        self._start()
