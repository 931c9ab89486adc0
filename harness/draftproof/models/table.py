"""A language model given by a function of the context: exact, tiny, and free of numerics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float

from draftproof.models.features import KeptFeatures
from draftproof.models.protocol import check_path, no_features
from draftproof.tree import path_to


class TableLM:
    """A `CausalLM` whose next-token law is looked up by context.

    Args:
        law: From the tokens so far to the next token's probabilities ``[vocabulary]``, float64.
        vocabulary_size: Size of each row.
        max_length: The most tokens it attends to.
        hidden: From the tokens so far and a layer to its hidden state ``[size]``; None where the
            model tells none.

    Example:
        A model that repeats its last token with probability 0.9::

            rows = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)
            model = TableLM(lambda context: rows[context[-1]], vocabulary_size=2)
    """

    def __init__(
        self,
        law: Callable[[tuple[int, ...]], Float[torch.Tensor, " vocabulary"]],
        vocabulary_size: int,
        max_length: int = 1 << 30,
        *,
        hidden: Callable[[tuple[int, ...], int], Float[torch.Tensor, " size"]] | None = None,
    ) -> None:
        self._law = law
        self.vocabulary_size = vocabulary_size
        self.max_length = max_length
        self._hidden = hidden
        self._features: KeptFeatures | None = None
        self.reset()

    @property
    def length(self) -> int:
        return len(self._committed)

    def reset(self) -> None:
        self._committed: tuple[int, ...] = ()
        self._tokens: tuple[int, ...] = ()
        self._parents: tuple[int, ...] = ()
        if self._features is not None:
            self._features.reset()

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        self.commit(())
        before = self._committed
        self._committed += tuple(token_ids)
        self._keep([self._committed[: len(before) + n + 1] for n in range(len(token_ids))])
        if self._features is not None:
            self._features.commit(range(len(token_ids)))
        return self._logits(self._committed)

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        first = len(self._parents)
        self._tokens += tuple(token_ids)
        self._parents += tuple(parents)
        contexts = [
            self._committed + tuple(self._tokens[i] for i in path_to(self._parents, node))
            for node in range(first, len(self._parents))
        ]
        self._keep(contexts)
        return torch.stack([self._logits(context) for context in contexts])

    def commit(self, path: Sequence[int]) -> None:
        check_path(path, self._parents)
        if self._features is not None:
            self._features.commit(path)
        self._committed += tuple(self._tokens[node] for node in path)
        self._tokens = self._parents = ()

    def watch(self, layers: Sequence[int]) -> None:
        if layers and self._hidden is None:
            raise no_features(self)
        self._features = KeptFeatures(layers) if layers else None

    def take_features(self) -> Float[torch.Tensor, "tokens layers size"]:
        if self._features is None:
            raise no_features(self)
        return self._features.take()

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        tokens = tuple(token_ids)
        return torch.stack([self._logits(tokens[: i + 1]) for i in range(first, len(tokens))])

    def _keep(self, contexts: Sequence[tuple[int, ...]]) -> None:
        """Keep the hidden states after the last tokens of some contexts."""
        features, hidden = self._features, self._hidden
        if features is not None and hidden is not None:
            layers = features.layers
            rows = [
                torch.stack([hidden(context, layer) for layer in layers]) for context in contexts
            ]
            features.add(torch.stack(rows))

    def _logits(self, context: tuple[int, ...]) -> torch.Tensor:
        return torch.log(self._law(context))
