"""Synthetic runs with the study's published figures, or with any others: valid traces, seeded.

Acceptance probabilities of a prompt are spread evenly over their distribution (stratified), so
that with `between` = 0 prompts hardly differ: the run that independent nodes would give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import beta, norm

from draftproof.trace import (
    NODE_COLUMNS,
    STEP_COLUMNS,
    CaseRecord,
    DecodedOutput,
    Verdict,
    columns_from,
)

DEPTH, BRANCHING, STEPS = 3, 2, 36
PROMPT_TOKENS = 20
_SIZE = 14


@dataclass(frozen=True)
class DomainFigures:
    """What a domain is made to show."""

    acceptance: float
    rise: float
    rho: float
    entropy: float


PUBLISHED = {
    "chat": DomainFigures(0.565, 0.021, -0.16, 2.4),
    "code": DomainFigures(0.538, 0.011, -0.20, 1.5),
    "logic": DomainFigures(0.532, 0.015, -0.18, 1.9),
    "math": DomainFigures(0.518, 0.018, -0.15, 1.7),
}


def tree():
    """Parents and depths of the 3×2 tree, level by level."""
    parents = np.array([-1, -1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    depths = np.array([1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3])
    return parents, depths


def study_run(figures=None, *, prompts=50, steps=STEPS, between=0.0, seed=0, concentration=12.0):
    """A run of `prompts` prompts a domain.

    Args:
        figures: By domain; the published ones by default.
        prompts: Prompts a domain.
        steps: Steps a prompt, 14 nodes each.
        between: Standard deviation of prompts' own mean acceptance.
        seed: Of everything.
        concentration: Of the beta distribution of acceptance probabilities within a prompt.
    """
    figures = PUBLISHED if figures is None else figures
    cases = []
    for d, (domain, wanted) in enumerate(figures.items()):
        for index in range(prompts):
            generator = np.random.default_rng([seed, d, index])
            shift = between * generator.standard_normal()
            cases.append(_case(domain, index, wanted, shift, steps, concentration, generator))
    return cases


def shuffled(cases, seed=0):
    """The run with its domain labels dealt anew to prompts, and depth and entropy to nodes.

    Nothing is left of what domain, depth or entropy say about acceptance; prompts stay whole.
    """
    generator = np.random.default_rng([seed, 1])
    labels = generator.permutation([case.domain for case in cases])
    entropies = [cases[i].nodes["draft_entropy"] for i in generator.permutation(len(cases))]
    mixed = []
    for case, domain, entropy in zip(cases, labels, entropies, strict=True):
        nodes = dict(case.nodes)
        order = generator.permutation(len(nodes["step"]))
        for name in ("target_probability", "draft_probability", "acceptance_probability"):
            nodes[name] = nodes[name][order]
        nodes["draft_entropy"] = generator.permutation(entropy)
        mixed.append(replace(case, domain=str(domain), nodes=nodes))
    return mixed


def _case(domain, index, wanted, shift, steps, concentration, generator):
    parents, depths = tree()
    n = steps * _SIZE
    depth = np.tile(depths, steps)
    alpha = np.empty(n)
    for level in (1, 2, 3):
        at = np.flatnonzero(depth == level)
        # Weighted over the 2, 4 and 8 nodes of a draft, the three levels have the wanted mean.
        mean = wanted.acceptance + shift + wanted.rise * ((level - 2) / 2 - 3 / 14)
        mean = min(max(mean, 0.03), 0.97)
        even = (generator.permutation(len(at)) + generator.random(len(at))) / len(at)
        alpha[at] = beta.ppf(even, concentration * mean, concentration * (1 - mean))
    latent = norm.ppf((np.argsort(np.argsort(alpha)) + 0.5) / n)
    r = 2 * np.sin(np.pi * wanted.rho / 6)
    entropy = wanted.entropy * np.exp(
        0.35 * (r * latent + np.sqrt(1 - r * r) * generator.standard_normal(n)) - 0.35**2 / 2
    )
    q = generator.uniform(0.05, 1.0, n)
    # Siblings are next to each other; what they share is at least what they have themselves.
    overlap = np.repeat(np.minimum(1.0, (alpha * q).reshape(-1, 2).sum(1)), 2)
    accepted, reached, lengths = _accept(alpha.reshape(steps, -1), parents, generator)
    roots = PROMPT_TOKENS + np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
    tokens = generator.integers(0, 32_000, n)
    position = np.repeat(roots, _SIZE) + depth
    output = generator.integers(0, 32_000, int((lengths + 1).sum()) + 1)
    kept = accepted.ravel()
    output[position[kept] - PROMPT_TOKENS] = tokens[kept]
    decoded = DecodedOutput(token_ids=tuple(output.tolist()), stop_reason="length", seconds=1.0)
    return CaseRecord(
        case_id=f"synthetic/{domain}/{index:03}",
        domain=domain,
        prompt_tokens=PROMPT_TOKENS,
        verdict=Verdict.IDENTICAL,
        plain=decoded,
        speculative=decoded,
        steps=columns_from(
            STEP_COLUMNS,
            {
                "step": np.arange(steps),
                "nodes": np.full(steps, _SIZE),
                "depth": np.full(steps, DEPTH),
                "accepted_length": lengths,
                "committed_tokens": lengths + 1,
                "root_position": roots,
                "draft_seconds": np.full(steps, 0.01),
                "verify_seconds": np.full(steps, 0.05),
            },
        ),
        nodes=columns_from(
            NODE_COLUMNS,
            {
                "step": np.repeat(np.arange(steps), _SIZE),
                "node": np.tile(np.arange(_SIZE), steps),
                "parent": np.tile(parents, steps),
                "depth": depth,
                "sibling_rank": np.tile(np.arange(_SIZE) % 2, steps),
                "position": position,
                "token_id": tokens,
                "target_probability": alpha * q,
                "draft_probability": q,
                "acceptance_probability": alpha,
                "overlap": overlap,
                "target_entropy": generator.gamma(2, 1, n),
                "draft_entropy": entropy,
                "target_rank": np.where(kept, 0, generator.integers(0, 9, n)),
                "draft_rank": np.tile(np.arange(_SIZE) % 2, steps),
                "reached": reached.ravel(),
                "accepted": kept,
            },
        ),
        draws={"accept": int(reached.sum())},
    )


def _accept(alpha, parents, generator):
    """Tries children in order, each kept with its acceptance probability."""
    coins = generator.random(alpha.shape) < alpha
    accepted, reached = np.zeros(alpha.shape, bool), np.zeros(alpha.shape, bool)
    children = {node: np.flatnonzero(parents == node).tolist() for node in range(-1, _SIZE)}
    for step in range(len(alpha)):
        node = -1
        while True:
            for child in children[node]:
                reached[step, child] = True
                if coins[step, child]:
                    accepted[step, child] = True
                    node = child
                    break
            else:
                break
    return accepted, reached, accepted.sum(axis=1)
