"""Whatever an engine does, its case ends with a reason, and the run goes on.

An engine runs in a thread of its own, so that one that hangs can be left behind. A thread cannot be
ended from outside, and what it still does to the models it shares cannot be known: so an engine
that hung is not asked again, and each later case says so. One that takes the whole process with it
(a crash in native code) is survived by running under pytest-xdist, whose worker dies alone.
"""

from __future__ import annotations

import operator
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

from draftproof.engines.protocol import (
    BatchEngine,
    Capability,
    Counts,
    Engine,
    Generation,
    Request,
)
from draftproof.errors import DraftproofError, EngineError

_CLOSE_SECONDS = 10.0
"""How long a run waits at its end for an engine to free what it holds."""

_PACKAGE = Path(__file__).parents[1]

_PROMISED = {
    Capability.ACCEPTED: "accepted",
    Capability.STEPS: "steps",
    Capability.NODES: "nodes",
}
"""What an engine must return with every speculative output if it says that it can."""


class GuardedEngine:
    """An engine that always answers or raises an `EngineError`, within a time.

    Args:
        engine: What is guarded.
        timeout: Seconds a request may take, and a batch for each of its requests; 0 for any time.
        stop_token_ids: The target's own: what an output ends with by itself.
        name: What errors and reports call it, where that is not its own name (see
            `draftproof.engines.names.shown_name`).

    Attributes:
        engine: The same.
        capabilities: The engine's own, without batches where it has no ``generate``.
    """

    def __init__(
        self,
        engine: Engine,
        timeout: float,
        stop_token_ids: frozenset[int] | None = None,
        name: str | None = None,
    ) -> None:
        self.engine = engine
        self.name = name or engine.name
        self.capabilities = engine.capabilities
        if not isinstance(engine, BatchEngine):
            self.capabilities -= {Capability.BATCHES}
        self._timeout = timeout or None
        self._stop_token_ids = stop_token_ids
        self._hung = ""
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=_serve, args=(self._work,), name=f"engine {engine.name}", daemon=True
        )
        self._thread.start()

    def speculate(self, request: Request) -> Generation:
        """As the engine does.

        Raises:
            DraftproofError: It cannot serve the request, failed, hung, or returned something else
                than a generation.
        """
        self._require_served(request)
        generation = self._called(lambda: self.engine.speculate(request), [request])
        return self._as_promised(_checked(generation, self.name))

    def plain(self, request: Request) -> Generation:
        """As the engine does; raises like `speculate`."""
        self._require_served(request)
        return _checked(self._called(lambda: self.engine.plain(request), [request]), self.name)

    def generate(
        self, requests: Iterable[Request], *, most_rows: int, plainly: bool = False
    ) -> Iterator[tuple[int, Generation]]:
        """As the engine does, `most_rows` requests after `most_rows`, or ``rounds`` times as many.

        The engine gets its requests as a list and is waited for until it has answered all of them,
        so that requests are made, and answers used, outside the thread that may hang.

        Raises:
            DraftproofError: As `speculate`; also where requests are answered twice or not at all.
        """
        engine = self.engine
        if not isinstance(engine, BatchEngine):
            raise EngineError(f"{self.name} decodes one request at a time")
        remaining = iter(requests)
        begin = 0
        handed = most_rows * getattr(engine, "rounds", 1)
        while rows := list(islice(remaining, handed)):
            for request in rows:
                self._require_served(request)
            answers: list[object] = []
            ask = partial(engine.generate, rows, most_rows=most_rows, plainly=plainly)
            failure: DraftproofError | None = None
            try:
                self._called(partial(_collect, ask, answers), rows)
            except DraftproofError as error:
                failure = error
            # What was answered before a failure stands; the rest is for whoever asked to ask again.
            found = _one_each(list(answers), rows, self.name, is_whole=failure is None)
            for index, generation in found:
                checked = _checked(generation, self.name)
                yield begin + index, checked if plainly else self._as_promised(checked)
            if failure is not None:
                raise failure
            begin += len(rows)

    def describe(self) -> dict[str, Any]:
        return {**self.engine.describe(), "name": self.name}

    def close(self) -> None:
        """Let the engine free what it holds; one that hangs or fails is left behind."""
        if not self._hung:
            future = self._submit(self.engine.close)
            future.exception(timeout=_CLOSE_SECONDS)

    def _require_served(self, request: Request) -> None:
        for needed, capability, instead in _needs(request, self._stop_token_ids):
            if needed and capability not in self.capabilities:
                raise EngineError(
                    f"{self.name} cannot serve this request: not available: {capability}; {instead}"
                )

    def _as_promised(self, generation: Generation) -> Generation:
        """A speculative answer that tells all that the engine says it tells."""
        for capability, attribute in _PROMISED.items():
            if capability in self.capabilities and getattr(generation, attribute) is None:
                raise EngineError(f"{self.name} says that it tells {capability}, and returned none")
        return generation

    def _called(self, call: Callable[[], Any], requests: Sequence[Request]) -> Any:
        """What the engine returns, whatever that is.

        Args:
            call: Asks it.
            requests: What it is asked for, at least one.

        Raises:
            DraftproofError: It raised or hung.
        """
        if self._hung:
            raise EngineError(f"{self.name} is not asked any more: {self._hung}")
        timeout = self._timeout and self._timeout * len(requests)
        future = self._submit(call)
        try:
            return future.result(timeout)
        except DraftproofError:
            raise
        except TimeoutError as error:
            if not future.done():
                asked = requests[0].request_id
                if len(requests) > 1:
                    asked += f" and the {len(requests) - 1} requests after it"
                self._hung = f"it gave no answer to {asked} within {timeout:g} s"
                raise EngineError(
                    f"{self.name} hangs: {self._hung}; give it longer with --spec-engine-timeout"
                ) from error
            where = raised_at(error, self.engine)
            raise EngineError(f"{self.name}: TimeoutError: {error}{where}") from error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not future.done():
                raise
            where = raised_at(error, self.engine)
            problem = f"{type(error).__name__}: {error}"
            raise EngineError(f"{self.name} died: {problem}{where}") from error

    def _submit(self, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._work.put((future, call))
        return future


def raised_at(error: BaseException, engine: object) -> str:
    """Where an error was raised, in the engine's own code if it passed there; may be empty.

    Example: `` (my_engine.py, line 17, in speculate)``
    """
    frames = traceback.extract_tb(error.__traceback__)
    # Code of this package that an engine is called through, or made of, is not where it failed.
    others = [frame for frame in frames if not Path(frame.filename).is_relative_to(_PACKAGE)]
    module = sys.modules.get(getattr(engine, "__module__", ""), None)
    source = getattr(module, "__file__", None)
    own = [frame for frame in others if frame.filename == source]
    if not (own or others):
        return ""
    frame = (own or others)[-1]
    return f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})"


