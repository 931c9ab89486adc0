"""Wall time of verification, measured outside the algorithm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float

from draftproof.models.protocol import CausalLM, FeatureLM, no_features
from draftproof.stopwatch import Stopwatch


class TimedLM:
    """A `CausalLM` whose work another one does, and a stopwatch measures where it verifies.

    Args:
        model: Does the work.
        stopwatch: Runs during `score` and `commit`; not during `advance`, which for a target is
            the prefill.
    """

    def __init__(self, model: CausalLM, stopwatch: Stopwatch) -> None:
        self._model = model
        self._stopwatch = stopwatch
        self.vocabulary_size = model.vocabulary_size
        self.max_length = model.max_length

    @property
    def length(self) -> int:
        return self._model.length

    def reset(self) -> None:
        self._model.reset()

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        return self._model.advance(token_ids)

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        with self._stopwatch.running():
            return self._model.score(token_ids, parents)

    def commit(self, path: Sequence[int]) -> None:
        with self._stopwatch.running():
            self._model.commit(path)

    def watch(self, layers: Sequence[int]) -> None:
        if isinstance(self._model, FeatureLM):
            self._model.watch(layers)
        elif layers:
            raise no_features(self._model)

    def take_features(self) -> Float[torch.Tensor, "tokens layers size"]:
        if not isinstance(self._model, FeatureLM):
            raise no_features(self._model)
        return self._model.take_features()

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        return self._model.recompute(token_ids, first)
