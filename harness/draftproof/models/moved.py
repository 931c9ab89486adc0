"""A draft model that runs on another device than the target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from transformers import PreTrainedModel

from draftproof.models.protocol import CausalLM


class MovedLM:
    """A `CausalLM` whose logits are sent to another device than the one that it runs on.

    Everything after the draft model (draws, acceptance, records) happens where the target is.

    Args:
        model: Does the work, where it is.
        device: Where its logits go.
    """

    def __init__(self, model: CausalLM, device: torch.device) -> None:
        self._model = model
        self.device = device
        self.vocabulary_size = model.vocabulary_size
        self.max_length = model.max_length

    @property
    def unmoved(self) -> CausalLM:
        """The model that does the work."""
        return self._model

    @property
    def model(self) -> PreTrainedModel:
        """The `transformers` model underneath."""
        found: PreTrainedModel = getattr(self._model, "model")  # noqa: B009
        return found

    @property
    def length(self) -> int:
        return self._model.length

    @property
    def cache_lengths(self) -> tuple[int, ...]:
        """Entries held by each layer's cache, pending nodes included."""
        found: Any = getattr(self._model, "cache_lengths", ())
        return tuple(found)

    def reset(self) -> None:
        self._model.reset()

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        return self._model.advance(token_ids).to(self.device)

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        return self._model.score(token_ids, parents).to(self.device)

    def commit(self, path: Sequence[int]) -> None:
        self._model.commit(path)

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        return self._model.recompute(token_ids, first).to(self.device)
