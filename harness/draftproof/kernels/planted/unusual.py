"""Lossless kernels of unusual form: no check may fail them either."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

from draftproof.kernels.contract import ChainCall, TreeCall
from draftproof.kernels.planted.controls import SamplerMatch
from draftproof.kernels.planted.parts import (
    OWN_DRAWS,
    Chain,
    Planted,
    PointMassTree,
    VectorTree,
    inverse,
)


class RowByRow(Chain):
    """Lossless: a loop over rows and places in float64."""

    def __call__(self, call: ChainCall, /) -> Any:
        coins = self.coins(call).double()
        draft = call.draft_probabilities
        rows, places = call.draft_tokens.shape
        out = torch.full((rows, places + 1), -1, dtype=torch.int64)
        for row in range(rows):
            length = int(call.draft_lengths[row])
            for place in range(length + 1):
                p = call.target_probabilities[row, place].double()
                if place == length:
                    out[row, place] = int(inverse(p, coins[row, places]))
                    break
                token = int(call.draft_tokens[row, place])
                q = torch.zeros_like(p)
                q[token] = 1
                q = q if draft is None else draft[row, place].double()
                if float(coins[row, place] * q[token]) < float(p[token]):
                    out[row, place] = token
                    continue
                left = (p - q).clamp_min(0)
                left = left if float(left.sum()) > 0 else p
                out[row, place] = int(inverse(left, coins[row, places]))
                break
        return out


class FromTheEnd(Chain):
    """Lossless: uniforms are read in the opposite order, from 1 down."""

    def coins(self, call: ChainCall) -> torch.Tensor:
        return (1 - 2.0**-24 - super().coins(call)).clamp_min(0)


class ByThinning(Chain):
    """Lossless: ids are drawn evenly until a coin of (p − q)₊ ÷ its largest value keeps one.

    Of what large vocabularies leave after some rounds, the correction is drawn at once.
    """

    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        rows = len(weights)
        clean = torch.nan_to_num(weights)
        most = clean.max(-1).values.clamp_min(1e-30)
        nothing = clean.sum(-1, keepdim=True) == 0
        out = torch.multinomial(torch.where(nothing, torch.ones(()), clean), 1)[:, 0]
        going = torch.ones(rows, dtype=torch.bool)
        for _ in range(100):
            drawn = torch.randint(weights.shape[-1], (rows,))
            own = clean.gather(-1, drawn[:, None])[:, 0]
            taken = going & (torch.rand(rows) * most < own)
            out = torch.where(taken, drawn, out)
            going &= ~taken
            if not bool(going.any()):
                break
        return out


class ByMultinomial(Chain):
    """Lossless: torch.multinomial for the extra token, lists for the output."""

    def __call__(self, call: ChainCall, /) -> Any:
        out = super().__call__(call)
        return [row + [-1] * 3 for row in out.tolist()]

    def pick(self, weights: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        clean = torch.nan_to_num(weights)
        clean[clean.sum(-1) == 0] = 1
        return torch.multinomial(clean, 1)[:, 0]


class LogSpace(Chain):
    """Lossless: coins in log space."""

    def keeps(self, p: torch.Tensor, q: torch.Tensor, coin: torch.Tensor) -> torch.Tensor:
        return (coin.double().log() + q.double().log() < p.double().log()) & (p > 0)


class NumpyDraws(Chain):
    """Lossless: draws from numpy's generator, seeded by the system once."""

    def __init__(self) -> None:
        self._random = np.random.default_rng()

    def coins(self, call: ChainCall) -> torch.Tensor:
        drawn = self._random.random((len(call.draft_tokens), call.places + 1), dtype=np.float32)
        return torch.from_numpy(drawn)


