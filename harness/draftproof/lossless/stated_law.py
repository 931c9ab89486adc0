"""What a speculative output must be, stated the shortest way and sharing no code with decoding.

The other side of every exact check: temperature, filters, penalty, `min_new_tokens` and ends are
written here a second time, from their definitions, so that a fault in the code that decoding and
its reference share shows all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from draftproof.config import Sampling

Context = tuple[int, ...]
Weights = Callable[[Context], Sequence[float]]
"""From the tokens so far to the model's probabilities of the next one."""


def stated_distribution(
    context: Context,
    weights: Sequence[float],
    sampling: Sampling,
    *,
    prompt_length: int,
    stop_token_ids: frozenset[int] = frozenset(),
) -> list[float]:
    """The distribution of the next token after penalty, `min_new_tokens`, temperature and filters.

    Args:
        context: Prompt and output so far.
        weights: ``[vocabulary]`` the model's probabilities.
        sampling: The settings.
        prompt_length: Tokens of the prompt.
        stop_token_ids: Ids that `min_new_tokens` holds back.

    Example:
        >>> [round(p, 2) for p in stated_distribution(
        ...     (0,), [0.5, 0.3, 0.2], Sampling(temperature=1.0, top_k=2), prompt_length=1)]
        [0.62, 0.37, 0.0]
    """
    size = len(weights)
    logits = [math.log(weight) if weight > 0 else -math.inf for weight in weights]
    for token in set(context):
        factor = sampling.repetition_penalty
        logits[token] *= factor if logits[token] < 0 else 1 / factor
    if len(context) - prompt_length < sampling.min_new_tokens:
        for token in stop_token_ids & set(range(size)):
            logits[token] = -math.inf
    if sampling.temperature == 0:
        best = max(range(size), key=lambda token: (logits[token], -token))
        return [float(token == best) for token in range(size)]
    # Logarithms of large ratios are kept apart from one another by taking the largest out.
    most = max(logits)
    p = [math.exp((logit - most) / sampling.temperature) for logit in logits]
    if sampling.top_k:
        least = sorted(p, reverse=True)[min(sampling.top_k, size) - 1]
        p = [weight if weight >= least else 0.0 for weight in p]
    if sampling.top_p < 1:
        p = _nucleus(p, sampling.top_p)
    if sampling.min_p:
        p = [weight if weight >= sampling.min_p * max(p) else 0.0 for weight in p]
    total = math.fsum(p)
    return [weight / total for weight in p]


def _nucleus(p: Sequence[float], top_p: float) -> list[float]:
    """The most probable tokens that together reach `top_p`."""
    total, reached, kept = math.fsum(p), 0.0, set()
    for token in sorted(range(len(p)), key=lambda token: -p[token]):
        if reached >= top_p * total:
            break
        kept.add(token)
        reached += p[token]
    return [weight if token in kept else 0.0 for token, weight in enumerate(p)]


def ends(
    output: Context,
    *,
    max_new_tokens: int,
    stop_token_ids: frozenset[int] = frozenset(),
    stop_strings: tuple[str, ...] = (),
    decode: Callable[[Context], str] | None = None,
) -> str | None:
    """Why an output that goes on up to its last token ends there, or None where it goes on."""
    if output[-1] in stop_token_ids:
        return "stop_token"
    if decode is not None and any(text in decode(output) for text in stop_strings):
        return "stop_string"
    return "length" if len(output) >= max_new_tokens else None


def stated_law(
    prompt: Context,
    model: Weights,
    sampling: Sampling,
    *,
    max_new_tokens: int,
    stop_token_ids: frozenset[int] = frozenset(),
    stop_strings: tuple[str, ...] = (),
    decode: Callable[[Context], str] | None = None,
) -> dict[tuple[Context, str], float]:
    """The probability of every output with the reason of its end, token by token.

    Args:
        prompt: ``[≥ 1]`` token ids.
        model: The target.
        sampling: The settings.
        max_new_tokens: Length limit of an output.
        stop_token_ids: End an output.
        stop_strings: End an output with the token that completes one.
        decode: From tokens to text; needed for stop strings.
    """
    ended: dict[tuple[Context, str], float] = {}
    going: list[tuple[Context, float]] = [((), 1.0)]
    while going:
        output, probability = going.pop()
        context = (*prompt, *output)
        law = stated_distribution(
            context,
            model(context),
            sampling,
            prompt_length=len(prompt),
            stop_token_ids=stop_token_ids,
        )
        for token, share in enumerate(law):
            if not share:
                continue
            grown = (*output, token)
            reason = ends(
                grown,
                max_new_tokens=max_new_tokens,
                stop_token_ids=stop_token_ids,
                stop_strings=stop_strings,
                decode=decode,
            )
            if reason is None:
                going.append((grown, probability * share))
            else:
                ended[grown, reason] = probability * share
    return ended
