"""Engines under test, made once for each of the settings that they are made of, and shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from draftproof.config import RunConfig
from draftproof.conformance.check_result import FirstProblemError
from draftproof.engines.protocol import Engine
from draftproof.models.loading import ModelPair

Make = Callable[[ModelPair, RunConfig], Engine]


class EnginePool:
    """Makes an engine where there is none of its settings, and closes all at the end.

    An engine may be a model of many gigabytes, or a server that takes minutes to load one. What a
    check must know to be right (whether something is left of the requests before its own) is known
    by comparing answers, not by making an engine anew: what is left may outlive the object.

    Args:
        make: Makes an engine.
    """

    def __init__(self, make: Make) -> None:
        self._make = make
        self._engines: dict[tuple[int, RunConfig], tuple[ModelPair, Engine]] = {}

    @contextmanager
    def engine(self, pair: ModelPair, config: RunConfig) -> Iterator[Engine]:
        """The engine of some settings. One whose code failed is not used again.

        Args:
            pair: The models that it is given.
            config: The settings that it is made of.
        """
        key = id(pair), config
        if key not in self._engines:
            # The pair is kept so that its id is not given to another.
            self._engines[key] = pair, self._make(pair, config)
        try:
            yield self._engines[key][1]
        except FirstProblemError:
            raise
        except Exception:
            # After an error nothing is known of its state.
            self._close(key)
            raise

    def close(self) -> None:
        """Close every engine."""
        for key in list(self._engines):
            self._close(key)

    def _close(self, key: tuple[int, RunConfig]) -> None:
        _, engine = self._engines.pop(key, (None, None))
        if engine is not None:
            # An engine that fails to close has no bearing on what it answered.
            with suppress(Exception):
                engine.close()
