"""Evidence on a sampled output: its tokens, and the laws of both models at each of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from draftproof.config import Sampling
from draftproof.engines.protocol import Generation, Request
from draftproof.engines.sites import Place, declared_rule, places
from draftproof.lossless.certificate import TIE_TOLERANCE, target_dtype
from draftproof.lossless.evidence import DeclaredRule, Evidence, EvidenceMeter, Observation, Site
from draftproof.lossless.evidence.filter_edge import filter_edge
from draftproof.lossless.evidence.observation import FilterEdge
from draftproof.lossless.evidence.position import TOLERANCE
from draftproof.models.protocol import CausalLM
from draftproof.sampling import Contexts, TokenLaw, measured_distributions
from draftproof.transfer import received

Law = Float[np.ndarray, " vocabulary"]

_SPREADS_IN_TOLERANCE = 4
"""`TIE_TOLERANCE` is this many times the largest spread between block widths that was measured."""


_SMALLEST = 1e-6
"""Differences of probabilities below this are put down to how they are stored."""


class Laws(NamedTuple):
    """A model's laws at one position: of the run, without its filters, and with nothing applied.

    And what rounding may change about which tokens pass the filters.
    """

    sampled: Law
    unfiltered: Law | None
    raw: Law | None
    edge: FilterEdge | None


def evidence_of(
    generation: Generation,
    request: Request,
    target: CausalLM,
    draft: CausalLM | None,
    *,
    rule: str = "",
    engine_rounding: float = 0.0,
) -> Evidence:
    """What the tokens of a sampled output say for or against the target's law.

    Both models score the whole output from scratch, in one forward pass each.

    Args:
        generation: An engine's answer.
        request: What it answers.
        target: The judge's.
        draft: The model whose law drafted tokens are said to be drawn from; None where no model of
            the judge's has part in drafts.
        rule: The acceptance rule that the engine names; empty for plain decoding.
        engine_rounding: By how much the difference of two logits of the engine's may leave the
            judge's: that of two logits, each of which may be off by half of it.

    Where the engine tells another draft probability of a kept token than the judge's draft model
    has (it drafts at a temperature or with a filter of its own), how often tokens are kept does not
    follow from what the judge knows: tokens alone are judged.
    """
    sequence = [*request.prompt_token_ids, *generation.token_ids]
    target_logits = _logits(target, sequence, request)
    draft_logits = None if draft is None else _logits(draft, sequence, request)
    judges = [model for model in (target, draft) if model is not None]
    spread = engine_rounding / 2 / (request.sampling.temperature or 1.0)
    tolerance = max(law_tolerance(judges, request.sampling), spread)
    laws_of = partial(_laws, sequence=sequence, request=request, tolerance=tolerance)
    declared = declared_rule(rule)
    if declared is DeclaredRule.REJECTION and (
        draft_logits is None
        or not _drafts_as_judged(generation, request, laws_of(draft_logits), tolerance)
    ):
        declared = DeclaredRule.OTHER
    meter = EvidenceMeter(declared, tolerance=tolerance)
    previous: Law | None = None
    coin = 1.0
    rows = zip(
        generation.token_ids,
        places(generation, rule),
        laws_of(target_logits),
        repeat(None, len(generation.token_ids)) if draft_logits is None else laws_of(draft_logits),
        strict=True,
    )
    for token, place, p, q in rows:
        if place.begins_step:
            coin = 1.0
        observation = _observation(token, place, p, q, previous, coin)
        meter.observe(observation)
        coin = _coin_after(coin, observation)
        previous = p.sampled
    return meter.evidence


def law_tolerance(models: Iterable[CausalLM], sampling: Sampling) -> float:
    """By how much rounding may change a log-probability, in nats.

    The spread of the logits of the coarsest model's type, divided by the temperature as they are.
    """
    ties = [TIE_TOLERANCE.get(target_dtype(model), TOLERANCE) for model in models]
    return max(TOLERANCE, max(ties) / _SPREADS_IN_TOLERANCE / (sampling.temperature or 1.0))


def _observation(
    token: int, place: Place, p: Laws, q: Laws | None, previous: Law | None, coin: float
) -> Observation:
    return Observation(
        target=p.sampled,
        token=token,
        site=place.site,
        draft=None if q is None else _padded(q.sampled, len(p.sampled)),
        proposals=place.proposals or None,
        unfiltered_target=p.unfiltered,
        raw_target=p.raw,
        raw_draft=None if q is None or q.raw is None else _padded(q.raw, len(p.sampled)),
        target_edge=p.edge,
        draft_edge=None if q is None else _padded_edge(q.edge, len(p.sampled)),
        previous_target=previous,
        coin=coin,
    )


def _drafts_as_judged(
    generation: Generation, request: Request, laws: Iterable[Laws], tolerance: float
) -> bool:
    """Whether an engine tells the judge's own probability of every drafted token it looked at.

    Args:
        generation: The engine's answer.
        request: What it answers.
        laws: The judge's draft model's, before each token of the output.
        tolerance: By how much rounding may change a log-probability.
    """
    if generation.nodes is None or request.sampling.greedy:
        return True
    nodes, first = generation.nodes, len(request.prompt_token_ids)
    told = defaultdict(list)
    for row in np.flatnonzero(nodes["reached"] & ~np.isnan(nodes["draft_probability"])):
        token, q = int(nodes["token_id"][row]), float(nodes["draft_probability"][row])
        told[int(nodes["position"][row])].append((token, q))
    for position, law in enumerate(laws, first):
        least, most = (1.0, 1.0) if law.edge is None else (law.edge.least, law.edge.most)
        up = math.exp(2 * tolerance)
        for token, q in told.get(position, ()):
            if law.edge is not None and law.edge.contested[token]:
                continue
            own = float(law.sampled[token])
            if not own / most / up - _SMALLEST <= q <= own / least * up + _SMALLEST:
                return False
    return True


def _coin_after(coin: float, observation: Observation) -> float:
    """What a coin that is tossed once a step must lie below, when this token was kept."""
    if observation.site is not Site.ACCEPTED or observation.draft is None:
        return coin
    p, q = observation.target[observation.token], observation.draft[observation.token]
    return min(coin, float(p / q)) if 0 < p < q else coin


def _logits(model: CausalLM, sequence: Sequence[int], request: Request) -> torch.Tensor:
    """``[output, vocabulary]`` a model's logits before each token of the output."""
    return model.recompute(sequence, len(request.prompt_token_ids) - 1)[:-1]


