"""What decoding needs of a language model: one sequence, a tree after it, and a commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float

from draftproof.errors import UsageError


@runtime_checkable
class CausalLM(Protocol):
    """A causal language model that holds one sequence.

    Its state is the committed tokens (``length`` of them, with their cache entries) and the pending
    nodes scored since the last commit. `advance` and `commit` move the first; `score` adds to the
    second.

    Attributes:
        vocabulary_size: Size of a row of logits; only ids that the tokenizer knows.
        max_length: The most tokens the model can attend to.
    """

    vocabulary_size: int
    max_length: int

    @property
    def length(self) -> int:
        """Committed tokens, each with exactly one cache entry."""
        ...

    def reset(self) -> None:
        """Forget everything: no committed token, no pending node."""
        ...

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        """The logits after `token_ids`, which are committed.

        Args:
            token_ids: At least one id. Pending nodes are dropped first.
        """
        ...

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        """The logits after each of some new pending nodes, in one forward pass.

        Args:
            token_ids: ``[n]`` the nodes' tokens.
            parents: ``[n]`` index of each node's parent among all nodes pending since the last
                commit, earlier calls' nodes first, or −1 for the last committed token.

        Returns:
            ``[n, vocabulary]``, a row for each new node.
        """
        ...

    def commit(self, path: Sequence[int]) -> None:
        """Commit some pending nodes and drop all the others.

        Args:
            path: Pending indices from a child of the last committed token downwards, each the
                parent of the next; empty to drop everything pending.
        """
        ...

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        """The logits after prefixes of `token_ids`, from scratch; the state is untouched.

        Args:
            token_ids: ``[n]`` ids.
            first: Index of the last token of the shortest prefix whose logits are wanted; the rows
                before it are not kept, which are most of the memory where the prompt is long.

        Returns:
            ``[n − first, vocabulary]``
        """
        ...


@runtime_checkable
class FeatureLM(CausalLM, Protocol):
    """A `CausalLM` that also tells hidden states, for drafters that read the target's features."""

    def watch(self, layers: Sequence[int]) -> None:
        """Keep the hidden states of some layers, from the next reset on.

        Args:
            layers: 0 for the embeddings, ``i`` for what layer ``i`` returns, counted from 1; the
                last one after the model's final norm. None of them keeps nothing.
        """
        ...

    def take_features(self) -> Float[torch.Tensor, "tokens layers size"]:
        """The hidden states of the tokens committed since the last call, which are forgotten."""
        ...


def no_features(model: object) -> UsageError:
    """The error of a drafter that asks for what a target does not tell."""
    return UsageError(
        f"the drafter reads the target's hidden states, and {type(model).__name__} does not tell "
        "them; give it a model that does (`draftproof.models.protocol.FeatureLM`)"
    )


def check_path(path: Sequence[int], parents: Sequence[int]) -> None:
    """Verify that `path` starts below the last committed token and follows `parents`.

    Raises:
        ValueError: Names the node that does not follow from the one before it.
    """
    previous = -1
    for node in path:
        if not 0 <= node < len(parents) or parents[node] != previous:
            raise ValueError(f"path {tuple(path)}: node {node} is not a child of {previous}")
        previous = node
