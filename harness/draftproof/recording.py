"""Turns the steps of a decoding loop into trace columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from draftproof.acceptance.protocol import Acceptance
from draftproof.decoding import Step
from draftproof.sampling import measured_distributions, promoted
from draftproof.trace import NODE_COLUMNS, STEP_COLUMNS, Columns, columns_from
from draftproof.tree import DraftTree

_VALUES_AT_ONCE = 1 << 20
"""Logits that are looked at together where tokens are ranked."""


class StepSeconds(NamedTuple):
    """Wall time of a step's two phases."""

    draft: float
    verify: float


class ChoiceFacts(NamedTuple):
    """How a model saw each of some tokens among its alternatives; each ``[n]``."""

    probability: np.ndarray
    entropy: np.ndarray
    rank: np.ndarray


class StepRecorder:
    """An observer for `speculate` that keeps every step and node.

    Args:
        step_seconds: Asked once a step for the time of its phases.
    """

    def __init__(self, step_seconds: Callable[[], StepSeconds]) -> None:
        self._step_seconds = step_seconds
        self._steps: list[dict[str, float]] = []
        self._nodes: list[dict[str, np.ndarray]] = []

    def __call__(self, step: Step, committed: tuple[int, ...]) -> None:
        """Take note of a step and of the tokens that it added to the output."""
        index = len(self._steps)
        seconds = self._step_seconds()
        self._steps.append(
            {
                **self.step_columns(index, step, committed),
                "draft_seconds": seconds.draft,
                "verify_seconds": seconds.verify,
            }
        )
        if len(step.draft.tree):
            self._nodes.append(self.node_columns(index, step))

    def step_columns(self, index: int, step: Step, committed: tuple[int, ...]) -> dict[str, int]:
        """The value of each of `STEP_COLUMNS` but the seconds, for a step."""
        return step_facts(
            index, step.draft.tree, step.acceptance, step.root_position, len(committed)
        )

    @property
    def steps(self) -> Columns:
        """`STEP_COLUMNS` of everything seen so far."""
        return columns_from(
            STEP_COLUMNS, {name: [step[name] for step in self._steps] for name in STEP_COLUMNS}
        )

    @property
    def nodes(self) -> Columns:
        """`NODE_COLUMNS` of everything seen so far."""
        return columns_from(
            NODE_COLUMNS,
            {
                name: np.concatenate([nodes[name] for nodes in self._nodes] or [np.empty(0)])
                for name in NODE_COLUMNS
            },
        )

    def node_columns(self, index: int, step: Step) -> dict[str, np.ndarray]:
        """`NODE_COLUMNS` of a step's nodes, each ``[nodes]``."""
        draft, tree = step.draft, step.draft.tree
        n = len(tree)
        # Siblings share the distribution after their parent: each is looked at once.
        parents = sorted(set(tree.parents))
        row_of = {parent: row for row, parent in enumerate(parents)}
        target_rows = [parent + 1 for parent in parents]
        target_logits = step.target_logits[target_rows]
        p = (
            measured_distributions(target_logits)
            if step.law.sampling.greedy
            else step.target_probabilities[target_rows]
        )
        rows = [row_of[parent] for parent in tree.parents]
        target = choice_facts(target_logits, p, rows, tree.token_ids)
        if draft.logits is None:
            overlap = unknown = np.full(n, np.nan)
            proposed = ChoiceFacts(unknown, unknown, np.full(n, -1))
        else:
            q = draft_distributions(step, draft.logits)
            proposed = choice_facts(draft.logits, q, draft.rows, tree.token_ids)
            overlap = overlaps(p, q, rows, draft.rows)
        return {
            **tree_facts(index, tree, step.acceptance, step.root_position),
            "target_probability": target.probability,
            "draft_probability": proposed.probability,
            "acceptance_probability": acceptance_probability(
                target.probability, proposed.probability
            ),
            "overlap": overlap,
            "target_entropy": target.entropy,
            "draft_entropy": proposed.entropy,
            "target_rank": target.rank,
            "draft_rank": proposed.rank,
        }


def step_facts(
    index: int, tree: DraftTree, acceptance: Acceptance, root_position: int, committed: int
) -> dict[str, int]:
    """The value of each of `STEP_COLUMNS` but the seconds.

    Args:
        index: Of the step, from 0.
        tree: What was proposed.
        acceptance: What was kept of it.
        root_position: Position of the root in the sequence.
        committed: Tokens that the step added to the output.
    """
    return {
        "step": index,
        "nodes": len(tree),
        "depth": tree.depth,
        "accepted_length": len(acceptance.path),
        "committed_tokens": committed,
        "root_position": root_position,
    }