def _laws(
    logits: torch.Tensor, sequence: Sequence[int], request: Request, tolerance: float
) -> Iterator[Laws]:
    """A model's laws before each token of the output, one at a time: vocabularies are large."""
    first = len(request.prompt_token_ids)
    sampling, stops = request.sampling, request.stopping.stop_token_ids
    law = TokenLaw(sampling, first, stops)
    has_filters = bool(sampling.top_k) or sampling.top_p < 1 or sampling.min_p > 0
    unfiltered = TokenLaw(replace(sampling, top_k=0, top_p=1.0, min_p=0.0), first, stops)
    is_plain = sampling == Sampling(temperature=1.0)
    for index in range(len(logits)):
        row, context = logits[index : index + 1], sequence[: first + index]
        before: Contexts = partial(list, [context])
        whole = _array(unfiltered.distributions(row, before)) if has_filters else None
        sampled = _array(law.distributions(row, before))
        yield Laws(
            sampled,
            whole,
            None if is_plain else _array(measured_distributions(row)),
            None if whole is None else filter_edge(whole, sampled > 0, sampling, tolerance),
        )


def _array(rows: torch.Tensor) -> Law:
    return received(rows[0])


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """What a draft model says over the target's ids: those that it lacks have probability 0."""
    return values if len(values) == size else np.pad(values, (0, size - len(values)))


def _padded_edge(edge: FilterEdge | None, size: int) -> FilterEdge | None:
    return None if edge is None else replace(edge, contested=_padded(edge.contested, size))
