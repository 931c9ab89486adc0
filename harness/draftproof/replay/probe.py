"""The study's node table for all positions of a trajectory at once: one forward pass a depth.

A live run tells the nodes of the steps that it takes. A probe puts the same tree below every token
of a trajectory, all of them under one mask: the trajectory is a path of pending nodes, and the
trees hang on it. What a node sees is what it would see in a step of its own, so that its facts are
those of a live run, up to rounding in blocks of another width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from draftproof.drafting.static_tree import most_probable
from draftproof.models.protocol import CausalLM
from draftproof.recording import acceptance_probability, choice_facts, overlaps
from draftproof.replay.matching import Paths
from draftproof.sampling import TokenLaw, measured_distributions
from draftproof.trace import NODE_COLUMNS, Columns, columns_from
from draftproof.tree import ROOT, children, depths, sibling_ranks

ROOTS = 32
"""Positions that are probed in one go; masks and logits grow with them."""


def probe(
    prompt: Sequence[int],
    output: Sequence[int],
    target: CausalLM,
    draft: CausalLM,
    paths: Paths,
    law: TokenLaw,
    *,
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
        roots: Positions probed in one go.
    """
    ordered = sorted(paths, key=lambda path: (len(path), path))
    index = {path: node for node, path in enumerate(ordered)}
    parents = tuple(index.get(path[:-1], ROOT) for path in ordered)
    deepest = max(depths(parents), default=0)
    room = min(target.max_length, draft.max_length + 1) - len(prompt) - deepest
    last = min(len(output) - 1, room)
    target.reset()
    draft.reset()
    target.advance(prompt)
    draft.advance(prompt)
    parts: list[dict[str, np.ndarray]] = []
    for start in range(0, last, roots):
        chain = list(output[start : min(start + roots, last)])
        parts.append(_block(start, chain, parents, len(prompt), output, target, draft, law))
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
    parents: tuple[int, ...],
    prompt_length: int,
    output: Sequence[int],
    target: CausalLM,
    draft: CausalLM,
    law: TokenLaw,
) -> dict[str, np.ndarray]:
    """The node columns of the trees below some tokens of the output.

    Mutates: both models have the tokens and the trees pending.
    """
    roots, n = len(chain), len(parents)
    tokens, rows, logits = _drafted(chain, parents, draft)
    # Root by root, as a live run's table is ordered; the target's rows are the roots', then these.
    flat = tokens.ravel().tolist()
    above = [
        root if parent == ROOT else roots + root * n + parent
        for root in range(roots)
        for parent in parents
    ]
    seen = target.score([*chain, *flat], [*range(-1, roots - 1), *above])
    p, q = _measured(seen, law), _measured(logits, law)
    by_target = choice_facts(seen, p, above, flat)
    by_draft = choice_facts(logits, q, rows, flat)
    reached, accepted = _walked(start, tokens, parents, output)
    root_of = np.repeat(np.arange(roots), n)
    depth = np.tile(depths(parents), roots)
    return {
        "step": start + root_of,
        "node": np.tile(np.arange(n), roots),
        "parent": np.tile(parents, roots),
        "depth": depth,
        "sibling_rank": np.tile(sibling_ranks(parents), roots),
        "position": prompt_length + start + root_of + depth,
        "token_id": tokens.ravel(),
        "target_probability": by_target.probability,
        "draft_probability": by_draft.probability,
        "acceptance_probability": acceptance_probability(
            by_target.probability, by_draft.probability
        ),
        "overlap": overlaps(p, q, above, rows),
        "target_entropy": by_target.entropy,
        "draft_entropy": by_draft.entropy,
        "target_rank": by_target.rank,
        "draft_rank": by_draft.rank,
        "reached": reached.ravel(),
        "accepted": accepted.ravel(),
    }


def _drafted(
    chain: Sequence[int], parents: tuple[int, ...], draft: CausalLM
) -> tuple[np.ndarray, list[int], torch.Tensor]:
    """The trees' tokens ``[roots, n]``, each node's row of logits, and the logits.

    One forward pass for the roots, and one for the nodes with children of each depth.
    """
    roots, below = len(chain), children(parents)
    tokens = np.zeros((roots, len(parents)), int)
    logits = [draft.score(chain, range(-1, roots - 1))]
    row_of = {(root, ROOT): root for root in range(roots)}
    level = [ROOT]
    scored = roots
    while level:
        most = max(len(below.get(node, ())) for node in level)
        ranked = most_probable(logits[-1], max(most, 1))
        places = [(root, node) for root in range(roots) for node in level]
        for (root, node), proposed in zip(places, ranked, strict=True):
            for child, token in zip(below.get(node, ()), proposed, strict=False):
                tokens[root, child] = token
        level = [child for node in level for child in below.get(node, ()) if child in below]
        if level:
            places = [(root, node) for root in range(roots) for node in level]
            logits.append(
                draft.score(
                    [int(tokens[place]) for place in places],
                    [row_of[root, parents[node]] for root, node in places],
                )
            )
            row_of.update({place: scored + i for i, place in enumerate(places)})
            scored += len(places)
    rows = [row_of[root, parent] for root in range(roots) for parent in parents]
    return tokens, rows, torch.cat(logits)


def _walked(
    start: int, tokens: np.ndarray, parents: tuple[int, ...], output: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Which nodes the greedy rule would look at, and keep; each ``[roots, n]``.

    Beyond the end of the output nothing is kept.
    """
    roots, n = tokens.shape
    ranks = sibling_ranks(parents)
    said = np.array([*output, *([-1] * (n + 1))])
    reached, accepted = np.zeros((2, roots, n), bool)
    at = start + np.arange(roots)
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