def _serve(work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]) -> None:
    while True:
        future, call = work.get()
        try:
            future.set_result(call())
        except BaseException as error:  # an engine may raise anything, SystemExit included
            future.set_exception(error)


def _needs(
    request: Request, stop_token_ids: frozenset[int] | None
) -> list[tuple[bool, Capability, str]]:
    sampling = request.sampling
    own = request.stopping.stop_token_ids if stop_token_ids is None else stop_token_ids
    filters = (sampling.top_k, sampling.top_p, sampling.min_p, sampling.repetition_penalty)
    return [
        (not sampling.greedy, Capability.SAMPLING, "use --spec-temperature 0"),
        (
            filters != (0, 1, 0, 1),
            Capability.FILTERS,
            "leave out top-k, top-p, min-p and the repetition penalty",
        ),
        (
            sampling.min_new_tokens > 0,
            Capability.MIN_NEW_TOKENS,
            "leave out --spec-min-new-tokens",
        ),
        (bool(request.stopping.stop_strings), Capability.STOP_STRINGS, "leave out --spec-stop"),
        (
            request.stopping.stop_token_ids != own,
            Capability.STOP_TOKENS,
            f"it ends outputs with its model's own stop tokens, {sorted(own)}, alone",
        ),
    ]


def _collect(ask: Callable[[], Iterable[object]], answers: list[object]) -> None:
    """Keep answers as they come, so that a failure takes none of those before it along."""
    for answer in ask():
        answers.append(answer)  # noqa: PERF402 - what came before an error must be kept


def _one_each(
    answers: list[object], requests: Sequence[Request], name: str, *, is_whole: bool
) -> Iterator[tuple[int, object]]:
    """The answers of a batch with the indices of their requests, as the engine ordered them.

    Args:
        answers: What the engine yielded.
        requests: What it was asked for.
        name: Of the engine, for errors.
        is_whole: Whether every request must have an answer; else, some may have none.

    Raises:
        EngineError: An answer is not a pair of an index and a generation, or a request has more or
            fewer answers than one.
    """
    pairs: list[tuple[int, object]] = []
    for answer in answers:
        try:
            index, generation = cast("Any", answer)
            pairs.append((operator.index(index), generation))
        except (TypeError, ValueError) as error:
            raise EngineError(
                f"{name}.generate yielded a {type(answer).__name__} that is not a pair of a "
                "request's index and its Generation"
            ) from error
    answered, wanted = sorted(index for index, _ in pairs), range(len(requests))
    is_partial = len(set(answered)) == len(answered) and set(answered) <= set(wanted)
    if answered != list(wanted) and (is_whole or not is_partial):
        raise EngineError(
            f"{name}.generate was asked for requests 0 to {len(requests) - 1} and answered "
            f"{[index for index, _ in pairs]}; it must answer each of them once"
        )
    return iter(pairs)


def _checked(generation: object, name: str) -> Generation:
    """The generation with its token ids as plain integers.

    Raises:
        EngineError: It is none, or has no token ids.
    """
    if not isinstance(generation, Generation):
        raise EngineError(f"{name} returned a {type(generation).__name__}, not a Generation")
    token_ids: object = generation.token_ids
    if token_ids is None or isinstance(token_ids, str | bytes):
        raise EngineError(f"{name} returned text without token ids; losslessness is judged by ids")
    try:
        ids = tuple(operator.index(token) for token in generation.token_ids)
    except TypeError as error:
        raise EngineError(f"{name} returned token ids that are no integers: {error}") from error
    return replace(generation, token_ids=ids, counts=_whole(generation.counts, name))


def _whole(counts: Counts | None, name: str) -> Counts | None:
    """The counters as plain integers; whether they can be true is not judged here.

    Raises:
        EngineError: They are not integers.
    """
    if counts is None:
        return None
    values = {field.name: getattr(counts, field.name) for field in fields(Counts)}
    try:
        whole = {key: _integers(value) for key, value in values.items()}
    except TypeError as error:
        raise EngineError(f"{name} returned counters that are no integers: {error}") from error
    return Counts(**whole)


def _integers(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Iterable):
        return tuple(map(operator.index, value))
    return operator.index(value)
