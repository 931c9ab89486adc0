"""What batched decoding needs of a language model: rows, trees after them, and commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64

from draftproof.models.protocol import CausalLM

Parents = tuple[int, ...] | Int64[torch.Tensor, "B n"]
"""Parents of nodes: the same in every row and known on the host, or each row's own."""


@runtime_checkable
class BatchLM(Protocol):
    """A causal language model that holds a batch of sequences of different lengths.

    Each row has its own committed tokens and its own pending nodes, as `CausalLM` has, and never
    sees another row.

    Attributes:
        vocabulary_size: Size of a row of logits; only ids that the tokenizer knows.
        max_length: The most tokens the model can attend to.
        device: Where its inputs and outputs are.
    """

    vocabulary_size: int
    max_length: int
    device: torch.device

    def start(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        """Forget some rows and prefill them; the others stay as they are.

        Args:
            rows: Of the batch; one that is not there yet is added, in order.
            prompts: One for each, not empty.

        Returns:
            The logits after each prompt.
        """
        ...

    def score(
        self, token_ids: Int64[torch.Tensor, "B n"], parents: Parents
    ) -> Float[torch.Tensor, "B n vocabulary"]:
        """The logits after some new pending nodes of every row, in one forward pass.

        Args:
            token_ids: The nodes' tokens.
            parents: ``[n]``, the same in every row, or ``[B, n]``: index of each node's parent
                among all nodes of its row that are pending since the last commit, earlier calls'
                nodes first, or −1 for the last committed token.
        """
        ...

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        """Commit some pending nodes of every row and drop all the others.

        Args:
            paths: ``[B]`` pending indices from a child of the last committed token downwards.
        """
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some rows, in this order, and forget the others."""
        ...


class SeparateRows:
    """A `BatchLM` of single sequences that know nothing of each other; slow, and plainly right.

    Args:
        make: Makes a model for a row; all of them are alike.
    """

    def __init__(self, make: Callable[[], CausalLM]) -> None:
        self._make = make
        self._rows: list[CausalLM] = []
        model = make()
        self.vocabulary_size = model.vocabulary_size
        self.max_length = model.max_length
        self.device = torch.device("cpu")

    def start(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        logits = []
        for row, prompt in zip(rows, prompts, strict=True):
            if row == len(self._rows):
                self._rows.append(self._make())
            self._rows[row].reset()
            logits.append(self._rows[row].advance(prompt))
        return torch.stack(logits)

    def score(
        self, token_ids: Int64[torch.Tensor, "B n"], parents: Parents
    ) -> Float[torch.Tensor, "B n vocabulary"]:
        above = [parents] * len(token_ids) if isinstance(parents, tuple) else parents.tolist()
        return torch.stack(
            [
                model.score(tokens, own)
                for model, tokens, own in zip(self._rows, token_ids.tolist(), above, strict=True)
            ]
        )

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        for model, path in zip(self._rows, paths, strict=True):
            model.commit(path)

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]
