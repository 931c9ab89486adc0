"""Whatever an engine does, its case ends with a reason, and the run goes on.

An engine runs in a thread of its own, so that one that hangs can be left behind. A thread cannot be
ended from outside, and what it still does to the models it shares cannot be known: so an engine
that hung is not asked again, and each later case says so; and while its thread is left behind, the
process may grow by a share of the free memory only, so that the report is still written. One that
takes the whole process with it (a crash in native code) is survived by running under pytest-xdist,
whose worker dies alone.
"""

from __future__ import annotations

import contextlib
import operator
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

from draftproof.engines.memory_bound import MemoryBound
from draftproof.engines.protocol import (
    BatchEngine,
    CancellingEngine,
    Capability,
    ConstrainableEngine,
    Engine,
    Generation,
    Request,
)
from draftproof.engines.told import checked_generation, plain_values
from draftproof.errors import DraftproofError, EngineError, EngineGoneError, error_text

_ASIDE_SECONDS = 10.0
"""How long an engine is waited for to describe itself, or to free what it holds at the end."""

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
        if not isinstance(engine, CancellingEngine):
            self.capabilities -= {Capability.CANCELS}
        if not isinstance(engine, ConstrainableEngine):
            self.capabilities -= {Capability.EXTRAS}
        self._timeout = timeout or None
        self._stop_token_ids = stop_token_ids
        self._hung = ""
        self._described: dict[str, Any] = {}
        self._left_behind = MemoryBound()
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=_serve,
            args=(self._work, self._left_behind),
            name=f"engine {engine.name}",
            daemon=True,
        )
        self._thread.start()

    @property
    def max_length(self) -> int | None:
        """The most tokens that the engine attends to, as far as it says; None where it does not."""
        found = self._called(lambda: getattr(self.engine, "max_length", None), ())
        return found if type(found) is int and found > 0 else None

    def speculate(self, request: Request) -> Generation:
        """As the engine does.

        Raises:
            DraftproofError: It cannot serve the request, failed, hung, or returned something else
                than a generation.
        """
        self._require_served(request)
        return self._as_promised(self._answer(self.engine.speculate, request))

    def plain(self, request: Request) -> Generation:
        """As the engine does; raises like `speculate`."""
        self._require_served(request)
        return self._answer(self.engine.plain, request)

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
                checked = checked_generation(generation, self.name)
                yield begin + index, checked if plainly else self._as_promised(checked)
            if failure is not None:
                raise failure
            begin += len(rows)

    def cancel(self, request: Request) -> None:
        """As the engine does, in a thread of its own beside the one in which it answers.

        Raises:
            DraftproofError: It failed, hung, or cannot.
        """
        engine = self.engine
        if not isinstance(engine, CancellingEngine):
            raise EngineError(f"{self.name} cannot give up an output")
        future: Future[Any] = Future()
        give_up = partial(_settle, future, partial(engine.cancel, request))
        name = f"cancelling on {self.name}"
        threading.Thread(target=give_up, name=name, daemon=True).start()
        try:
            future.result(self._timeout)
        except DraftproofError:
            raise
        except TimeoutError as error:
            raise EngineError(f"{self.name} hangs: it did not give up an output") from error
        except BaseException as error:
            problem = f"{type(error).__name__}: {error_text(error)}"
            raise EngineError(f"{self.name} died: {problem}") from _shown_cause(error)

    def extras_to_try(self, token_ids: Sequence[int]) -> dict[str, str]:
        """As the engine does; none of one that fails or cannot."""
        engine = self.engine
        if self._hung or not isinstance(engine, ConstrainableEngine):
            return {}
        future = self._submit(lambda: dict(engine.extras_to_try(token_ids)))
        try:
            tried = future.result(_ASIDE_SECONDS)
        except Exception:
            return {}
        return {str(name): extras for name, extras in tried.items() if isinstance(extras, str)}

    def describe(self) -> dict[str, Any]:
        """As the engine does, as plain JSON values; of one that cannot, why."""
        if self._hung:
            return {**self._described, "name": self.name}
        future = self._submit(lambda: plain_values(dict(self.engine.describe())))
        try:
            self._described = future.result(_ASIDE_SECONDS)
        except TimeoutError:
            self._hung = f"it did not describe itself within {_ASIDE_SECONDS:g} s"
            self._left_behind.hold()
            self._described = {**self._described, "problem": self._hung}
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not future.done():
                raise
            problem = f"describe() failed: {type(error).__name__}: {error_text(error)}"
            self._described = {"problem": problem}
        return {**self._described, "name": self.name}

    def close(self) -> None:
        """Let the engine free what it holds; one that hangs or fails is left behind."""
        if not self._hung:
            future = self._submit(self.engine.close)
            with contextlib.suppress(TimeoutError):
                future.exception(timeout=_ASIDE_SECONDS)

    def _answer(self, ask: Callable[[Request], Generation], request: Request) -> Generation:
        """What the engine answers, read to its end within the time that it has."""
        return cast(
            "Generation",
            self._called(lambda: checked_generation(ask(request), self.name), [request]),
        )

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
            requests: What it is asked for; none of what takes one request's time.

        Raises:
            DraftproofError: It raised or hung.
        """
        if self._hung:
            raise EngineGoneError(f"{self.name} is not asked any more: {self._hung}")
        timeout = self._timeout and self._timeout * max(1, len(requests))
        future = self._submit(call)
        try:
            return future.result(timeout)
        except DraftproofError as error:
            said = error_text(error)
            if said == str(error):
                raise
            raise EngineError(said) from None
        except TimeoutError as error:
            if not future.done():
                asked = requests[0].request_id if requests else "a question"
                if len(requests) > 1:
                    asked += f" and the {len(requests) - 1} requests after it"
                self._hung = f"it gave no answer to {asked} within {timeout:g} s"
                self._left_behind.hold()
                if future.done():
                    self._left_behind.release()
                raise EngineError(
                    f"{self.name} hangs: {self._hung}; give it longer with --spec-engine-timeout"
                ) from error
            where = raised_at(error, self.engine)
            raise EngineError(f"{self.name}: TimeoutError: {error_text(error)}{where}") from None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not future.done():
                raise
            where = raised_at(error, self.engine)
            problem = f"{type(error).__name__}: {error_text(error)}"
            raise EngineError(f"{self.name} died: {problem}{where}") from _shown_cause(error)

    def _submit(self, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._work.put((future, call))
        return future


def _shown_cause(error: BaseException) -> BaseException | None:
    """An error as the cause of another; none where its text is not fit to be printed with it."""
    try:
        return error if error_text(error) == str(error) else None
    except Exception:
        return None


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


def _serve(
    work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]], left_behind: MemoryBound
) -> None:
    while True:
        _settle(*work.get())
        left_behind.release()


def _settle(future: Future[Any], call: Callable[[], Any]) -> None:
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
