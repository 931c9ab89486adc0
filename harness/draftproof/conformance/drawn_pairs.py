"""Outputs of an engine in pairs, drawn in two ways: what is asked for need not be known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice

import numpy as np
import torch
from jaxtyping import Float

from draftproof.conformance.subject import Subject
from draftproof.engines.protocol import Generation, Request
from draftproof.lossless.two_ways import Difference, Drawn, difference
from draftproof.transfer import received

LOOKS = (32, 96)
"""Pairs after which two ways are compared; the probability of a false alarm is shared out."""
_TOKENS = 24
"""Length of the outputs, at most."""
_CUT = 3
"""Tokens of a prompt that is cut."""
_WAYS = 1_000_003
"""What the seeds of two ways differ by: no output may have the draws of another."""

_SMALLEST = -1e4
"""In nats: a smaller log-probability is of a token that cannot be drawn."""

Ask = Callable[[Sequence[Request]], Iterable[Generation]]
"""From requests to their answers, in the same order."""


class Way:
    """One way of decoding, whose outputs are drawn when they are needed, and only once.

    Args:
        subject: Its judge says how surprising tokens are, without what the judge does not know.
        number: Another for every way, so that none has the draws of another.
        ask: Asks the engine in this way.
        extras: As in `Request.extras`.
        is_cut: Whether prompts are cut to their last tokens. Left without a context, a model
            repeats itself and is sure of little, so that penalties and biases change more.
    """

    def __init__(
        self, subject: Subject, number: int, ask: Ask, extras: str | None, *, is_cut: bool = False
    ) -> None:
        self._subject = subject
        self._ask = ask
        self._requests = _requests(subject, number, extras, is_cut=is_cut)
        self._drawn: list[Drawn] = []

    def outputs(self, pairs: int) -> list[Drawn]:
        """The first outputs; the n-th of every way is the answer to the same prompt.

        Raises:
            DraftproofError: The engine refuses the request.
        """
        wanted = list(islice(self._requests, max(0, pairs - len(self._drawn))))
        for asked, answer in zip(wanted, self._ask(wanted), strict=True):
            self._drawn.append(_drawn(self._subject, asked, answer))
        return self._drawn[:pairs]


def told_apart(one: Way, other: Way, alpha: float, looks: Sequence[int] = LOOKS) -> Difference:
    """The difference of two ways, at the first look that tells them apart, or at the last.

    Args:
        one: A way.
        other: Another.
        alpha: The most probable that two ways of one law are told apart.
        looks: Pairs after which they are compared.
    """
    found = Difference(1.0)
    for pairs in looks:
        found = difference(one.outputs(pairs), other.outputs(pairs))
        found = found._replace(p_value=min(1.0, found.p_value * len(looks)))
        if found.p_value <= alpha:
            break
    return found


def _requests(
    subject: Subject, number: int, extras: str | None, *, is_cut: bool
) -> Iterable[Request]:
    for again in count():
        for prompt in subject.prompts:
            asked = subject.request(
                prompt,
                sampling=subject.sampled,
                max_new_tokens=min(_TOKENS, subject.config.max_new_tokens),
                seed=subject.config.seed + number * _WAYS + again,
                extras=extras,
            )
            if is_cut:
                asked = replace(asked, prompt_token_ids=asked.prompt_token_ids[-_CUT:])
            yield asked


def _drawn(subject: Subject, asked: Request, answer: Generation) -> Drawn:
    """An output beside what the judge's target expects at each of its places."""
    prompt, output = asked.prompt_token_ids, answer.token_ids
    logits = subject.pair.target.recompute([*prompt, *output], len(prompt) - 1)[:-1]
    laws = received(torch.log_softmax(logits.float() / asked.sampling.temperature, -1))
    chances = np.exp(laws)
    surprise = sum(-laws[index, token] for index, token in enumerate(output))
    beyond = {
        "nats of surprise": float(surprise + (chances * np.maximum(laws, _SMALLEST)).sum()),
        "tokens of the prompt": _more(output, chances, [Counter(set(prompt))] * len(output)),
    }
    before = [Counter(output[:index]) for index in range(len(output))]
    once = [Counter(set(counts)) for counts in before]
    beyond["tokens that it has already"] = _more(output, chances, once)
    beyond["earlier places of the same token"] = _more(output, chances, before)
    return Drawn(output, answer.stop_reason, beyond, chances.sum(0))


def _more(
    output: Sequence[int],
    chances: Float[np.ndarray, "tokens vocabulary"],
    weights: Sequence[Mapping[int, int]],
) -> float:
    """The weights of the tokens of an output, less what is expected at each place."""
    total = 0.0
    for token, row, weight in zip(output, chances, weights, strict=True):
        known = list(weight)
        total += weight.get(token, 0) - float(
            row[known] @ np.array([weight[k] for k in known], dtype=np.float64)
        )
    return total
