"""Which token a number from [0, 1) decides: without rounding, alone or in a batch, on any device.

Weights become integers, whose sums are exact and do not depend on the order in which they are
added. So a row's token is the same beside other rows, on a GPU and on a CPU, and a batch changes no
draw. No float64 is needed on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64

from draftproof.errors import NumericsError

_HALF = 31
"""Bits of each of the two integers that hold a number from [0, 1)."""
_ROOM = 61
"""Bits that a total of integer weights may have, so that no product below leaves 64."""

NO_LAW = -1
"""In place of a token, where the weights are no law."""


def fixed_point(uniforms: Sequence[float] | np.ndarray) -> np.ndarray:
    """Numbers from [0, 1) as pairs of integers, exactly: ``u = (a + b / 2³¹) / 2³¹``.

    Args:
        uniforms: ``[*rows]``.

    Returns:
        int64 ``[*rows, 2]``, for `drawn`.

    Example:
        >>> fixed_point([0.5]).tolist()
        [[1073741824, 0]]
    """
    scaled = np.asarray(uniforms, np.float64) * 2.0**_HALF
    high = np.floor(scaled)
    low = np.floor((scaled - high) * 2.0**_HALF)
    return np.stack([high, low], axis=-1).astype(np.int64)


def drawn(
    weights: Float[torch.Tensor, "rows vocabulary"], uniforms: Int64[torch.Tensor, "rows 2"]
) -> Int64[torch.Tensor, " rows"]:
    """For each row, the token at which the cumulative weights pass a share of their total.

    A token of weight 0 is never drawn, at neither end of [0, 1). Weights are rounded down to
    multiples of 2⁻⁶¹ of the largest, times the vocabulary's size rounded up to a power of 2: by
    10⁻¹³ for 152,000 tokens.

    Args:
        weights: Non-negative, of any positive total.
        uniforms: From `fixed_point`.

    Returns:
        Token ids; `NO_LAW` where a weight is negative or no finite number, or all are 0.
    """
    if weights.dtype != torch.float64:
        weights = weights.float()
    largest = weights.amax(-1, keepdim=True)
    is_law = torch.isfinite(largest) & (largest > 0) & (weights >= 0).all(-1, keepdim=True)
    share = torch.where(is_law, weights / largest, torch.zeros_like(weights))
    bits = _ROOM - math.ceil(math.log2(max(weights.shape[-1], 2)))
    cumulative = (share * 2.0**bits).long().cumsum(-1)
    total = cumulative[:, -1]
    high, low = total >> _HALF, total & (2**_HALF - 1)
    first, second = uniforms[:, 0], uniforms[:, 1]
    passed = first * high + ((first * low + second * high) >> _HALF)
    token = torch.searchsorted(cumulative, passed[:, None], right=True)[:, 0]
    return torch.where(is_law[:, 0], token, torch.full_like(token, NO_LAW))


def certain(weights: Float[torch.Tensor, "*rows vocabulary"]) -> Int64[torch.Tensor, "*rows"]:
    """For each row of which one weight alone is not 0, its token: what `drawn` says for any number.

    Returns:
        Token ids; `NO_LAW` where all weights are 0 or one is no finite number.

    Example:
        >>> certain(torch.tensor([[0.0, 1.0], [0.0, 0.0]])).tolist()
        [1, -1]
    """
    largest, token = weights.max(-1)
    return torch.where(torch.isfinite(largest) & (largest > 0), token, NO_LAW)


def inverse_cdf(weights: Float[torch.Tensor, " vocabulary"], uniform: float) -> int:
    """The token that one number decides; see `drawn`.

    Args:
        weights: Non-negative, of any positive total.
        uniform: In [0, 1).

    Raises:
        NumericsError: The weights hold NaN or a negative number, or their total is not a positive
            number.

    Example:
        >>> inverse_cdf(torch.tensor([0.0, 1.0, 0.0]), 0.0)
        1
    """
    number = torch.from_numpy(fixed_point([uniform])).to(weights.device)
    token = int(drawn(weights[None], number)[0])
    if token == NO_LAW:
        raise no_law(float(weights.sum()))
    return token


def no_law(total: float = math.nan) -> NumericsError:
    """The error of weights that nothing can be drawn from."""
    return NumericsError(
        f"cannot draw from weights that add up to {total}: the model returned NaN or infinite "
        "logits, or a filter removed every token"
    )
