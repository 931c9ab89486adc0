"""A draft model's side of a step: catch up with the output, and roll back what was rejected."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from harness.models.protocol import CausalLM


class DraftModel:
    """Keeps a draft model's committed tokens in step with the output.

    The deepest nodes of a draft are proposed without being scored, so after a fully kept path the
    model has not seen the last of them; `catch_up` feeds it together with the new root.

    Args:
        model: The draft model.
    """

    def __init__(self, model: CausalLM) -> None:
        self.model = model
        self._scored = 0

    def start(self, prompt: Sequence[int]) -> None:
        """Forget the sequence before and prefill, so that no step pays for the prompt."""
        self.model.reset()
        self._scored = 0
        if len(prompt) <= self.model.max_length:
            self.model.advance(prompt)

    def room(self, sequence: Sequence[int]) -> int:
        """The greatest depth for which the draft model has positions left."""
        return self.model.max_length - len(sequence) + 1

    def catch_up(self, sequence: Sequence[int]) -> Float[Tensor, " vocabulary"]:
        """The logits after `sequence`, feeding only what the model has not seen."""
        self._scored = 0
        return self.model.advance(sequence[self.model.length :])

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[Tensor, "nodes vocabulary"]:
        """The logits after the next nodes of the draft, which are scored in order."""
        self._scored += len(token_ids)
        return self.model.score(token_ids, parents)

    def commit(self, path: Sequence[int]) -> None:
        """Keep the entries of the kept nodes that were scored."""
        self.model.commit([node for node in path if node < self._scored])
