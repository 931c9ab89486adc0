"""A draft model's side of a step: catch up with the output, and roll back what was rejected."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from draftproof.models.protocol import CausalLM
from draftproof.tree import ROOT


class DraftModel:
    """Keeps a draft model's committed tokens in step with the output.

    Nodes without children are proposed without being scored. So after a fully kept path the model
    has not seen the last of them; `catch_up` feeds it together with the new root.

    Args:
        model: The draft model.
    """

    def __init__(self, model: CausalLM) -> None:
        self.model = model
        self._pending: dict[int, int] = {ROOT: ROOT}

    def start(self, prompt: Sequence[int]) -> None:
        """Forget the sequence before and prefill, so that no step pays for the prompt."""
        self.model.reset()
        if len(prompt) <= self.model.max_length:
            self.model.advance(prompt)

    def room(self, sequence: Sequence[int]) -> int:
        """The greatest depth for which the draft model has positions left."""
        return self.model.max_length - len(sequence) + 1

    def catch_up(self, sequence: Sequence[int]) -> Float[Tensor, " vocabulary"]:
        """The logits after `sequence`, feeding only what the model has not seen."""
        self._pending = {ROOT: ROOT}
        return self.model.advance(sequence[self.model.length :])

    def score(
        self, nodes: Sequence[int], token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[Tensor, "nodes vocabulary"]:
        """The logits after some nodes of the draft.

        Args:
            nodes: ``[n]`` the drafter's indices of the nodes.
            token_ids: ``[n]`` their tokens.
            parents: ``[n]`` their parents' indices, each scored before or `ROOT`.
        """
        pending_parents = [self._pending[parent] for parent in parents]
        first = len(self._pending) - 1
        self._pending.update((node, first + offset) for offset, node in enumerate(nodes))
        return self.model.score(token_ids, pending_parents)

    def commit(self, path: Sequence[int]) -> None:
        """Keep the entries of the kept nodes that were scored, by the drafter's indices."""
        self.model.commit([self._pending[node] for node in path if node in self._pending])
