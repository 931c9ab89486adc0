"""Above temperature 0: are tokens drawn independently of one another and of other requests?

A number that is used twice leaves every single token's law right. What it makes alike is seen
across tokens: where numbers decide tokens by cumulative sums, each token says in which interval its
number was, and another token of the same number is known to lie there, too. A second sign is the
same token at both places, for engines that draw in another way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from draftproof.config import Sampling
from draftproof.conformance.check_result import Finding, Status, not_available
from draftproof.conformance.single_checks import conditions_met
from draftproof.conformance.subject import Subject
from draftproof.engines.protocol import Capability, Engine, Request
from draftproof.sampling import TokenLaw
from draftproof.transfer import received

_PROMPTS = 6
_LAGS = (1, 2, 3, 4)
_SHARES = (0.05, 0.2, 0.5, 0.9)
"""Of the places at which a number is used again."""
_HOT = 1.5
"""Temperature, at least: a token that is nearly certain says little of the number behind it."""
_SURE = 0.95
OTHER_SEED, OTHER_PROMPT = "the same place, with another seed", "the same place, of another prompt"
RELATIONS = (*(f"{lag} tokens later" for lag in _LAGS), OTHER_SEED, OTHER_PROMPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A sampled output, as its draws are looked at.

    Attributes:
        tokens: ``[n]``.
        laws: ``[n, vocabulary]`` what each was drawn from.
        low: ``[n]`` the total of the probabilities before each token.
        high: ``[n]`` the same with its own: a number between them decides it.
    """

    tokens: tuple[int, ...]
    laws: Float[np.ndarray, "n vocabulary"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]

    @property
    def is_open(self) -> np.ndarray:
        """``[n]`` whether there was a choice."""
        return np.asarray(self.laws.max(-1, initial=0.0) < _SURE)


Pairs = Iterable[tuple[Drawn, int, Drawn, int]]
"""An earlier token and a later one, each by its output and index."""


