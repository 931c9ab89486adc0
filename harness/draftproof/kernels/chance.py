"""Where a kernel's chance really comes from: found by calling it, not by what is declared."""

from __future__ import annotations

import random as python_random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from draftproof.kernels.calling import Tables, called
from draftproof.kernels.contract import Kernel, KernelFacts, RandomSource, Shape
from draftproof.kernels.tables import DraftTable, chain, drafts, turning

ROWS = 512
"""Rows of a call; kernels of one row are called an eighth as often."""

GIVEN, TORCH, NUMPY, PYTHON = (
    "the generator that it is given",
    "torch's own generator",
    "numpy's own generator",
    "Python's own generator",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What a kernel does with generators.

    Attributes:
        seeded: Generators that are in the same state after a call, whatever it was before.
        drawn: Generators whose state is another after a call; those that are seeded are not here.
        constant: Whether calls emit the same tokens whatever states the generators are in and
            whatever uniforms are given.
        problem: What is wrong with that, or None.
    """

    seeded: tuple[str, ...]
    drawn: tuple[str, ...]
    constant: bool
    problem: str | None


def open_table(facts: KernelFacts) -> DraftTable:
    """A table on which coin and correction are both open."""
    shape = chain(1) if facts.shape is Shape.CHAIN else (-1, -1)
    fixture = turning(
        "open",
        np.array([0.3, 0.3, 0.4]),
        np.array([0.6, 0.2, 0.2]),
        shape,
        proposals=facts.proposals,
    )
    return next(iter(drafts(fixture)))


def chance_of(kernel: Kernel, facts: KernelFacts) -> Chance:
    """Call a kernel with its generators in two sets of states, and see what it does with them.

    Raises:
        KernelError: It raised, or returned what no kernel may return.
    """
    batch = Tables([open_table(facts)], facts)
    rows = np.zeros(1 if facts.one_row else ROWS, np.int64)
    given = None
    if facts.randomness is RandomSource.GENERATOR:
        given = torch.Generator(facts.device)

    def run(seed: int) -> tuple[np.ndarray, dict[str, bytes], dict[str, bytes]]:
        _seed_all(seed, given)
        before = _states(given)
        uniforms = None
        if facts.randomness is RandomSource.UNIFORMS:
            uniforms = np.random.Generator(np.random.PCG64(seed)).random((len(rows), batch.coins))
        parts = [batch.read(called(kernel, batch.call(rows, uniforms, given)), len(rows)).tokens]
        after = _states(given)
        for _ in range(ROWS // 8 - 1 if facts.one_row else 0):
            if uniforms is not None:
                uniforms = np.random.Generator(np.random.PCG64(seed + len(parts))).random(
                    (len(rows), batch.coins)
                )
            parts.append(
                batch.read(called(kernel, batch.call(rows, uniforms, given)), len(rows)).tokens
            )
        width = max(part.shape[1] for part in parts)
        tokens = [np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=-1) for p in parts]
        return np.concatenate(tokens), before, after

    with _kept_states():
        first, second = run(101), run(202)
    seeded = tuple(
        name
        for name in first[1]
        if first[2][name] == second[2][name] and first[2][name] != first[1][name]
    )
    drawn = tuple(
        name for name in first[1] if first[2][name] != first[1][name] and name not in seeded
    )
    constant = np.array_equal(first[0], second[0])
    return Chance(
        seeded=seeded,
        drawn=drawn,
        constant=constant,
        problem=_problem(facts, seeded, drawn, constant),
    )


def _problem(
    facts: KernelFacts, seeded: tuple[str, ...], drawn: tuple[str, ...], constant: bool
) -> str | None:
    if seeded:
        by = {
            TORCH: " (torch.manual_seed?)",
            NUMPY: " (np.random.seed?)",
            PYTHON: " (random.seed?)",
        }
        named = " and ".join(name + by.get(name, "") for name in seeded)
        repeats = "every call draws the same numbers" if constant else "draws repeat"
        return (
            f"the kernel seeds {named}: {repeats}, and so does whatever else draws from there. "
            "Draw from the state that is found, and seed nothing"
        )
    if constant:
        what = (
            "whatever uniforms are given"
            if facts.randomness is RandomSource.UNIFORMS
            else "whatever states torch's, numpy's, Python's and the given generator are in"
        )
        return (
            f"every call emits the same tokens {what}: the kernel draws from a constant seed, or "
            "from one that its arguments decide, or not at all"
        )
    if facts.randomness is RandomSource.OWN:
        return None
    other = [name for name in drawn if name != GIVEN]
    if other:
        given = (
            "uniforms are" if facts.randomness is RandomSource.UNIFORMS else "another generator is"
        )
        return (
            f"{' and '.join(other)} is drawn from, although {given} given: the given chance does "
            "not decide what is emitted. Use it, or declare randomness='own'"
        )
    if facts.randomness is RandomSource.GENERATOR and GIVEN not in drawn:
        return "the generator that was given is in the state that it was in: not drawn from"
    return None


def _seed_all(seed: int, given: torch.Generator | None) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    python_random.seed(seed)
    if given is not None:
        given.manual_seed(seed)


def _states(given: torch.Generator | None) -> dict[str, bytes]:
    """The state of every generator, as bytes."""
    numpy_state: Any = np.random.get_state(legacy=False)
    position = f"{numpy_state['state']['pos']} {numpy_state['has_gauss']}".encode()
    states = {
        TORCH: torch.get_rng_state().numpy().tobytes(),
        NUMPY: position + numpy_state["state"]["key"].tobytes(),
        PYTHON: repr(python_random.getstate()).encode(),
    }
    if torch.cuda.is_available():
        states[TORCH] += torch.cuda.get_rng_state().numpy().tobytes()
    if given is not None:
        states[GIVEN] = given.get_state().numpy().tobytes()
    return states


@contextmanager
def _kept_states() -> Iterator[None]:
    """Numpy's and Python's own generators are as they were afterwards."""
    numpy_state, python_state = np.random.get_state(), python_random.getstate()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        np.random.set_state(numpy_state)
        python_random.setstate(python_state)
