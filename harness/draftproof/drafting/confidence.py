"""How sure a draft model is that its next token will be kept, before that token is drawn.

A chain may end where it is not sure enough. That changes no law: whether a token is drawn at all is
decided by the distributions up to and including its own, which follow from the tokens before it,
and never by the token itself.
"""

from __future__ import annotations

import torch
from jaxtyping import Float

from draftproof.shapes import ChainShape

_SMALLEST = 1e-6


def kept_chance(
    distributions: Float[torch.Tensor, "*rows vocabulary"], keep: tuple[float, float, float]
) -> Float[torch.Tensor, "*rows"]:
    """The estimated chance that the target keeps the next token.

    It is σ(a + b·logit(m) + c·H) for the largest probability m and the entropy H in nats of the
    draft model's distribution.

    Args:
        distributions: Of the draft model: as drawn from, or of the unscaled softmax at temperature
            0.
        keep: a, b and c; (0, 1, 0) takes m itself.
    """
    base, sure, entropy = keep
    largest = distributions.amax(-1).clamp(_SMALLEST, 1 - _SMALLEST)
    score = base + sure * torch.logit(largest)
    if entropy:
        score = score + entropy * torch.special.entr(distributions).sum(-1)
    return torch.sigmoid(score)


def goes_on(
    distributions: Float[torch.Tensor, "*rows vocabulary"],
    shape: ChainShape,
    path_chance: Float[torch.Tensor, "*rows"],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether a chain draws its next token, and the chance that it is kept with all before it.

    Args:
        distributions: That the token would be drawn from, as for `kept_chance`.
        shape: The chain's thresholds.
        path_chance: That all tokens before it are kept.

    Returns:
        Booleans, and the chance; each of the shape of `path_chance`.
    """
    going = torch.ones_like(path_chance, dtype=torch.bool)
    if shape.stop_below:
        going = going & (distributions.amax(-1) >= shape.stop_below)
    if shape.gain_below:
        path_chance = path_chance * kept_chance(distributions, shape.keep)
        going = going & (path_chance >= shape.gain_below)
    return going, path_chance
