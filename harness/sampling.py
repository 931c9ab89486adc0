"""From logits to the distributions that tokens are drawn from and measured by."""

from __future__ import annotations

import torch
from jaxtyping import Float

from harness.config import Sampling
from harness.errors import NumericsError


def distributions(
    logits: Float[torch.Tensor, "rows vocabulary"], sampling: Sampling
) -> Float[torch.Tensor, "rows vocabulary"]:
    """The distribution that the next token is drawn from, after each context.

    The same function serves the target and the draft model, plain and speculative decoding.

    Args:
        logits: One row a context, of any floating dtype.
        sampling: Temperature and filters. At temperature 0 a row is one-hot at its argmax (the
            first one, where several are equal).

    Returns:
        Rows that add up to 1; float64 for float64 logits, else float32.

    Raises:
        NumericsError: A row has no finite maximum (NaN, or every logit −inf).
    """
    logits = promoted(logits)
    if sampling.greedy:
        best = argmax(logits)
        return torch.zeros_like(logits).scatter_(-1, best.unsqueeze(-1), 1.0)
    return _softmax(logits / sampling.temperature)


def measured_distributions(
    logits: Float[torch.Tensor, "rows vocabulary"], sampling: Sampling
) -> Float[torch.Tensor, "rows vocabulary"]:
    """The distribution that acceptance probabilities and entropies are stated in.

    The one tokens are drawn from, but at temperature 0 the unscaled softmax: a one-hot
    distribution has no acceptance probability between 0 and 1.
    """
    return _softmax(promoted(logits)) if sampling.greedy else distributions(logits, sampling)


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
