"""A draft model that lacks some of the target's ids, over all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from draftproof.models.protocol import CausalLM


class WidenedLM:
    """A `CausalLM` over more ids than the model underneath has.

    Ids that it lacks have the logit −∞, so that they are never proposed: q is 0 there, and p may be
    anything. Where a context has one, the model reads another token in its place; what a draft
    model reads changes what it proposes, not what the output is.

    Args:
        model: Over its own ids.
        vocabulary_size: Ids of the target.
        known: Ids that stand for the same token in both.
        stand_in: The id that is read for the others; one of `known`.

    Attributes:
        known: As given.
        stand_in: As given.
    """

    def __init__(
        self, model: CausalLM, vocabulary_size: int, known: Sequence[int], stand_in: int
    ) -> None:
        self._narrow = model
        self.known = tuple(known)
        self.stand_in = stand_in
        self._known: Int[torch.Tensor, " known"] = torch.tensor(known)
        self._readable = frozenset(known)
        self.vocabulary_size = vocabulary_size
        self.max_length = model.max_length

    @property
    def narrow(self) -> CausalLM:
        """The model over its own ids."""
        return self._narrow

    @property
    def model(self) -> PreTrainedModel:
        """The `transformers` model underneath."""
        found: PreTrainedModel = getattr(self._narrow, "model")  # noqa: B009
        return found

    @property
    def length(self) -> int:
        return self._narrow.length

    @property
    def cache_lengths(self) -> tuple[int, ...]:
        """Entries held by each layer's cache, pending nodes included."""
        return getattr(self._narrow, "cache_lengths", ())

    def reset(self) -> None:
        self._narrow.reset()

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        return self._widened(self._narrow.advance(self._read(token_ids))[None])[0]

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        return self._widened(self._narrow.score(self._read(token_ids), parents))

    def commit(self, path: Sequence[int]) -> None:
        self._narrow.commit(path)

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        return self._widened(self._narrow.recompute(self._read(token_ids), first))

    def _read(self, token_ids: Sequence[int]) -> list[int]:
        return [token if token in self._readable else self.stand_in for token in token_ids]

    def _widened(
        self, logits: Float[torch.Tensor, "rows narrow"]
    ) -> Float[torch.Tensor, "rows wide"]:
        known = self._known.to(logits.device)
        wide = logits.new_full((len(logits), self.vocabulary_size), -torch.inf)
        return wide.index_copy(-1, known, logits.index_select(-1, known))
