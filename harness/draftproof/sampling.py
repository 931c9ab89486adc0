"""From logits to the distributions that tokens are drawn from and measured by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from transformers import (
    LogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from draftproof.config import Sampling
from draftproof.errors import NumericsError

Contexts = Callable[[], Sequence[Sequence[int]]]
"""The tokens before each row of logits, prompt included; asked for only by settings that look."""


@dataclass(frozen=True, slots=True)
class TokenLaw:
    """What the next token is drawn from, after each of some contexts.

    The same object serves the target and the draft model, plain and speculative decoding.

    Attributes:
        sampling: Temperature, filters and penalties.
        prompt_length: Tokens of the prompt: what comes after counts towards `min_new_tokens`.
        stop_token_ids: Ids that `min_new_tokens` holds back.
    """

    sampling: Sampling
    prompt_length: int = 0
    stop_token_ids: frozenset[int] = frozenset()
    _filters: tuple[LogitsProcessor, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_filters", _filters(self.sampling))

    def distributions(
        self, logits: Float[torch.Tensor, "rows vocabulary"], contexts: Contexts
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        """The distribution that the next token is drawn from, after each context.

        Args:
            logits: One row a context, of any floating dtype.
            contexts: The tokens before each row.

        Returns:
            Rows that add up to 1; float64 for float64 logits, else float32. At temperature 0 a row
            is one-hot at its argmax (the first one, where several are equal).

        Raises:
            NumericsError: A row has no finite maximum (NaN, or every logit −inf).
        """
        logits = self.penalised(logits, contexts)
        if self.sampling.greedy:
            best = argmax(logits)
            return torch.zeros_like(logits).scatter_(-1, best.unsqueeze(-1), 1.0)
        for apply in self._filters:
            logits = apply(None, logits)
        return _softmax(logits)

    def penalised(
        self, logits: Float[torch.Tensor, "rows vocabulary"], contexts: Contexts
    ) -> Float[torch.Tensor, "rows vocabulary"]:
        """The logits after what looks at the tokens so far: penalty and `min_new_tokens`.

        Their argmax is the greedy choice.
        """
        logits = promoted(logits)
        sampling = self.sampling
        if sampling.repetition_penalty == 1 and not sampling.min_new_tokens:
            return logits
        penalty = RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty))
        stops = [token for token in sorted(self.stop_token_ids) if token < logits.shape[-1]]
        rows = []
        for row, context in zip(logits, contexts(), strict=True):
            seen = torch.tensor([list(context)], device=logits.device)
            penalised = penalty(seen, row[None])[0]
            if len(context) - self.prompt_length < sampling.min_new_tokens:
                penalised = penalised.clone()
                penalised[stops] = -torch.inf
            rows.append(penalised)
        return torch.stack(rows)


def measured_distributions(
    logits: Float[torch.Tensor, "*rows vocabulary"],
) -> Float[torch.Tensor, "*rows vocabulary"]:
    """The unscaled softmax, in which acceptance and entropy are stated at temperature 0.

    A one-hot distribution has no acceptance probability between 0 and 1; above temperature 0 the
    distributions that tokens are drawn from are measured themselves.
    """
    return _softmax(promoted(logits))


def argmax(logits: Float[torch.Tensor, "rows vocabulary"]) -> torch.Tensor:
    """The id of the largest logit of each row, the first one where several are equal.

    Raises:
        NumericsError: A row has no finite maximum.
    """
    best, index = logits.max(-1)
    _require_finite(best)
    return index


def promoted(logits: torch.Tensor) -> torch.Tensor:
    """Logits in a dtype that probabilities can be computed in: float64 stays, else float32."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _filters(sampling: Sampling) -> tuple[LogitsProcessor, ...]:
    """Temperature, top-k, top-p and min-p, in the order in which transformers applies them."""
    filters: list[LogitsProcessor] = []
    if sampling.temperature not in (0, 1):
        filters.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        filters.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        filters.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        filters.append(MinPLogitsWarper(sampling.min_p))
    return tuple(filters)


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    probabilities = torch.softmax(logits, -1)
    _require_finite(probabilities[..., 0])
    return probabilities


def _require_finite(values: torch.Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise NumericsError(
            "the model returned logits that are NaN or all infinite; "
            "try --spec-dtype float32, or check the checkpoint"
        )
