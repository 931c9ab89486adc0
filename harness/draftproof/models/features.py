"""Hidden states of one sequence, kept until whoever reads them has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float


class KeptFeatures:
    """Hidden states of pending nodes and of tokens committed since they were last taken.

    Args:
        layers: Which ones; none keeps nothing.
    """

    def __init__(self, layers: Sequence[int] = ()) -> None:
        self.layers = tuple(layers)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._pending: list[torch.Tensor] = []
        self._committed: list[torch.Tensor] = []

    def add(self, features: Float[torch.Tensor, "nodes layers size"]) -> None:
        """Those of new pending nodes, in order."""
        self._pending.extend(features)

    def commit(self, path: Sequence[int]) -> None:
        """Commit some pending nodes, and drop all the others."""
        if self.layers:
            self._committed.extend(self._pending[node] for node in path)
        self._pending = []

    def take(self) -> Float[torch.Tensor, "tokens layers size"]:
        """Those of the tokens committed since the last call, which are forgotten."""
        taken, self._committed = self._committed, []
        return torch.stack(taken) if taken else torch.zeros(0, len(self.layers), 0)
