"""How far a model varies by itself with the number of tokens that it scores in one block.

The same token after the same tokens has other logits when it is scored in a block of another width,
because other kernels add in another order. Where two tokens are nearly tied, that alone can change
the argmax. What a model does here without any drafter is what rounding can explain, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float

from draftproof.models.protocol import CausalLM
from draftproof.sampling import promoted

LIKELY_TOKENS = 16
"""Logits are compared among so many of the most probable tokens: no other can be the argmax."""


def scored_at_width(
    model: CausalLM, sequence: Sequence[int], width: int
) -> Float[torch.Tensor, " vocabulary"]:
    """The logits after a sequence whose last tokens are scored in one block, and no draft.

    Args:
        model: Reset and left with pending nodes.
        sequence: ``[≥ 1]`` token ids.
        width: Tokens of the block, at least 1; the whole sequence where it is not longer.

    Mutates: model.
    """
    width = min(width, len(sequence))
    model.reset()
    if width < len(sequence):
        model.advance(sequence[: len(sequence) - width])
    block = sequence[len(sequence) - width :]
    return promoted(model.score(block, range(-1, width - 1))[-1])


def target_alone(
    model: CausalLM, sequence: Sequence[int], width: int
) -> Float[torch.Tensor, "ways vocabulary"]:
    """The logits after a sequence in every way that the model alone may come to them.

    In one forward pass over everything; in blocks of width 1 and `width`; and in one of twice that
    width, as other places of the same token in a block need.

    Mutates: model.
    """
    ways = [promoted(model.recompute(sequence, len(sequence) - 1)[-1])]
    ways += [scored_at_width(model, sequence, w) for w in sorted({1, width, 2 * width})]
    return torch.stack(ways)


def scored_as_decoded(
    model: CausalLM, prompt: Sequence[int], output: Sequence[int], widths: Sequence[int]
) -> Float[torch.Tensor, "output vocabulary"]:
    """The logits before each token of an output, fed one by one in blocks as wide as decoding's.

    A cache entry, too, is rounded as in the block that it was computed in, and every later logit
    depends on it. So each token leads a block of the width in which the token after it was
    emitted; the rest of the block is filler, and dropped.

    Args:
        model: Reset and left with what was fed.
        prompt: ``[≥ 1]`` token ids, fed in one block.
        output: ``[n ≥ 1]`` the tokens after it.
        widths: ``[n]`` tokens scored in one block when each token was emitted.

    Mutates: model.
    """
    model.reset()
    rows = [model.advance(prompt)]
    for token, after in zip(output[:-1], widths[1:], strict=True):
        width = min(after, model.max_length - model.length)
        rows.append(model.score([token] * width, range(-1, width - 1))[0])
        model.commit([0])
    return promoted(torch.stack(rows))


def spread(logits: Float[torch.Tensor, "ways vocabulary"]) -> float:
    """The largest difference of one logit among the most probable tokens between two ways.

    Example:
        >>> spread(torch.tensor([[2.0, 1.0], [2.0, 1.25]]))
        0.25
    """
    likely = logits[0].topk(min(LIKELY_TOKENS, logits.shape[-1])).indices
    among = logits[:, likely]
    among = among[:, torch.isfinite(among).all(0)]
    if not among.numel():
        return 0.0
    return float((among.max(0).values - among.min(0).values).max())
