"""Attention with a mask and grouped heads, without copying keys and values for every query head.

transformers repeats the keys and values of grouped-query attention as soon as there is a mask, as a
tree always needs: several times slower on a CPU than attention without one. Here the query heads of
a group stand in the queries' place instead, so that keys and values are read as they lie in the
cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_NAME = "draftproof_grouped"
_WIDEST = 256
"""Queries of a block up to which the mask is repeated for every head of a group."""


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of a block of queries; anything but a small masked block goes the usual way.

    Args:
        module: The attention layer.
        query: ``[B, heads, n, d]``.
        key: ``[B, groups, keys, d]``.
        value: ``[B, groups, keys, d]``.
        attention_mask: ``[1 or B, 1, n, keys]``, boolean or additive, or None.
        dropout: 0 in evaluation.
        scaling: Of the scores.
        **kwargs: What else the model's own code hands to an attention function.

    Returns:
        ``[B, n, heads, d]``, and no weights.
    """
    batch, heads, n, size = query.shape
    groups = key.shape[1]
    has_more = any(kwargs.get(name) is not None for name in ("softcap", "s_aux", "position_bias"))
    if (
        attention_mask is None
        or attention_mask.shape[1] != 1
        or heads == groups
        or n > _WIDEST
        or has_more
    ):
        usual = ALL_ATTENTION_FUNCTIONS["sdpa"]
        result: tuple[torch.Tensor, None] = usual(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    share = heads // groups
    folded = scaled_dot_product_attention(
        query.reshape(batch, groups, share * n, size),
        key,
        value,
        attn_mask=attention_mask.repeat(1, 1, share, 1),
        dropout_p=dropout,
        scale=scaling,
    )
    return folded.reshape(batch, heads, n, -1).transpose(1, 2).contiguous(), None


def use_grouped_attention(model: PreTrainedModel) -> bool:
    """Let a model that uses PyTorch's attention use this one; others stay as they are.

    Returns:
        Whether it does. Then a single query without a mask sees every key.

    Mutates: the model's configuration.
    """
    if model.config._attn_implementation not in ("sdpa", _NAME):
        return False
    AttentionInterface.register(_NAME, grouped_attention)
    AttentionMaskInterface.register(_NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    model.set_attn_implementation(_NAME)
    return True
