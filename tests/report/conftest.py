"""Runs to report on: synthetic, seeded, and shaped as the reference engine's."""

from __future__ import annotations

import numpy as np
import pytest

from draftproof.report import RunInfo
from draftproof.trace import (
    NODE_COLUMNS,
    STEP_COLUMNS,
    CaseRecord,
    DecodedOutput,
    Verdict,
    columns_from,
)

DEPTH, BRANCHING = 3, 2
DOMAINS = ("code", "math", "logic", "chat")


def _tree():
    parents, depths, ranks, level = [], [], [], [-1]
    for depth in range(1, DEPTH + 1):
        below = []
        for parent in level:
            for rank in range(BRANCHING):
                below.append(len(parents))
                parents.append(parent)
                depths.append(depth)
                ranks.append(rank)
        level = below
    return np.array(parents), np.array(depths), np.array(ranks)


def _softmax_probabilities(generator, size):
    """Probabilities as peaked and as hard to compress as a model's."""
    return 1 / (1 + np.exp(generator.normal(1.0, 2.0, size)))


def _case(index, steps, seed):
    generator = np.random.default_rng([seed, index])
    parents, depths, ranks = _tree()
    k, domain = len(parents), DOMAINS[index % len(DOMAINS)]
    n = steps * k
    lengths = generator.binomial(DEPTH, 0.4, steps)
    # The kept path goes down first children; what is reached are the children of kept nodes.
    on_path = []
    for parent, rank in zip(parents, ranks, strict=True):
        on_path.append(rank == 0 and (parent < 0 or on_path[parent]))
    accepted = np.array(on_path) & (depths <= lengths[:, None])
    reached = np.where(parents < 0, True, accepted[:, parents])
    root = 40 + np.cumsum(lengths + 1) - lengths - 1
    p, q = _softmax_probabilities(generator, n), _softmax_probabilities(generator, n)
    step_columns = {
        "step": np.arange(steps),
        "nodes": np.full(steps, k),
        "depth": np.full(steps, DEPTH),
        "accepted_length": lengths,
        "committed_tokens": lengths + 1,
        "root_position": root,
        "draft_seconds": generator.gamma(9, 0.001, steps),
        "verify_seconds": generator.gamma(9, 0.003, steps),
    }
    node_columns = {
        "step": np.repeat(np.arange(steps), k),
        "node": np.tile(np.arange(k), steps),
        "parent": np.tile(parents, steps),
        "depth": np.tile(depths, steps),
        "sibling_rank": np.tile(ranks, steps),
        "position": np.repeat(root, k) + np.tile(depths, steps),
        "token_id": generator.integers(0, 32_000, n),
        "target_probability": p,
        "draft_probability": q,
        "acceptance_probability": np.minimum(1, p / q),
        "overlap": np.maximum(np.minimum(p, q), generator.random(n)),
        "target_entropy": generator.gamma(2, 1, n),
        "draft_entropy": generator.gamma(2, 1, n),
        "target_rank": generator.zipf(1.4, n).clip(1, 32_000) - 1,
        "draft_rank": np.tile(ranks, steps),
        "reached": reached.ravel(),
        "accepted": accepted.ravel(),
    }
    output = DecodedOutput(
        token_ids=tuple(generator.integers(0, 32_000, int((lengths + 1).sum()) + 1).tolist()),
        stop_reason="length",
        seconds=float(generator.random()),
    )
    return CaseRecord(
        case_id=f"builtin/{domain}/{index // len(DOMAINS):02}",
        domain=domain,
        prompt_tokens=40,
        verdict=Verdict.IDENTICAL,
        plain=output,
        speculative=output,
        steps=columns_from(STEP_COLUMNS, step_columns),
        nodes=columns_from(NODE_COLUMNS, node_columns),
        draws={"draft": 3, "accept": index},
    )


def _cases(prompts=8, steps=5, seed=0):
    return [_case(index, steps, seed) for index in range(prompts)]


@pytest.fixture(scope="session")
def make_cases():
    """A function (prompts, steps, seed) that makes a run's records."""
    return _cases


@pytest.fixture(scope="session")
def run_facts():
    """The description of a run of the built-in pair."""
    return RunInfo(
        name="nightly",
        started="2026-01-02T03:04:05Z",
        config={
            "target": "builtin",
            "draft": "builtin",
            "dtype": "auto",
            "device": "auto",
            "tree": "3x2",
            "rule": "auto",
            "sampling": {"temperature": 0.0},
            "seed": 7,
        },
        fingerprint="0123456789abcdef",
        models={
            "target": {"name": "builtin", "dtype": "float32", "device": "cpu"},
            "draft": {"name": "builtin", "dtype": "float32", "device": "cpu"},
        },
        versions={"draftproof": "0.1.0", "torch": "2.9.0"},
        hardware={"cpu": "Example CPU", "cores": 2},
        command=("pytest", "suites/", "--report", "-k", "code or `math`"),
    )


@pytest.fixture
def run_info(run_facts):
    """The same, for one test."""
    return run_facts


def _same(found, expected):
    """Whether two records agree bit for bit, NaN payloads and column types included."""
    for name in ("steps", "nodes"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert list(mine) == list(theirs)
        for column in mine:
            assert mine[column].dtype == theirs[column].dtype
            assert mine[column].tobytes() == theirs[column].tobytes(), column
    facts = ("case_id", "domain", "prompt_tokens", "verdict", "message", "plain", "speculative")
    for name in facts:
        assert getattr(found, name) == getattr(expected, name)
    assert dict(found.draws) == dict(expected.draws)
    return True


@pytest.fixture(scope="session")
def same_record():
    """A function that asserts that two records agree bit for bit."""
    return _same