class ByPaths(PointMassTree):
    """Lossless: the one-hot rule along retrieve indices, by conditional probabilities."""

    def __call__(self, call: TreeCall, /) -> Any:
        coins = self.coins(call).double()
        rows, nodes = call.tokens.shape
        out = torch.full((rows, nodes + 1), -1, dtype=torch.int64)
        paths = call.paths()
        for row in range(rows):
            law = call.target_probabilities[row].double().clone()
            at, length = 0, 0
            moved = True
            while moved:
                moved = False
                children = sorted(
                    {
                        int(c)
                        for path in paths[row].tolist()
                        for here, c in itertools.pairwise(path)
                        if here == at and c > 0
                    }
                )
                for child in children:
                    token = int(call.tokens[row, child - 1])
                    if float(coins[row, child - 1]) * float(law[at].sum()) < float(law[at, token]):
                        out[row, length] = token
                        at, length, moved = child, length + 1, True
                        break
                    law[at, token] = 0
            out[row, length] = int(inverse(law[at], coins[row, nodes]))
        return out


class ByOneUniform(PointMassTree):
    """Lossless: the token is drawn from p, and the walk goes on where a child has it."""

    def __call__(self, call: TreeCall, /) -> Any:
        coins = self.coins(call)
        rows, nodes = call.tokens.shape
        every = torch.arange(rows)
        at = torch.zeros(rows, dtype=torch.int64)
        out = torch.full((rows, nodes + 1), -1, dtype=torch.int64)
        going = torch.ones(rows, dtype=torch.bool)
        for step in range(nodes + 1):
            # Each node of the walk has a uniform of its own.
            drawn = inverse(call.target_probabilities[every, at], coins[every, at])
            out[going, step] = drawn[going]
            child = (call.parents + 1 == at[:, None]) & (call.tokens == drawn[:, None])
            going = going & child.any(1)
            at = torch.where(going, child.long().argmax(1) + 1, at)
        return out


class ChainsAlone(VectorTree):
    """Lossless under any rule: first children alone are verified."""

    def is_child(self, parent: torch.Tensor, at: torch.Tensor, node: int) -> torch.Tensor:
        fresh = torch.ones_like(at, dtype=torch.bool)
        if node:
            fresh = self._parents[:, node] > self._parents[:, :node].max(1).values
        return super().is_child(parent, at, node) & (fresh | (node == 0))

    def __call__(self, call: TreeCall, /) -> Any:
        self._parents = call.parents
        return super().__call__(call)


_POINT = {"rule": "point-mass", "randomness": "own"}
_POINT_TREE = {"shape": "tree", "rule": "point-mass"}

PLANTED = (
    Planted(
        id="row-by-row",
        title="a loop over rows in float64",
        make=RowByRow,
        facts={"one_row": True},
        lossless=True,
    ),
    Planted(id="from-the-end", title="uniforms read from 1 down", make=FromTheEnd, lossless=True),
    Planted(
        id="by-thinning",
        title="the correction by thinning",
        make=ByThinning,
        facts=OWN_DRAWS,
        lossless=True,
    ),
    Planted(
        id="by-multinomial",
        title="torch.multinomial, and lists with wider rows",
        make=ByMultinomial,
        facts=OWN_DRAWS,
        lossless=True,
    ),
    Planted(id="log-space", title="coins in log space", make=LogSpace, lossless=True),
    Planted(
        id="numpy-draws", title="draws from numpy", make=NumpyDraws, facts=OWN_DRAWS, lossless=True
    ),
    Planted(
        id="match-own",
        title="sampler match by its own draws, no rule declared",
        make=SamplerMatch,
        facts={"rule": "any"} | OWN_DRAWS,
        lossless=True,
    ),
    Planted(
        id="match-point-own",
        title="sampler match as the one-hot rule by its own draws",
        make=SamplerMatch,
        facts=_POINT,
        lossless=True,
    ),
    Planted(
        id="tree-by-paths",
        title="the one-hot rule along retrieve indices",
        make=ByPaths,
        facts=_POINT_TREE | {"one_row": True},
        lossless=True,
    ),
    Planted(
        id="tree-match",
        title="sampler match on a tree",
        make=ByOneUniform,
        facts=_POINT_TREE,
        lossless=True,
    ),
    Planted(
        id="tree-match-own",
        title="sampler match on a tree by its own draws",
        make=ByOneUniform,
        facts=_POINT_TREE | OWN_DRAWS,
        lossless=True,
    ),
    Planted(
        id="tree-first-children",
        title="first children alone, no rule declared",
        make=ChainsAlone,
        facts={"shape": "tree", "rule": "any"},
        lossless=True,
    ),
)
"""The lossless forms."""