def independent_tokens(subject: Subject) -> Finding:
    """Tokens are drawn independently of one another, of other requests and of other seeds."""
    if Capability.SAMPLING not in subject.capabilities:
        return not_available(Capability.SAMPLING)
    alpha = subject.config.law_alpha or 1e-4
    sampling = Sampling(temperature=max(_HOT, subject.sampled.temperature))
    with subject.engine(sampling=sampling) as engine:
        found = _examined(subject, engine, sampling)
        places = sum(found.met.values())
        if not places:
            return Finding(
                status=Status.NOT_TRIED,
                lines=("every token was nearly certain; give other prompts",),
            )
        lines = list(conditions_met(found.met, RELATIONS))
        status = Status.PASSED
        if found.evidence >= 1 / alpha:
            status = Status.FAILED
            lines.insert(
                0,
                "draws depend on one another: a token and the one at "
                f"{found.worst} are more alike than independent draws are, with evidence of "
                f"{found.evidence:.3g} to 1 (a lossless engine comes to {1 / alpha:,.0f} with a "
                f"probability of at most {alpha:g}): numbers are used again, or streams are shared",
            )
            is_judges = Capability.PAIR_TARGET in engine.capabilities
            if not is_judges and Capability.PLAIN in engine.capabilities:
                control = _examined(subject, engine, sampling, plainly=True)
                if control.evidence >= 1 / alpha:
                    status = Status.NOT_AVAILABLE
                    lines.insert(0, "plain decoding's tokens are as much alike")
    return Finding(
        status=status,
        n=found.outputs,
        places=places,
        place="pairs of tokens that both had a choice",
        lines=tuple(lines),
        facts={"evidence": found.evidence, **found.met},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What outputs say against independent draws.

    Attributes:
        evidence: Against independence: its mean is 1 under it.
        worst: The relation that says most.
        met: By relation, pairs of tokens that both had a choice.
        outputs: How many were looked at.
    """

    evidence: float
    worst: str
    met: dict[str, int]
    outputs: int


def _examined(
    subject: Subject, engine: Engine, sampling: Sampling, *, plainly: bool = False
) -> _Evidence:
    ask = engine.plain if plainly else engine.speculate
    outputs: list[list[Drawn]] = []
    for prompt in subject.prompts[:_PROMPTS]:
        asked = subject.request(prompt, sampling=sampling)
        seeds = [asked.seed]
        if Capability.SEEDS in engine.capabilities:
            seeds.append(asked.seed + 1)
        answers = []
        for seed in seeds:
            request = replace(asked, seed=seed)
            answers.append(drawn(subject, request, ask(request).token_ids))
        outputs.append(answers)
    return evidence_against(outputs)


def drawn(subject: Subject, request: Request, tokens: Sequence[int]) -> Drawn:
    """An output with the laws that the judge's target gives its tokens.

    Args:
        subject: Whose target is asked.
        request: What the output answers.
        tokens: The output.
    """
    prompt = request.prompt_token_ids
    law = TokenLaw(request.sampling, len(prompt), request.stopping.stop_token_ids)
    logits = subject.pair.target.recompute([*prompt, *tokens], len(prompt) - 1)[:-1]
    laws = received(
        law.distributions(
            logits, lambda: [[*prompt, *tokens[:index]] for index in range(len(tokens))]
        )
    )
    return from_laws(tuple(tokens), laws)


def from_laws(tokens: tuple[int, ...], laws: Float[np.ndarray, "n vocabulary"]) -> Drawn:
    """An output, given its laws; see `drawn`."""
    rows = np.arange(len(tokens))
    high = np.cumsum(laws, -1)[rows, list(tokens)]
    return Drawn(tokens=tokens, laws=laws, low=high - laws[rows, list(tokens)], high=high)


def evidence_against(outputs: Sequence[Sequence[Drawn]]) -> _Evidence:
    """What outputs say against independent draws: a number whose mean is 1 where they are.

    For each relation between two tokens, and each share ε of the places, the product over pairs of
    (1 − ε) + ε r. Here r is how much likelier the later token is where its number is the earlier
    one's, which lies in that one's interval, than where it is not; or where it is 1 minus that
    number; or where the same token is forced. Its mean is 1 given the earlier token. Each later
    token is in one pair of a relation, so that the product has mean 1, and so has the average of
    them all. By Markov's inequality it comes to 1 ÷ α with a probability of at most α.

    Args:
        outputs: By prompt, the outputs of one seed after another.
    """
    logs: dict[str, list[float]] = {}
    met: Counter[str] = Counter()
    for relation, pairs in _related(outputs):
        met[relation] += sum(bool(a.is_open[i] and b.is_open[j]) for a, i, b, j in pairs)
        ratios = np.array([_ratios(*pair) for pair in pairs]).reshape(-1, 3)
        found = [
            float(np.log1p(share * (ratios - 1)).sum(0)[way])
            for share in _SHARES
            for way in range(3)
        ]
        logs[relation] = found
    every = np.array(list(logs.values()))
    evidence = float(np.exp(np.minimum(every, 700.0)).mean()) if every.size else 0.0
    worst = max(logs, key=lambda relation: max(logs[relation]), default="")
    return _Evidence(
        evidence=evidence,
        worst=worst,
        met={relation: met[relation] for relation in RELATIONS},
        outputs=sum(len(answers) for answers in outputs),
    )


def _related(
    outputs: Sequence[Sequence[Drawn]],
) -> Iterator[tuple[str, list[tuple[Drawn, int, Drawn, int]]]]:
    every = [output for answers in outputs for output in answers]
    for relation, lag in zip(RELATIONS, _LAGS, strict=False):
        yield (
            relation,
            [
                (output, index, output, index + lag)
                for output in every
                for index in range(len(output.tokens) - lag)
            ],
        )
    seeds = [pair for answers in outputs for pair in pairwise(answers)]
    prompts = list(pairwise([answers[0] for answers in outputs if answers]))
    for relation, chosen in ((OTHER_SEED, seeds), (OTHER_PROMPT, prompts)):
        yield (
            relation,
            [
                (first, index, second, index)
                for first, second in chosen
                for index in range(min(len(first.tokens), len(second.tokens)))
            ],
        )


def _ratios(first: Drawn, i: int, second: Drawn, j: int) -> tuple[float, float, float]:
    """How much likelier a later token is with the same number, with 1 minus it, and as the same."""
    low, high, token = float(first.low[i]), float(first.high[i]), first.tokens[i]
    own = float(second.laws[j, token])
    same = 1.0
    if own > 0:
        same = float(second.tokens[j] == token) / own
    return (
        _overlap(low, high, float(second.low[j]), float(second.high[j])),
        _overlap(1 - high, 1 - low, float(second.low[j]), float(second.high[j])),
        same,
    )


def _overlap(low: float, high: float, other_low: float, other_high: float) -> float:
    """The share that two intervals have in common over the one that chance would give them."""
    size = (high - low) * (other_high - other_low)
    if size <= 0:
        return 1.0
    return max(0.0, min(high, other_high) - max(low, other_low)) / size
