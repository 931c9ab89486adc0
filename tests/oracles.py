"""Brute-force references without harness's own arithmetic: plain Python floats and loops."""

import itertools
import math


def next_token_law(target, context, sampling, generated, stop):
    """The law of the next token, settings applied one after another to Python lists."""
    logits = [float(x) for x in target.recompute(context)[-1]]
    if sampling.repetition_penalty != 1:
        for token in set(context):
            factor = sampling.repetition_penalty
            logits[token] = logits[token] * factor if logits[token] < 0 else logits[token] / factor
    if generated < sampling.min_new_tokens and stop < len(logits):
        logits[stop] = -math.inf
    if sampling.temperature == 0:
        best = max(range(len(logits)), key=lambda token: (logits[token], -token))
        return [float(token == best) for token in range(len(logits))]
    logits = [x / sampling.temperature for x in logits]
    kept = set(range(len(logits)))
    if sampling.top_k:
        threshold = sorted(logits, reverse=True)[min(sampling.top_k, len(logits)) - 1]
        kept = {token for token in kept if logits[token] >= threshold}
    if sampling.top_p < 1:
        law = softmax(logits, kept)
        ascending = sorted(range(len(logits)), key=lambda token: law[token])
        below = 0.0
        for token in ascending[:-1]:
            below += law[token]
            if below <= 1 - sampling.top_p:
                kept.discard(token)
    if sampling.min_p:
        law = softmax(logits, kept)
        kept = {token for token in kept if law[token] >= sampling.min_p * max(law)}
    return softmax(logits, kept)


def softmax(logits, kept):
    """Probabilities of the kept tokens, 0 for the others."""
    top = max(logits[token] for token in kept)
    weights = [math.exp(x - top) if i in kept else 0.0 for i, x in enumerate(logits)]
    return [weight / sum(weights) for weight in weights]


def chain_rule_law(prompt, target, sampling, length, stop):
    """The law of outputs of plain decoding: products along every sequence, up to a stop token."""
    result = {}
    for tokens in itertools.product(range(target.vocabulary_size), repeat=length):
        ends = tokens.index(stop) + 1 if stop in tokens else length
        output = tokens[:ends]
        if output in result:
            continue
        probability = 1.0
        for index, token in enumerate(output):
            context = (*prompt, *output[:index])
            probability *= next_token_law(target, context, sampling, index, stop)[token]
        if probability > 0:
            result[output] = probability
    return result
