"""Records a trajectory: one teacher-forced pass a model, over many positions at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from draftproof.config import Sampling
from draftproof.drafting.static_tree import ranked_tokens
from draftproof.errors import UsageError
from draftproof.models.protocol import CausalLM
from draftproof.randomness import Purpose, Randomness
from draftproof.recording import choice_facts
from draftproof.replay.recorded import (
    CHAIN_COLUMNS,
    DRAFT_COLUMNS,
    TARGET_COLUMNS,
    TOP_COLUMNS,
    UNKNOWN_RANK,
    RecordedCase,
    RecordedDraft,
)
from draftproof.sampling import TokenLaw, measured_distributions, promoted

BLOCK = 64
"""Positions that are scored in one forward pass; logits of more than that are large."""

_LARGEST_RANK = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """A text along which models are recorded.

    Attributes:
        token_ids: Tokens after the prompt, overrun included.
        committed: How many of them are the output.
        stop_reason: Why the output ended.
    """

    token_ids: tuple[int, ...]
    committed: int
    stop_reason: str


def require_recordable(sampling: Sampling) -> None:
    """Refuse settings under which a recording does not decide what trees keep.

    Raises:
        UsageError: A penalty or a minimal length changes the laws by what an output already holds;
            drafters of different kinds apply that differently.
    """
    if sampling.repetition_penalty != 1 or sampling.min_new_tokens:
        raise UsageError(
            "a recording is made without --spec-repetition-penalty and --spec-min-new-tokens: they "
            "make what is accepted depend on more than the position; leave them out"
        )


def extended(
    prompt: Sequence[int],
    output: Sequence[int],
    target: CausalLM,
    *,
    sampling: Sampling,
    randomness: Randomness,
    overrun: int,
) -> tuple[int, ...]:
    """An output with what the target would have said after it.

    Mutates: the target, which is reset and advanced.
    """
    require_recordable(sampling)
    tokens, unseen = list(output), [*prompt, *output]
    room = min(overrun, target.max_length - len(unseen))
    law = TokenLaw(sampling, len(prompt))
    target.reset()
    for _ in range(room):
        probabilities = law.distributions(target.advance(unseen)[None], list)[0]
        unseen = [randomness.categorical(probabilities, Purpose.PLAIN)]
        tokens += unseen
    return tuple(tokens)


def record_case(
    case_id: str,
    domain: str,
    prompt: Sequence[int],
    trajectory: Trajectory,
    target: CausalLM,
    drafts: Mapping[str, CausalLM],
    *,
    sampling: Sampling,
    k: int,
    rollout: int = 0,
) -> RecordedCase:
    """What the models say along a trajectory.

    Args:
        case_id: The prompt's stable id.
        domain: Its domain.
        prompt: ``[≥ 1]`` token ids.
        trajectory: The text after it.
        target: Reset and advanced.
        drafts: The draft models by name, likewise.
        sampling: Temperature and filters, of both models' laws.
        k: Tokens to keep of each position, at most the vocabulary.
        rollout: Tokens of each draft model's own greedy chain to look at from every position; none
            above temperature 0, where its chains are drawn.

    Raises:
        UsageError: The settings are none that a recording can be made with.
    """
    require_recordable(sampling)
    tokens = trajectory.token_ids
    law = TokenLaw(sampling, len(prompt))
    seen = torch.cat(list(forced_logits(target, prompt, tokens)))
    p = _measured(seen, law)
    of_target = choice_facts(seen, p, range(len(tokens)), tokens)
    return RecordedCase(
        case_id=case_id,
        domain=domain,
        prompt_token_ids=np.array(prompt, "<i4"),
        token_ids=np.array(tokens, "<i4"),
        committed=trajectory.committed,
        stop_reason=trajectory.stop_reason,
        target={
            "log_probability": _log(of_target.probability).astype(
                TARGET_COLUMNS["log_probability"]
            ),
            "entropy": of_target.entropy.astype(TARGET_COLUMNS["entropy"]),
        },
        drafts={
            name: _recorded_draft(
                model, prompt, tokens, seen, p, law, k, rollout if sampling.greedy else 0
            )
            for name, model in drafts.items()
        },
    )


def forced_logits(
    model: CausalLM, prompt: Sequence[int], tokens: Sequence[int], block: int = BLOCK
) -> Iterator[Float[torch.Tensor, "rows vocabulary"]]:
    """The logits that predict each token of a text, block by block.

    While a block's logits are looked at, its tokens are pending: pending node i is the one after
    which row i was predicted, so that more nodes may be scored below it. (The first block is a
    single row, after the prompt, with nothing pending.)

    Args:
        model: Reset, and advanced by the prompt and by all tokens but the last.
        prompt: ``[≥ 1]`` token ids.
        tokens: ``[≥ 1]`` what came after it.
        block: Positions scored in one forward pass.

    Yields:
        ``[tokens, vocabulary]`` in all; fewer rows where the model's context ends before them.
    """
    model.reset()
    if len(prompt) > model.max_length:
        return
    yield model.advance(prompt)[None]
    scored = tokens[: min(len(tokens) - 1, model.max_length - len(prompt))]
    for start in range(0, len(scored), block):
        part = scored[start : start + block]
        yield model.score(part, range(-1, len(part) - 1))
        model.commit(range(len(part)))


def own_chains(
    model: CausalLM, logits: Float[torch.Tensor, "rows vocabulary"], depth: int
) -> Float[torch.Tensor, "rows depth 2"]:
    """How sure a model is along its own greedy chain from each of some pending positions.

    Args:
        model: With pending nodes, of which node i is the one that row i follows. Mutated: has more.
        logits: After each of them.
        depth: Tokens of the chains.

    Returns:
        The largest probability and the entropy at each depth; NaN beyond the model's context.
    """
    rows = len(logits)
    found = torch.full((rows, depth, 2), torch.nan, dtype=torch.float64)
    above = list(range(rows))
    pending = rows
    for level in range(depth):
        q = measured_distributions(logits)
        found[: len(q), level, 0] = q.amax(-1).cpu()
        found[: len(q), level, 1] = torch.special.entr(q).sum(-1).cpu()
        # A chain from the row i of a block reaches i + 1 + level tokens beyond what is committed.
        fitting = max(0, min(len(q), model.max_length - model.length - level - 1))
        if level + 1 == depth or not fitting:
            break
        best = ranked_tokens(promoted(logits[:fitting]), 1)[:, 0].tolist()
        logits = model.score(best, above[:fitting])
        above = list(range(pending, pending + fitting))
        pending += fitting
    return found


def _recorded_draft(
    model: CausalLM,
    prompt: Sequence[int],
    tokens: Sequence[int],
    target_logits: torch.Tensor,
    p: torch.Tensor,
    law: TokenLaw,
    k: int,
    rollout: int,
) -> RecordedDraft:
    """How a draft model saw each token; where its context has no room, it proposes nothing."""
    k = min(k, model.vocabulary_size)
    n = len(tokens)
    columns = {
        name: np.full(n, np.nan, kind) for name, kind in DRAFT_COLUMNS.items() if "f" in kind
    }
    columns["rank"] = np.full(n, UNKNOWN_RANK, DRAFT_COLUMNS["rank"])
    top = {
        "top_token_id": np.full((n, k), -1, TOP_COLUMNS["top_token_id"]),
        "top_log_probability": np.full((n, k), np.nan, "<f4"),
        "top_target_log_probability": np.full((n, k), np.nan, "<f4"),
        "top_target_rank": np.full((n, k), _LARGEST_RANK, TOP_COLUMNS["top_target_rank"]),
    }
    chain = np.full((n, rollout, 2), np.nan)
    blocks: list[torch.Tensor] = []
    for logits in forced_logits(model, prompt, tokens):
        # No step drafts the first token: the target decides it alone.
        if blocks and rollout:
            first = sum(map(len, blocks))
            chain[first : first + len(logits)] = own_chains(model, logits, rollout).numpy()
        blocks.append(logits)
    if blocks:
        logits = torch.cat(blocks)
        rows = range(len(logits))
        q = _measured(logits, law)
        chosen = choice_facts(logits, q, rows, tokens[: len(logits)])
        proposed = ranked_tokens(promoted(logits), k)
        by_target = proposed.to(p.device)
        filled = slice(0, len(logits))
        columns["rank"][filled] = sibling_ranks_of(proposed, tokens[: len(logits)], chosen.rank)
        columns["margin"][filled] = _margins(promoted(logits), tokens[: len(logits)])
        columns["log_probability"][filled] = _log(chosen.probability)
        columns["entropy"][filled] = chosen.entropy
        overlap = torch.minimum(p[: len(logits)], q.to(p.device)).sum(-1)
        columns["overlap"][filled] = overlap.cpu().numpy()
        top["top_token_id"][filled] = proposed.cpu().numpy()
        top["top_log_probability"][filled] = _log(q.gather(-1, proposed).cpu().numpy())
        top["top_target_log_probability"][filled] = _log(
            p[: len(logits)].gather(-1, by_target).cpu().numpy()
        )
        ranks = ranks_of(promoted(target_logits[: len(logits)]), by_target)
        top["top_target_rank"][filled] = np.minimum(ranks, _LARGEST_RANK)
    own = {name: chain[:, :, i].astype("<f4") for i, name in enumerate(CHAIN_COLUMNS)}
    return RecordedDraft(columns=columns, top=top, chain=own)


def sibling_ranks_of(
    proposed: torch.Tensor, tokens: Sequence[int], ranks: np.ndarray
) -> np.ndarray:
    """The rank at which trees propose each token.

    Args:
        proposed: ``[n, k]`` the draft model's most probable tokens, in the order of proposal.
        tokens: ``[n]``.
        ranks: ``[n]`` each token's rank among all logits, for tokens that are not proposed.

    Returns:
        ``[n]`` its place in `proposed`; else its rank, which is then at least k.
    """
    order = proposed.cpu().numpy()
    is_it = order == np.array(tokens)[:, None]
    outside = np.maximum(ranks, order.shape[1])
    found = np.where(is_it.any(1), is_it.argmax(1), outside)
    return np.asarray(found.astype(DRAFT_COLUMNS["rank"]))


def ranks_of(logits: Float[torch.Tensor, "rows vocabulary"], tokens: torch.Tensor) -> np.ndarray:
    """How many tokens come before each token: larger logits, and equal ones of smaller id.

    Args:
        logits: A row a position.
        tokens: ``[rows, k]`` ids.

    Returns:
        ``[rows, k]``.
    """
    ids = torch.arange(logits.shape[-1], device=logits.device)
    found = []
    for column in tokens.T:
        own = logits.gather(-1, column[:, None])
        before = (logits > own) | ((logits == own) & (ids < column[:, None]))
        found.append(before.sum(-1))
    return np.asarray(torch.stack(found, -1).cpu().numpy())


def _measured(logits: torch.Tensor, law: TokenLaw) -> torch.Tensor:
    """The laws that facts are stated in: as drawn from, or at temperature 0 the plain softmax."""
    if law.sampling.greedy:
        return measured_distributions(logits)
    return law.distributions(logits, list)


def _margins(logits: torch.Tensor, tokens: Sequence[int]) -> np.ndarray:
    """How far each token's logit is from the nearest other one."""
    index = torch.tensor(tokens, device=logits.device)[:, None]
    distance = (logits - logits.gather(-1, index)).abs().scatter(-1, index, torch.inf)
    return np.asarray(distance.min(-1).values.cpu().numpy())


def _log(probability: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probability))
