"""Requests to a server, several of which are in flight at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed

from draftproof.engines.protocol import Generation, Request
from draftproof.errors import DraftproofError


def answers_in_flight(
    ask: Callable[[Request], Generation], requests: Iterable[Request], most: int
) -> Iterator[tuple[int, Generation]]:
    """Answers as they come, with the next request sent as soon as one is answered.

    Args:
        ask: Sends one request and waits for its answer; called from several threads.
        requests: All of them are read before the first is sent, so that none waits for another to
            be made.
        most: How many are in flight at once.

    Yields:
        The index of a request and its answer.

    Raises:
        DraftproofError: What the first request that failed raised, once all others were answered.
    """
    asked = list(requests)
    with ThreadPoolExecutor(most, thread_name_prefix="request") as pool:
        index_of = {pool.submit(ask, request): index for index, request in enumerate(asked)}
        failure: DraftproofError | None = None
        try:
            for future in as_completed(index_of):
                try:
                    generation = future.result()
                except DraftproofError as error:
                    failure = failure or error
                    continue
                yield index_of[future], generation
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    if failure is not None:
        raise failure
