"""The two state checks: cached logits equal a recompute, and the cache is as long as the output."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from draftproof.errors import StateError
from draftproof.models.protocol import CausalLM
from draftproof.transfer import received
from draftproof.tree import children, path_to

_TOLERANCE = {
    # Many architectures compute norms and softmax in float32, whatever their weights are.
    torch.float64: 1e-6,
    torch.float32: 1e-3,
    torch.float16: 3e-2,
    torch.bfloat16: 2e-1,
}


def tolerance(dtype: torch.dtype) -> float:
    """The largest `deviation` of logits of one context that is put down to rounding.

    Blocks of different widths round differently.
    """
    return _TOLERANCE[dtype]


def deviation(
    found: Float[torch.Tensor, " vocabulary"], expected: Float[torch.Tensor, " vocabulary"]
) -> float:
    """The largest difference of two rows of logits, in standard deviations of `expected`.

    Only what is finite in `expected` counts; NaN where there is no such logit, or one is NaN in
    `found`.
    """
    seen, alone = received(found), received(expected)
    finite = np.isfinite(alone)
    if not finite.any():
        return math.nan
    scale = float(alone[finite].std(ddof=1)) if finite.sum() > 1 else 1.0
    return float(np.abs(seen[finite] - alone[finite]).max()) / max(scale, 1e-6)


class CheckedLM:
    """A `CausalLM` that verifies another one's state at every call; for debugging, and slow.

    Args:
        model: The model to watch.
        role: Names it in errors.

    Raises:
        StateError: By `advance`, `score` and `commit`: the cached logits of a token differ from a
            recompute from scratch, or the cache holds more or fewer entries than tokens.
    """

    def __init__(self, model: CausalLM, role: str) -> None:
        self._model = model
        self._role = role
        self._committed: tuple[int, ...] = ()
        self._tokens: tuple[int, ...] = ()
        self._parents: tuple[int, ...] = ()
        self.vocabulary_size = model.vocabulary_size
        self.max_length = model.max_length

    @property
    def length(self) -> int:
        return self._model.length

    def reset(self) -> None:
        self._model.reset()
        self._committed = self._tokens = self._parents = ()
        self._check_length()

    def advance(self, token_ids: Sequence[int]) -> Float[torch.Tensor, " vocabulary"]:
        logits = self._model.advance(token_ids)
        self._committed += tuple(token_ids)
        self._tokens = self._parents = ()
        self._check_length()
        [expected] = self._model.recompute(self._committed, len(self._committed) - 1)
        self._check_row(logits, expected, "the last token")
        return logits

    def score(
        self, token_ids: Sequence[int], parents: Sequence[int]
    ) -> Float[torch.Tensor, "nodes vocabulary"]:
        first = len(self._parents)
        logits = self._model.score(token_ids, parents)
        self._tokens += tuple(token_ids)
        self._parents += tuple(parents)
        self._check_length()
        has_children = children(self._parents)
        for leaf in range(first, len(self._parents)):
            if leaf not in has_children:
                self._check_path(leaf, first, logits)
        return logits

    def commit(self, path: Sequence[int]) -> None:
        self._model.commit(path)
        self._committed += tuple(self._tokens[node] for node in path)
        self._tokens = self._parents = ()
        self._check_length()

    def recompute(
        self, token_ids: Sequence[int], first: int = 0
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        return self._model.recompute(token_ids, first)

    def _check_path(self, leaf: int, first: int, logits: torch.Tensor) -> None:
        path = path_to(self._parents, leaf)
        tokens = self._committed + tuple(self._tokens[node] for node in path)
        expected = self._model.recompute(tokens, len(self._committed))
        for row, node in zip(expected, path, strict=True):
            if node >= first:
                self._check_row(logits[node - first], row, f"pending node {node}")

    def _check_row(self, found: torch.Tensor, expected: torch.Tensor, where: str) -> None:
        require_same_logits(
            found,
            expected,
            f"{self._role}: after {where} ({len(self._committed)} committed tokens, "
            f"{len(self._parents)} pending)",
        )

    def _check_length(self) -> None:
        if self._model.length != len(self._committed):
            raise StateError(
                f"{self._role}: the model counts {self._model.length} committed tokens where "
                f"{len(self._committed)} were committed"
            )
        expected = len(self._committed) + len(self._parents)
        for layer, entries in enumerate(getattr(self._model, "cache_lengths", ())):
            if entries != expected:
                raise StateError(
                    f"{self._role}: layer {layer} caches {entries} entries for "
                    f"{len(self._committed)} committed tokens and {len(self._parents)} pending"
                )


def require_same_logits(
    found: Float[torch.Tensor, " vocabulary"],
    expected: Float[torch.Tensor, " vocabulary"],
    where: str,
) -> None:
    """Verify that cached logits are those of a recompute from scratch, up to rounding.

    Args:
        found: From a cache.
        expected: Recomputed.
        where: Begins the error's message.

    Raises:
        StateError: They differ by more than rounding in their dtype explains.
    """
    if not torch.equal(torch.isfinite(expected), torch.isfinite(found)):
        raise StateError(f"{where}, other logits are finite than in a recompute from scratch")
    difference, allowed = deviation(found, expected), tolerance(found.dtype)
    if difference > allowed:
        raise StateError(
            f"{where}, cached logits differ from a recompute from scratch by {difference:.3g} "
            f"standard deviations (allowed {allowed:.3g}): the cache, the positions or the mask "
            "are wrong"
        )
