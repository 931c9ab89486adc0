"""Answers to requests that are asked for one after another, decoded many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from draftproof.engines.protocol import BatchEngine, Engine, Generation, Request
from draftproof.errors import is_out_of_memory


class Ahead:
    """Decodes what will be asked for next together with what is asked for now.

    A request that fails fails alone: where a batch ends in an error, every request that it held is
    decoded by itself when its turn comes, and the next batch begins after them. The same holds for
    requests that a batch took and did not answer.

    Args:
        engine: Decodes, in batches and alone.
        most_rows: Requests that are decoded at once.
        upcoming: From a request to those that will be asked for after it, in that order. Their
            order may be another one when they are asked for, and some may never be.
        plainly: Without speculation.
        report: Told of batches that failed.
    """

    def __init__(
        self,
        engine: Engine,
        most_rows: int,
        upcoming: Callable[[Request], Iterator[Request]],
        *,
        plainly: bool = False,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        if not isinstance(engine, BatchEngine):
            raise TypeError(f"{engine.name} decodes one request at a time")
        self._engine: BatchEngine = engine
        self._name = engine.name
        self._alone = engine.plain if plainly else engine.speculate
        self._most_rows = most_rows
        self._upcoming = upcoming
        self._plainly = plainly
        self._report = report
        self._answers: dict[str, Generation] = {}
        self._taken: dict[str, Request] = {}
        self._failed: set[str] = set()
        self._running: Iterator[tuple[int, Generation]] | None = None

    def answer(self, request: Request) -> Generation:
        """The answer to a request, which is forgotten here.

        Raises:
            DraftproofError: It cannot be served.
        """
        name = request.request_id
        while name not in self._answers and name not in self._failed:
            if self._running is None:
                self._running = self._batch(request)
            try:
                next(self._running)
            except StopIteration:
                self._give_up("left some prompts of a batch out")
            except Exception as error:  # whose fault it is shows when each is decoded alone
                self._give_up(f"ended a batch with {type(error).__name__}", error)
        if name in self._answers:
            return self._answers.pop(name)
        self._failed.discard(name)
        return self._alone(request)

    def _give_up(self, what: str, error: Exception | None = None) -> None:
        """End the batch; what it has taken and not answered is decoded alone.

        A batch that has answered everything leaves nothing.
        """
        self._running = None
        if not self._taken:
            return
        lost = len(self._taken)
        line = f"{self._name} {what}: prompts that are decoded one by one now: {lost}"
        if is_out_of_memory(error) and self._most_rows > 1:
            self._most_rows //= 2
            line += f"; from here on, {self._most_rows} at once"
        self._report(line)
        self._failed.update(self._taken)
        self._taken.clear()

    def _batch(self, first: Request) -> Iterator[tuple[int, Generation]]:
        """Answers of a request and those after it, which are kept as they come."""
        # Taken whatever the engine does: an engine that never asks for it has lost it.
        self._taken[first.request_id] = first
        order = [first.request_id]

        def requests() -> Iterator[Request]:
            yield first
            for request in self._upcoming(first):
                name = request.request_id
                if name in self._taken or name in self._answers or name in self._failed:
                    continue
                self._taken[name] = request
                order.append(name)
                yield request

        for index, generation in self._engine.generate(
            requests(), most_rows=self._most_rows, plainly=self._plainly
        ):
            name = order[index]
            del self._taken[name]
            self._answers[name] = generation
            yield index, generation
