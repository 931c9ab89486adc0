"""Are the facts told of nodes those of the models?

Counts can hold together around facts that are wrong: an entropy in bits, a rank from 1, the
probability after another context. The judge reads contexts anew, without a cache, and works the
facts out by themselves, in float64 and by other code than the recorder's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import softmax
from scipy.stats import entropy

from draftproof.config import RunConfig, Sampling
from draftproof.conformance.check_result import Finding, not_available
from draftproof.conformance.subject import GREEDY, Subject
from draftproof.engines.protocol import Capability, Engine
from draftproof.models.checked import tolerance
from draftproof.models.protocol import CausalLM
from draftproof.shapes import LookupShape
from draftproof.trace import Columns
from draftproof.transfer import received
from draftproof.tree import ROOT, path_to

_PROMPTS = 3
_STEPS = 3
_SAMPLED = Sampling(temperature=0.7, top_k=20)
_SMALLEST = 1e-5
"""What a sum over a vocabulary in float32 may be off by, beside what the logits are."""


class Reading(NamedTuple):
    """What a model says after a context.

    Attributes:
        logits: ``[vocabulary]``.
        law: ``[vocabulary]`` the distribution in which facts are stated.
        slack: By how much rounding may move a logit.
        share: By what share of itself it may move a probability.
        is_sure: Whether it cannot change what a filter takes out.
    """

    logits: np.ndarray
    law: np.ndarray
    slack: float
    share: float
    is_sure: bool


def node_facts(subject: Subject) -> Finding:
    """What is told of a node is what the models say of it, reading its context from scratch."""
    tally = subject.tally("drafted nodes")
    for sampling in (GREEDY, _SAMPLED):
        with subject.engine(sampling=sampling) as engine:
            for capability in (Capability.NODES, Capability.STEPS, Capability.PAIR_TARGET):
                if capability not in engine.capabilities:
                    return not_available(capability)
            if sampling is _SAMPLED and Capability.FILTERS not in engine.capabilities:
                continue
            models: dict[str, CausalLM] = {"target": subject.pair.target}
            draft = subject.pair.draft
            drafts_with_it = sampling is GREEDY and _drafts_with_the_pair(engine, subject.config)
            if draft is not None and drafts_with_it:
                models["draft"] = draft
            for prompt in subject.prompts[:_PROMPTS]:
                asked = subject.request(prompt, sampling=sampling)
                answer = engine.speculate(asked)
                if answer.steps is None or answer.nodes is None:
                    return not_available(Capability.NODES)
                sequence = (*asked.prompt_token_ids, *answer.token_ids)
                problems, nodes = [], 0
                for index in _spread(np.flatnonzero(answer.steps["nodes"])):
                    told = _of_step(answer.nodes, answer.steps["step"][index])
                    root = int(answer.steps["root_position"][index])
                    wrong = wrong_facts(told, sequence[: root + 1], models, sampling)
                    problems += [f"step {index}, {problem}" for problem in wrong]
                    nodes += len(told["node"])
                tally.require(
                    not problems, f"{prompt.prompt_id}: {'; '.join(problems[:3])}", places=nodes
                )
    return tally.finding(untried="nothing was drafted")


def _drafts_with_the_pair(engine: Engine, config: RunConfig) -> bool:
    """Whether the pair's draft model decides a draft's facts, at temperature 0.

    Above it a drafter may draw by settings of its own.
    """
    is_lookup = isinstance(config.tree, LookupShape)
    return Capability.PAIR_DRAFT in engine.capabilities and not is_lookup


def _spread(steps: np.ndarray) -> list[int]:
    """A few of some steps, from the first to the last."""
    if not len(steps):
        return []
    places = np.linspace(0, len(steps) - 1, _STEPS).astype(int)
    return sorted(set(steps[places].tolist()))


def _of_step(nodes: Columns, step: int) -> Columns:
    rows = nodes["step"] == step
    return {name: column[rows] for name, column in nodes.items()}


def wrong_facts(
    nodes: Columns, sequence: Sequence[int], models: dict[str, CausalLM], sampling: Sampling
) -> Iterator[str]:
    """What is told of the nodes of a step and the models do not say.

    Args:
        nodes: `NODE_COLUMNS` of the step, each ``[n]``.
        sequence: The tokens up to the root.
        models: The judge's ``target`` and, where the draft's facts are to be judged, ``draft``.
        sampling: What the facts are stated under: at most a temperature and top-k.

    Returns:
        A line for each fact, by node.
    """
    parents, tokens = tuple(nodes["parent"].tolist()), nodes["token_id"].tolist()
    read = {
        role: readings(model, sequence, parents, tokens, sampling) for role, model in models.items()
    }
    for node, (parent, token) in enumerate(zip(parents, tokens, strict=True)):
        told = {name: float(column[node]) for name, column in nodes.items()}
        after = {role: contexts[parent] for role, contexts in read.items()}
        for problem in _of_node(told, token, after):
            yield f"node {node}: {problem}"


def readings(
    model: CausalLM,
    sequence: Sequence[int],
    parents: tuple[int, ...],
    tokens: Sequence[int],
    sampling: Sampling,
) -> dict[int, Reading]:
    """What a model says after each node that has a child, and after the root.

    Args:
        model: Asked for a recompute of each path.
        sequence: As for `wrong_facts`.
        parents: ``[n]`` of the nodes.
        tokens: ``[n]`` of the nodes.
        sampling: As for `wrong_facts`.
    """
    found: dict[int, Reading] = {}
    for end in sorted(set(parents), reverse=True):
        if end not in found:
            path = path_to(parents, end)
            context = [*sequence, *(tokens[node] for node in path)]
            logits = model.recompute(context, len(sequence) - 1)
            share = tolerance(logits.dtype)
            for node, row in zip((ROOT, *path), received(logits), strict=True):
                found[node] = _reading(row, share * float(row[np.isfinite(row)].std()), sampling)
    return found


def _reading(logits: np.ndarray, slack: float, sampling: Sampling) -> Reading:
    kept, is_sure, temperature = logits, True, sampling.temperature or 1.0
    if 0 < sampling.top_k < len(logits):
        edge, below = np.sort(logits)[-sampling.top_k :: -1][:2]
        kept, is_sure = np.where(logits < edge, -np.inf, logits), bool(edge - below > 2 * slack)
    share = math.expm1(2 * slack / temperature)
    return Reading(logits, softmax(kept / temperature), slack, share, is_sure)


def _of_node(told: dict[str, float], token: int, after: dict[str, Reading]) -> Iterator[str]:
    """The facts of a node that are not those of its context."""
    for role, reading in after.items():
        logits, own = reading.logits, reading.logits[token]
        least = int(np.count_nonzero(logits > own + 2 * reading.slack))
        most = int(np.count_nonzero(logits >= own - 2 * reading.slack)) - 1
        rank = told[f"{role}_rank"]
        if not least <= rank <= most:
            says = f"{least}" if least == most else f"{least} to {most}"
            yield f"its {role}_rank is told as {rank:g}, and the model says {says}"
        if reading.is_sure:
            likely, surprise = float(reading.law[token]), float(entropy(reading.law))
            yield from _other(told, f"{role}_probability", likely, likely * reading.share)
            # To first order by 2 · surprise · slack / temperature at most.
            yield from _other(told, f"{role}_entropy", surprise, (1 + surprise) * reading.share)
    if len(after) == 2 and all(reading.is_sure for reading in after.values()):
        p, q = after.values()
        overlap = float(np.minimum(p.law, q.law).sum())
        yield from _other(told, "overlap", overlap, max(p.share, q.share))


def _other(told: dict[str, float], name: str, says: float, slack: float) -> Iterator[str]:
    if not abs(told[name] - says) <= slack + _SMALLEST:
        yield f"its {name} is told as {told[name]:.6g}, and the model says {says:.6g}"