def tree_facts(
    index: int, tree: DraftTree, acceptance: Acceptance, root_position: int
) -> dict[str, np.ndarray]:
    """The `NODE_COLUMNS` of a step that no model is needed for, each ``[nodes]``."""
    n = len(tree)
    depths = np.array(tree.depths)
    reached = np.zeros(n, bool)
    reached[list(acceptance.reached)] = True
    accepted = np.zeros(n, bool)
    accepted[list(acceptance.path)] = True
    return {
        "step": np.full(n, index),
        "node": np.arange(n),
        "parent": np.array(tree.parents),
        "depth": depths,
        "sibling_rank": np.array(tree.sibling_ranks),
        "position": root_position + depths,
        "token_id": np.array(tree.token_ids),
        "reached": reached,
        "accepted": accepted,
    }


def acceptance_probability(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """min(1, p/q) of each node; NaN where q is unknown, or where both are 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.minimum(1.0, p / q))


def overlaps(
    p: Float[torch.Tensor, "parents vocabulary"],
    q: Float[torch.Tensor, "m vocabulary"],
    p_rows: Sequence[int],
    q_rows: Sequence[int],
) -> np.ndarray:
    """Σ min(p, q) over the vocabulary, for each node ``[n]``.

    Args:
        p: The target's distributions.
        q: The draft model's.
        p_rows: ``[n]`` the row of `p` that each node was verified by.
        q_rows: ``[n]`` the row of `q` that it was chosen from. Siblings share both.
    """
    pairs = list(zip(p_rows, q_rows, strict=True))
    distinct = sorted(set(pairs))
    both = torch.minimum(p[[row for row, _ in distinct]], q[[row for _, row in distinct]])
    value = dict(zip(distinct, both.sum(-1).tolist(), strict=True))
    return np.array([value[pair] for pair in pairs])


def draft_distributions(
    step: Step, logits: Float[torch.Tensor, "m vocabulary"]
) -> Float[torch.Tensor, "m vocabulary"]:
    """The distributions after each row of a draft's logits, in which its facts are stated.

    Drafters that draw carry them; for the others they are made here, as the target's are.
    """
    draft = step.draft
    if step.law.sampling.greedy:
        return measured_distributions(logits)
    if draft.probabilities is not None:
        return draft.probabilities
    before: list[Sequence[int]] = [step.sequence] * len(logits)
    for node, row in enumerate(draft.rows):
        parent = draft.tree.parents[node]
        above = draft.tree.tokens(draft.tree.path_to(parent))
        before[row] = (*step.sequence, *above)
    return step.law.distributions(logits, lambda: before)


def choice_facts(
    logits: Float[torch.Tensor, "m vocabulary"],
    probabilities: Float[torch.Tensor, "m vocabulary"],
    rows: Sequence[int],
    token_ids: Sequence[int],
) -> ChoiceFacts:
    """Probability, entropy of the alternatives (nats) and rank of each token.

    Args:
        logits: A row for each distinct context.
        probabilities: The distributions in which facts are stated: after temperature and filters,
            or at temperature 0 `measured_distributions`.
        rows: ``[n]`` each token's row.
        token_ids: ``[n]`` the tokens.

    Returns:
        Each ``[n]``. A token's rank is the number of tokens with a larger logit, or an equal one
        and a smaller id, so that rank 0 is the argmax.

    Raises:
        ValueError: A token has no row.
    """
    logits = promoted(logits)
    if len(rows) != len(token_ids):
        raise ValueError(f"{len(token_ids)} tokens and {len(rows)} rows; each token has a row")
    row = torch.tensor(rows, device=logits.device)
    token = torch.tensor(token_ids, device=logits.device)
    entropy = torch.special.entr(probabilities).sum(-1)[row]
    chosen = logits[row, token]
    ids = torch.arange(logits.shape[-1], device=logits.device)
    ranks = []
    at_once = max(1, _VALUES_AT_ONCE // logits.shape[-1])
    for part in range(0, len(row), at_once):
        own, value = slice(part, part + at_once), chosen[part : part + at_once, None]
        seen = logits[row[own]]
        before = (seen > value) | ((seen == value) & (ids < token[own, None]))
        ranks.append(before.sum(-1))
    rank = torch.cat(ranks) if ranks else row
    facts = torch.stack([probabilities[row, token], entropy, rank.to(probabilities.dtype)])
    return ChoiceFacts(*facts.cpu().numpy().astype(np.float64))
