"""The study's node table for all positions of a trajectory at once: one forward pass a depth.

A live run tells the nodes of the steps that it takes. A probe puts the same tree below every token
of a trajectory, all of them under one mask: the trajectory is a path of pending nodes, and the
trees hang on it. What a node sees is what it would see in a step of its own, so that its facts are
those of a live run, up to rounding in blocks of another width. Where a live run's roots are known,
only these need trees.

A node's facts are read after its parent, so only nodes with children are scored; and what several
trees have in common is scored once. Most of it is: a child that is the trajectory's own next token
stands in the next root's place, with that root's whole tree below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from draftproof.drafting.static_tree import most_probable
from draftproof.models.protocol import CausalLM
from draftproof.recording import acceptance_probability, choice_facts, overlaps
from draftproof.replay.trees import Paths
from draftproof.sampling import TokenLaw, measured_distributions
from draftproof.trace import NODE_COLUMNS, Columns, columns_from
from draftproof.tree import ROOT, children, depths, sibling_ranks

ROOTS = 64
"""Positions that are probed in one go; masks and logits grow with them."""


def probe(
    prompt: Sequence[int],
    output: Sequence[int],
    target: CausalLM,
    draft: CausalLM,
    paths: Paths,
    law: TokenLaw,
    *,
    at: Sequence[int] | None = None,
    roots: int = ROOTS,
) -> Columns:
    """`draftproof.trace.NODE_COLUMNS` of a static tree below every token of an output but its last.

    Column ``step`` is the root's index in the output. A node is reached if the trajectory goes
    through its parent and no elder sibling is on it, and accepted if it is itself on it: what the
    greedy rule would do in a step from there.

    Args:
        prompt: ``[≥ 1]`` token ids.
        output: What the target says after it.
        target: Reset and advanced.
        draft: Likewise.
        paths: The tree, by the sibling ranks that lead to each node.
        law: Temperature and filters, in which facts are stated.
        at: Indices of the tokens to probe below, ascending; all but the last where it is left out.
        roots: Positions probed in one go.

    Raises:
        ValueError: The law looks at the tokens before (a penalty, or `min_new_tokens`); a probe
            has no such laws.
    """
    if law.sampling.repetition_penalty != 1 or law.sampling.min_new_tokens:
        raise ValueError(
            "a probe states facts without repetition_penalty and min_new_tokens; leave them out"
        )
    proposed = [path for path in paths if max(path) < draft.vocabulary_size]
    ordered = sorted(proposed, key=lambda path: (len(path), path))
    index = {path: node for node, path in enumerate(ordered)}
    parents = tuple(index.get(path[:-1], ROOT) for path in ordered)
    deepest = max(depths(parents), default=0)
    room = min(target.max_length, draft.max_length + 1) - len(prompt) - deepest
    last = min(len(output) - 1, room) if ordered else 0
    wanted = np.arange(last) if at is None else np.array(at, int)
    wanted = wanted[wanted < last]
    target.reset()
    draft.reset()
    target.advance(prompt)
    draft.advance(prompt)
    parts: list[dict[str, np.ndarray]] = []
    last = int(wanted.max(initial=-1)) + 1
    for start in range(0, last, roots):
        chain = list(output[start : min(start + roots, last)])
        below = wanted[(wanted >= start) & (wanted < start + len(chain))] - start
        if not len(below):
            target.advance(chain)
            draft.advance(chain)
            continue
        parts.append(_block(start, chain, below, parents, len(prompt), output, target, draft, law))
        target.commit(range(len(chain)))
        draft.commit(range(len(chain)))
    values = {
        name: np.concatenate([part[name] for part in parts] or [np.empty(0)])
        for name in NODE_COLUMNS
    }
    return columns_from(NODE_COLUMNS, values)


def _block(
    start: int,
    chain: Sequence[int],
    at: np.ndarray,
    parents: tuple[int, ...],
    prompt_length: int,
    output: Sequence[int],
    target: CausalLM,
    draft: CausalLM,
    law: TokenLaw,
) -> dict[str, np.ndarray]:
    """The node columns of the trees below some tokens of a block, by their indices in it.

    Mutates: both models have the tokens and the trees' inner nodes pending.
    """
    n = len(parents)
    grown = _grow(chain, at, parents, draft)
    seen = target.score(grown.contexts.token_ids, grown.contexts.parents)
    p, q = _measured(seen, law), _measured(grown.logits, law)
    # Nodes of several trees that stand in the same place share their facts.
    after = grown.rows[:, [parent + 1 for parent in parents]].ravel()
    pairs, place = np.unique(np.stack([after, grown.tokens.ravel()]), axis=1, return_inverse=True)
    rows, token_ids = pairs.tolist()
    by_target = choice_facts(seen, p, rows, token_ids)
    by_draft = choice_facts(grown.logits, q, rows, token_ids)
    facts = {
        "target_probability": by_target.probability,
        "draft_probability": by_draft.probability,
        "acceptance_probability": acceptance_probability(
            by_target.probability, by_draft.probability
        ),
        "overlap": overlaps(p, q, rows, rows),
        "target_entropy": by_target.entropy,
        "draft_entropy": by_draft.entropy,
        "target_rank": by_target.rank,
        "draft_rank": by_draft.rank,
    }
    reached, accepted = _walked(start + at, grown.tokens, parents, output)
    root_of = np.repeat(at, n)
    depth = np.tile(depths(parents), len(at))
    return {
        "step": start + root_of,
        "node": np.tile(np.arange(n), len(at)),
        "parent": np.tile(parents, len(at)),
        "depth": depth,
        "sibling_rank": np.tile(sibling_ranks(parents), len(at)),
        "position": prompt_length + start + root_of + depth,
        "token_id": grown.tokens.ravel(),
        "reached": reached.ravel(),
        "accepted": accepted.ravel(),
        **{name: values[place.ravel()] for name, values in facts.items()},
    }


class _Contexts:
    """The distinct contexts that are scored: the trajectory's, and those that branch off it.

    Attributes:
        token_ids: The last token of each.
        parents: Index of the context that it continues; −1 for what is committed.
    """

    def __init__(self, chain: Sequence[int]) -> None:
        self.token_ids = list(chain)
        self.parents = list(range(-1, len(chain) - 1))
        self._index = {place: row for row, place in enumerate(self._places())}

    def _places(self) -> Iterable[tuple[int, int]]:
        return zip(self.parents, self.token_ids, strict=True)

    def add(self, parents: np.ndarray, token_ids: np.ndarray) -> np.ndarray:
        """The index of each continuation of a context by a token; new ones are appended."""
        places = list(zip(parents.tolist(), token_ids.tolist(), strict=True))
        for place in places:
            if place not in self._index:
                self._index[place] = len(self.token_ids)
                self.parents.append(place[0])
                self.token_ids.append(place[1])
        return np.array([self._index[place] for place in places])


class _Grown(NamedTuple):
    """The trees below the roots of a block.

    Attributes:
        tokens: ``[roots, n]`` the nodes' tokens.
        rows: ``[roots, 1 + n]`` the context that ends in each root and in each node with children;
            −1 for leaves, which nothing is asked of.
        contexts: What has been scored.
        logits: ``[contexts, vocabulary]`` the draft model's after each.
    """

    tokens: np.ndarray
    rows: np.ndarray
    contexts: _Contexts
    logits: torch.Tensor


def _grow(
    chain: Sequence[int], at: np.ndarray, parents: tuple[int, ...], draft: CausalLM
) -> _Grown:
    """Let a draft model propose the trees, by one forward pass a depth for all roots."""
    below = children(parents)
    widest = max(len(group) for group in below.values())
    tokens = np.zeros((len(at), len(parents)), int)
    rows = np.full((len(at), 1 + len(parents)), -1)
    rows[:, 0] = at
    contexts = _Contexts(chain)
    logits: list[torch.Tensor] = []
    ranked: list[Sequence[int]] = []
    level = [ROOT]
    while level:
        scored = len(ranked)
        if scored < len(contexts.token_ids):
            logits.append(draft.score(contexts.token_ids[scored:], contexts.parents[scored:]))
            ranked.extend(most_probable(logits[-1], widest))
        proposals = np.array(ranked)
        for node in level:
            for rank, child in enumerate(below[node]):
                tokens[:, child] = proposals[rows[:, 1 + node], rank]
        level = [child for node in level for child in below[node] if child in below]
        for node in level:
            rows[:, 1 + node] = contexts.add(rows[:, 1 + parents[node]], tokens[:, node])
    return _Grown(tokens, rows, contexts, torch.cat(logits))


def _walked(
    at: np.ndarray, tokens: np.ndarray, parents: tuple[int, ...], output: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Which nodes the greedy rule would look at, and keep, below some roots; each ``[roots, n]``.

    Beyond the end of the output nothing is kept.
    """
    roots, n = tokens.shape
    ranks = sibling_ranks(parents)
    said = np.array([*output, *([-1] * (n + 1))])
    reached, accepted = np.zeros((2, roots, n), bool)
    for node, (parent, depth) in enumerate(zip(parents, depths(parents), strict=True)):
        elders = [other for other in children(parents)[parent] if ranks[other] < ranks[node]]
        follows = np.ones(roots, bool) if parent == ROOT else accepted[:, parent]
        reached[:, node] = follows & ~accepted[:, elders].any(axis=1)
        accepted[:, node] = reached[:, node] & (tokens[:, node] == said[at + depth])
    return reached, accepted


def _measured(logits: torch.Tensor, law: TokenLaw) -> torch.Tensor:
    return (
        measured_distributions(logits) if law.sampling.greedy else law.distributions(logits, list)
    )
