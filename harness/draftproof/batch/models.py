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
    """

    vocabulary_size: int
    max_length: int

    @property
    def device(self) -> torch.device:
        """Where its inputs and outputs are."""
        ...

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


class OneRow:
    """A `CausalLM` that is one row of a batch.

    Args:
        rows: Holds nothing else.
        recompute: `CausalLM.recompute` of the same model.
    """

    def __init__(
        self,
        rows: BatchLM,
        recompute: Callable[[Sequence[int], int], Float[torch.Tensor, "rows vocabulary"]],
    ) -> None:
        self._rows = rows
        self._recompute = recompute
        self._pending = 0
        self.length = 0
        self.vocabulary_size = rows.vocabulary_size
        self.max_length = rows.max_length

    def reset(self) -> None:
        if self.length:
            self._rows.keep(())
        self.length = self._pending = 0

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        if not self.length:
            self.length = len(token_ids)
            return self._rows.start([0], [token_ids])[0]
        if self._pending:
            self.commit(())
        logits = self.score(token_ids, range(-1, len(token_ids) - 1))
        self.commit(range(len(token_ids)))
        return logits[-1]

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        self._pending += len(token_ids)
        ids = torch.tensor([list(token_ids)], device=self._rows.device)
        return self._rows.score(ids, tuple(parents))[0]

    def commit(self, path: Sequence[int]) -> None:
        self._rows.commit([path])
        self.length += len(path)
        self._pending = 0

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        return self._recompute(token_ids, first)


class MovedRows:
    """A `BatchLM` that runs on another device than the target; see `MovedLM`.

    Args:
        model: Does the work, where it is.
        device: Where tokens come from and logits go.
    """

    def __init__(self, model: BatchLM, device: torch.device) -> None:
        self._model = model
        self.vocabulary_size = model.vocabulary_size
        self.max_length = model.max_length
        self.device = device

    def start(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        return self._model.start(rows, prompts).to(self.device)

    def score(
        self, token_ids: Int64[torch.Tensor, "B n"], parents: Parents
    ) -> Float[torch.Tensor, "B n vocabulary"]:
        there = self._model.device
        above = parents if isinstance(parents, tuple) else parents.to(there)
        return self._model.score(token_ids.to(there), above).to(self.device)

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        self._model.commit(paths)

    def keep(self, rows: Sequence[int]) -> None:
        self._model.keep(rows)


class WidenedRows:
    """A `BatchLM` over more ids than the model underneath has; see `WidenedLM`.

    Args:
        model: Over its own ids.
        vocabulary_size: Ids of the target.
        known: Ids that stand for the same token in both.
        stand_in: The id that is read for the others; one of `known`.
    """

    def __init__(
        self, model: BatchLM, vocabulary_size: int, known: Sequence[int], stand_in: int
    ) -> None:
        self._narrow = model
        self._known = torch.tensor(known, device=model.device)
        self._read = torch.full((vocabulary_size,), stand_in, device=model.device)
        self._read[self._known] = self._known
        self._readable = frozenset(known)
        self._stand_in = stand_in
        self.vocabulary_size = vocabulary_size
        self.max_length = model.max_length
        self.device = model.device

    def start(
        self, rows: Sequence[int], prompts: Sequence[Sequence[int]]
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        read = [
            [token if token in self._readable else self._stand_in for token in prompt]
            for prompt in prompts
        ]
        return self._widened(self._narrow.start(rows, read))

    def score(
        self, token_ids: Int64[torch.Tensor, "B n"], parents: Parents
    ) -> Float[torch.Tensor, "B n vocabulary"]:
        return self._widened(self._narrow.score(self._read[token_ids], parents))

    def commit(self, paths: Sequence[Sequence[int]]) -> None:
        self._narrow.commit(paths)

    def keep(self, rows: Sequence[int]) -> None:
        self._narrow.keep(rows)

    def _widened(self, logits: torch.Tensor) -> torch.Tensor:
        wide = logits.new_full((*logits.shape[:-1], self.vocabulary_size), -torch.inf)
        return wide.index_copy(-1, self._known, logits.index_select(-1, self._known))
